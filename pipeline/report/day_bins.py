"""Days gathered into nights, weeks, months or years, whichever leaves few enough columns for a chart; pure.

Days are numbered from 0 for 0001-01-01, which was a Monday.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from pipeline.web.axes import TimeAxis, month_begin, name_day

MOST_COLUMNS: Final = 62
LEAST_COLUMNS: Final = 7
"""Fewer would be bars as broad as they are high; the days before the first one are empty columns."""

_LAST_DAY: Final = date.max.toordinal() - 1
_MONTHS: Final = {
    "month": 1,
    "quarter": 3,
    "year": 12,
    "decade": 120,
    "century": 1200,
    "millennium": 12_000,
}


@dataclass(frozen=True, slots=True)
class DayBins:
    """Consecutive bins of days.

    Attributes:
        unit: "night", "week", "month", "quarter", "year", "decade", "century" or "millennium".
        edges: First day of each bin, and the day after the last one.
    """

    unit: str
    edges: tuple[int, ...]

    @classmethod
    def covering(cls, first: int, last: int) -> "DayBins":
        """Return the finest bins of which few enough hold the days from `first` to `last`."""
        for unit, step in (("night", 1), ("week", 7)):
            if (last - first) // step < MOST_COLUMNS - 1:
                begin = max(0, min(first // step, last // step - LEAST_COLUMNS + 1))
                return cls(unit, tuple(step * number for number in range(begin, last // step + 2)))
        low, high = _month_number(first), _month_number(last)
        unit, step = next(
            (unit, step)
            for unit, step in _MONTHS.items()
            if high // step - low // step < MOST_COLUMNS or unit == "millennium"
        )
        begin = min(low // step, high // step - LEAST_COLUMNS + 1)
        return cls(unit, tuple(dict.fromkeys(_month_day(step * number) for number in range(begin, high // step + 2))))

    def find(self, day: int) -> int:
        """Return the number of the bin that holds a day."""
        return min(bisect_right(self.edges, day), len(self.edges) - 1) - 1

    def axis(self) -> TimeAxis:
        """Return the axis from the first bin's begin to the last one's end."""
        return TimeAxis(to_midnight(self.edges[0]), to_midnight(self.edges[-1]))

    def names(self) -> Iterator[str]:
        """Yield what each bin is called."""
        for first, following in zip(self.edges, self.edges[1:], strict=False):
            begin, last = to_midnight(first), to_midnight(following - 1)
            match self.unit:
                case "night":
                    yield f"{name_day(begin)} {begin.year}"
                case "week":
                    yield f"week of {name_day(begin)} {begin.year}"
                case "month":
                    yield f"{begin.year:04d}-{begin.month:02d}"
                case "quarter":
                    yield f"{begin.year:04d}-{begin.month:02d} to {last.year:04d}-{last.month:02d}"
                case "year":
                    yield str(begin.year)
                case _:
                    yield f"{begin.year} to {last.year}"


def to_midnight(day: int) -> datetime:
    """Return the begin of a day, of the last one of the year 9999 for any later one."""
    return datetime(1, 1, 1) + timedelta(days=min(day, _LAST_DAY))  # noqa: DTZ001 - local time


def _month_number(day: int) -> int:
    found = date.fromordinal(day + 1)
    return found.year * 12 + found.month - 1


def _month_day(number: int) -> int:
    """Return the first day of a month, within the years 1 to 9999."""
    return _LAST_DAY + 1 if number >= 10_000 * 12 else month_begin(number).toordinal() - 1
