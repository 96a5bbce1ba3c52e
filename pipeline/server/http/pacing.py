"""The rate at which the bodies of one caller are read while other callers are active.

Reading and parsing a body keeps the event loop busy for 4 ms per MB, whatever the body says. A caller that sends
nothing but large bodies would so slow down everybody else; its connections are read less often instead.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BYTES_PER_S: Final = 16 * 1024 * 1024
"""Rate per caller: three scans of 3.7 MB per second, more than the engine reads on any machine without a GPU."""

BURST_BYTES: Final = 16 * 1024 * 1024
"""Read at once: a body of the largest size."""

DELAY_MAX_S: Final = 1.0
"""Limit for one delay."""

ACTIVE_S: Final = 30.0
"""A caller is active for this long after its last bytes."""


@dataclass(slots=True)
class _Caller:
    """When the last bytes of a caller arrived, and when its burst is whole again."""

    last_s: float
    full_at_s: float


class BodyPacer:
    """Says how long to wait before more of a caller's body is read; a lone caller does not wait.

    Args:
        clock_s: A monotonic clock.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        """The active callers; those whose bytes arrived the longest ago come first."""

    def __repr__(self) -> str:
        return f"<BodyPacer, {len(self._callers)} active callers>"

    def delay_s(self, name: str, number: int) -> float:
        """Count bytes of a caller; return the seconds to wait before more are read.

        Args:
            name: The caller.
            number: The bytes that were read.
        """
        now_s = self._clock_s()
        caller = self._callers.setdefault(name, _Caller(now_s, now_s))
        caller.last_s = now_s
        self._callers.move_to_end(name)
        while now_s - next(iter(self._callers.values())).last_s > ACTIVE_S:
            self._callers.popitem(last=False)
        burst_s = BURST_BYTES / BYTES_PER_S
        full_at_s = max(now_s, caller.full_at_s) + number / BYTES_PER_S
        caller.full_at_s = min(full_at_s, now_s + burst_s + DELAY_MAX_S)
        return max(0.0, caller.full_at_s - now_s - burst_s) if len(self._callers) > 1 else 0.0
