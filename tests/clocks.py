"""The clocks of tests: set by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class Clock:
    """A machine's clocks; called, it returns the time of day.

    Attributes:
        now: The time of day; by default one minute before the end of a month.
        uptime_s: The monotonic clock.
    """

    now: datetime = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    uptime_s: float = 0.0

    def __call__(self) -> datetime:
        return self.now
