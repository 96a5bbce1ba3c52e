"""Axes of charts: which round numbers and moments get a label; pure.

A label needs room on a phone, so an axis has at most `MOST_TICKS` of them, whatever it spans.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, log10
from typing import Final

MOST_TICKS: Final = 5
"""Labels of seven characters that fit side by side in a plot of 290 px, which a screen of 390 px leaves."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
_DAYS: Final = (1, 2, 7, 14)
_MONTH_STEPS: Final = (1, 2, 3, 6)
_YEAR_STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis.

    Attributes:
        position: 0 at the axis's begin, 1 at its end.
        label: Its text.
    """

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """An axis of local time, from `begin` to the later `end`, both without a time zone."""

    begin: datetime
    end: datetime

    def position(self, moment: datetime) -> float:
        """Return where a moment is, 0 to 1."""
        return (moment - self.begin) / (self.end - self.begin)

    def ticks(self) -> list[Tick]:
        """Return at most `MOST_TICKS` labels at round moments."""
        for moments in self._choices():
            found = list(moments)
            if len(found) <= MOST_TICKS:
                return [Tick(self.position(moment), label) for moment, label in found]
        return []

    def _choices(self) -> Iterator[Iterable[tuple[datetime, str]]]:
        """Yield the ticks of finer, then coarser steps; steps that are far too fine are left out."""
        for minutes in _MINUTES:
            if self.end - self.begin <= timedelta(minutes=minutes) * (MOST_TICKS + 1):
                yield self._by_minutes(minutes)
        for days in _DAYS:
            if self.end - self.begin <= timedelta(days=days) * (MOST_TICKS + 1):
                yield self._by_days(days)
        for months in (*_MONTH_STEPS, *(12 * years for years in _YEAR_STEPS)):
            if (self.end.year - self.begin.year) * 12 <= months * (MOST_TICKS + 2):
                yield self._by_months(months)

    def _by_minutes(self, step: int) -> Iterator[tuple[datetime, str]]:
        midnight = self.begin.replace(hour=0, minute=0, second=0, microsecond=0)
        first = ceil((self.begin - midnight) / timedelta(minutes=step))
        yield from self._within(lambda number: midnight + timedelta(minutes=step) * (first + number), _name_minute)

    def _by_days(self, step: int) -> Iterator[tuple[datetime, str]]:
        ordinal = ceil(self.begin.toordinal() / step) * step  # 14 days after a Monday is one: 0001-01-01 was
        ordinal += 1 if step % 7 == 0 else 0
        first = datetime.fromordinal(max(1, ordinal - step))
        yield from self._within(lambda number: first + timedelta(days=step * number), name_day)

    def _by_months(self, step: int) -> Iterator[tuple[datetime, str]]:
        number = (self.begin.year * 12 + self.begin.month - 1) // step
        name = _name_year if step % 12 == 0 else _name_month
        yield from self._within(lambda more: month_begin((number + more) * step), name)

    def _within(
        self, moment_of: Callable[[int], datetime], name: Callable[[datetime], str]
    ) -> Iterator[tuple[datetime, str]]:
        number = 0
        while True:
            try:
                moment = moment_of(number)
            except (OverflowError, ValueError):  # after the year 9999
                return
            if moment > self.end:
                return
            if moment >= self.begin:
                yield moment, name(moment)
            number += 1


def month_begin(number: int) -> datetime:
    """Return the first moment of a month that is numbered from January of the year 0, within the years 1 to 9999."""
    return datetime(max(1, number // 12), number % 12 + 1, 1)  # noqa: DTZ001 - the axis has no time zone


def name_day(moment: datetime) -> str:
    """Return a day as "3 Nov"."""
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


def nice_ticks(most: float, *, whole: bool = True) -> list[float]:
    """Return round numbers from 0 to the first one that is not below `most`, three to six of them.

    Args:
        most: The largest value, >= 0.
        whole: True for numbers that are counts.
    """
    if most <= 0:
        return [0.0, 1.0]
    rough = most / 4
    power = 10.0 ** floor(log10(rough))
    factors = (1, 2, 5, 10) if whole and power < 10 else (1, 2, 2.5, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    return [step * number for number in range(max(1, ceil(most / step - 1e-9)) + 1)]


def short_number(number: float) -> str:
    """Return a number for an axis in at most five characters: "950", "1.5k", "12k", "2M", "0.05"."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.4g}{name}" if number < 10 * unit else f"{number / unit:.0f}{name}"
    return f"{number:.3g}"


def _name_minute(moment: datetime) -> str:
    return name_day(moment) if (moment.hour, moment.minute) == (0, 0) else f"{moment:%H:%M}"


def _name_month(moment: datetime) -> str:
    return f"{moment.year:04d}-{moment.month:02d}"


def _name_year(moment: datetime) -> str:
    return str(moment.year)
