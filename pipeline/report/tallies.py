"""Counters that take values one by one, in any order, in memory that does not grow with their number; pure.

Moments are seconds of local time since the begin of the year 1 (`Clock`), so a day begins at a multiple of 86,400.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import log2
from typing import Final
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1, 1, 1)  # noqa: DTZ001 - local time
_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_LAST_S: Final = date.max.toordinal() * _DAY_S - 1
"""The last second of the year 9999."""

WIDTHS_S: Final = (60, 300, 900, _HOUR_S, 6 * _HOUR_S, _DAY_S, 7 * _DAY_S, 28 * _DAY_S, 364 * _DAY_S, 3640 * _DAY_S)
"""Widths of a timeline's bins; each is a multiple of the one before, so bins can be joined."""

MOST_BINS: Final = 240
"""A timeline whose bins are more, from its first to its last, joins them."""

_STEPS_PER_OCTAVE: Final = 16
"""Of a histogram of durations: a quantile is off by 2.2 % at most, half a step."""


class Clock:
    """Turns the times of records into local time.

    Args:
        timezone: IANA name.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._minute = lru_cache(4096)(self._parse)
        """Records in the order of their names still share most of their minutes with others."""

    def __repr__(self) -> str:
        return f"<Clock {self._zone}>"

    def read(self, text: str) -> int | None:
        """Return the minute of an RFC 3339 time, in local seconds; None for a text that is no time."""
        return self._minute(text[:16])

    def local(self, moment: datetime) -> datetime:
        """Return an aware moment in local time, without a time zone."""
        return moment.astimezone(self._zone).replace(tzinfo=None)

    def _parse(self, minute: str) -> int | None:
        try:
            local = self.local(datetime.fromisoformat(minute).replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            return None
        return int((local - EPOCH).total_seconds())


def to_moment(local_s: int) -> datetime:
    """Return the moment of local seconds, within the years 1 to 9999."""
    return EPOCH + timedelta(seconds=min(local_s, _LAST_S))


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bin of a timeline says.

    Attributes:
        begin: First moment, local.
        end: First moment after it.
        pages: Pages that ended in it.
        active_s: Seconds in which pages may have ended: the hours of the clock in which any did; of a bin that is
            shorter than an hour its length.
        median_ms: Median of their durations; None when none of them has one.
        p95_ms: Duration that 95 % of them do not exceed; None when none of them has one.
    """

    begin: datetime
    end: datetime
    pages: int
    active_s: int
    median_ms: float | None
    p95_ms: float | None


class _Bin:
    """A bin of a timeline; `hours` has a bit for each hour in which a page ended."""

    __slots__ = ("durations", "hours", "pages")

    def __init__(self) -> None:
        self.pages = 0
        self.hours = 0
        self.durations = Counter[int]()


class Timeline:
    """Pages and their durations over time, in bins that grow wider when they are too many."""

    def __init__(self) -> None:
        self._widths = list(WIDTHS_S)
        self._bins: dict[int, _Bin] = {}
        self._first = self._last = 0

    def __repr__(self) -> str:
        return f"<Timeline of {len(self._bins)} bins of {self._widths[0]} s>"

    def add(self, local_s: int, duration_ms: int | None) -> None:
        """Count a page that ended at this moment.

        Args:
            local_s: As `Clock.read` returns it.
            duration_ms: How long it took; None for a page that was not read for this record.
        """
        width = self._widths[0]
        number = local_s // width
        found = self._bins.get(number)
        if found is None:
            found = self._make(number)
            if self._widths[0] != width:
                self.add(local_s, duration_ms)
                return
        found.pages += 1
        if width > _HOUR_S:
            found.hours |= 1 << (local_s % width // _HOUR_S)
        if duration_ms is not None:
            found.durations[_step_of(duration_ms)] += 1

    def rates(self) -> Iterator[Rate]:
        """Yield the bins in which pages ended, in the order of time."""
        width = self._widths[0]
        for number, found in sorted(self._bins.items()):
            if found.pages:
                begin, end = to_moment(number * width), to_moment((number + 1) * width)
                active_s = width if width <= _HOUR_S else found.hours.bit_count() * _HOUR_S
                median, p95 = quantile(found.durations, 0.5), quantile(found.durations, 0.95)
                yield Rate(begin, end, found.pages, active_s, median, p95)

    def _make(self, number: int) -> _Bin:
        """Return a new bin; join bins first when they are too many from the first to the last."""
        if not self._bins:
            self._first = self._last = number
        self._first, self._last = min(self._first, number), max(self._last, number)
        made = self._bins[number] = _Bin()
        while self._last - self._first >= MOST_BINS and len(self._widths) > 1:
            self._join()
        return made

    def _join(self) -> None:
        narrow, wide = self._widths[0], self._widths[1]
        ratio = wide // narrow
        bins: dict[int, _Bin] = {}
        for number, found in self._bins.items():
            joined = bins.setdefault(number // ratio, _Bin())
            joined.pages += found.pages
            joined.durations += found.durations
            if wide > _HOUR_S and found.pages:
                hours = found.hours if narrow > _HOUR_S else 1
                joined.hours |= hours << (number % ratio * narrow // _HOUR_S)
        self._widths.pop(0)
        self._bins, self._first, self._last = bins, self._first // ratio, self._last // ratio


def quantile(steps: Counter[int], share: float) -> float | None:
    """Return the duration that this share of the durations does not exceed, in ms; None for no duration.

    Args:
        steps: Number of durations by step, as `Timeline` counts them.
        share: Above 0, at most 1.
    """
    left = share * steps.total()
    for step, number in sorted(steps.items()):
        left -= number
        if left <= 1e-9:
            return float(2 ** (step / _STEPS_PER_OCTAVE))
    return None


def _step_of(duration_ms: int) -> int:
    return round(_STEPS_PER_OCTAVE * log2(max(1, duration_ms)))


def length_class(characters: int) -> int:
    """Return the class of a text's length: 0 for 0 characters, 1 for 1 to 9, then 10 to 19, 20 to 49, and so on."""
    if characters < 10:
        return min(1, characters)
    digits = len(str(characters))
    first = characters // 10 ** (digits - 1)
    return 3 * (digits - 2) + (2 if first < 2 else 3 if first < 5 else 4)


def length_bounds(number: int) -> tuple[int, int]:
    """Return the least length of a class, and that of the next one."""
    if number < 2:
        return number, 1 if number == 0 else 10
    power = 10 ** ((number - 2) // 3 + 1)
    least, following = ((1, 2), (2, 5), (5, 10))[(number - 2) % 3]
    return least * power, following * power
