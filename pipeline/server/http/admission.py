"""Admission control: bounds queued requests and buffered bytes; sheds load with 429."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pipeline.server.http.requests import RequestError

QUEUE_SLOTS_PER_WORKER: Final = 16
"""Requests that may wait for one worker or be read by it. At 5 s per page the last one waits 80 s, less than the pool's
limit for a waiting page; behind pages of 25 s, the densest, the pool's limit ends its wait."""

BODIES_MAX_BYTES: Final = 128 * 1024 * 1024
"""Limit for the buffered bodies of all requests together: nine of the largest, or four hundred common scans."""

SERVER_BUSY: Final = "Too Many Requests: the server is busy"

RETRY_AFTER_S: Final = 5
"""Retry-After of a request that was shed: about the time for one page, after which a slot is free."""


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """The current load, and the requests that were shed.

    Attributes:
        slots_taken: Requests that wait for the engine or are being read by it.
        body_bytes: Size of the buffered bodies of all requests.
        shed_requests: Requests that were answered with 429 since the start.
    """

    slots_taken: int
    body_bytes: int
    shed_requests: int


class AdmissionControl:
    """Counts queued requests and buffered bytes, and rejects requests beyond either bound.

    Args:
        queue_slots: Requests that may wait for the engine, or be read by it, at a time.
        bodies_max_bytes: Limit for the buffered bodies of all requests together.
    """

    def __init__(self, queue_slots: int = QUEUE_SLOTS_PER_WORKER, *, bodies_max_bytes: int = BODIES_MAX_BYTES) -> None:
        self._queue_slots = queue_slots
        self._bodies_max_bytes = bodies_max_bytes
        self._slots_taken = 0
        self._body_bytes = 0
        self._shed_requests = 0

    def __repr__(self) -> str:
        return f"<AdmissionControl {self._slots_taken} of {self._queue_slots} slots, {self._body_bytes} body bytes>"

    def statistics(self) -> AdmissionStatistics:
        """Return the current load."""
        return AdmissionStatistics(self._slots_taken, self._body_bytes, self._shed_requests)

    def check_queue(self) -> None:
        """Return when the queue has a free slot.

        Raises:
            RequestError: 429, the queue is full.
        """
        if self._slots_taken >= self._queue_slots:
            raise self._shed()

    @contextmanager
    def queue_slot(self) -> Iterator[None]:
        """Hold a slot of the engine's queue until the block ends.

        Raises:
            RequestError: 429, the queue is full.
        """
        self.check_queue()
        self._slots_taken += 1
        try:
            yield
        finally:
            self._slots_taken -= 1

    @contextmanager
    def body_buffer(self) -> Iterator[Callable[[int], None]]:
        """Count the buffered bytes of one request until the block ends.

        Bytes count when they arrive, so that a slow sender takes no memory from others in advance.

        Yields:
            A function that counts further bytes, or raises RequestError (429) when all requests hold too much.
        """
        own_bytes = 0

        def count_bytes(number: int) -> None:
            nonlocal own_bytes
            if self._body_bytes + number > self._bodies_max_bytes:
                raise self._shed()
            self._body_bytes += number
            own_bytes += number

        try:
            yield count_bytes
        finally:
            self._body_bytes -= own_bytes

    def _shed(self) -> RequestError:
        self._shed_requests += 1
        return RequestError(SERVER_BUSY, 429, retry_after_s=RETRY_AFTER_S)
