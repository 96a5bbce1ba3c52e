"""The deadlines of a call."""

from dataclasses import dataclass
from typing import Final

from pipeline.config import ApiConfig
from pipeline.service import Service

_VENDOR_READ_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one call.

    Attributes:
        total_s: From the start of the call to the end of the reply.
        connect_s: To open the TCP connection.
        read_s: Between two reads of the reply.
    """

    total_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 60.0


def choose_timeouts(api: ApiConfig, service: Service) -> Timeouts:
    """Return the deadlines of each call.

    A server other than the vendor's may be silent up to the deadline of the call: `pagemill serve` queues calls while
    its workers are busy, and a call that is cut off in the queue is counted all the same.
    """
    read_s = api.read_timeout_s
    if read_s is None:
        read_s = min(_VENDOR_READ_TIMEOUT_S, api.timeout_s) if service.name == "vendor" else api.timeout_s
    return Timeouts(api.timeout_s, api.connect_timeout_s, read_s)
