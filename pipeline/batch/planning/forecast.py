"""How many months and nights a number of calls takes under a monthly quota; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.billing import Calendar, billing_month, count_nights, reset_time

_MAX_MONTHS: Final = 1200
"""A forecast beyond a century names no date."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When calls are made at the earliest.

    Attributes:
        per_month: Calls that the plan allows per month; None for any number.
        left: Those left in this month; None for any number.
        months: Months in which calls are made; None when they never end.
        nights: Runs of `--max-calls` or `--spread`; None without such a bound, or when they never end.
        finish: Day of the last call, at the earliest, "2026-03-01"; None when they never end, or in over a century.
        calls: Calls by month, the first twelve.
    """

    per_month: int | None
    left: int | None
    months: int | None
    nights: int | None
    finish: str | None
    calls: Mapping[str, int] = field(default_factory=dict)


def forecast(
    calls: int,
    per_month: int | None,
    used: int,
    *,
    now: datetime,
    calendar: Calendar,
    per_night: int | None = None,
    spread: bool = False,
) -> Forecast:
    """Return when this number of calls is made at the earliest.

    Args:
        calls: Calls to be made.
        per_month: The plan's calls per month; None for any number.
        used: Calls of this month that are used already.
        now: The moment of the first run.
        calendar: When the plan's month begins.
        per_night: `--max-calls` of a nightly run; None for no bound.
        spread: True for `--spread`: each night makes its share of the month's calls.
    """
    left = None if per_month is None else max(0, per_month - used)
    if calls and 0 in {per_month, per_night}:
        return Forecast(per_month, left, None, None, None)
    month, begin, rest, room = billing_month(now, calendar), now, calls, left
    months = nights = 0
    finish: datetime | None = now
    by_month: dict[str, int] = {}
    while rest and len(by_month) < _MAX_MONTHS:
        resets = reset_time(month, calendar)
        made, nightly = _make_calls(rest, room, per_night, count_nights(begin, resets), spread=spread)
        by_month[month] = made
        if made:
            months += 1
            nights += (used_nights := 0 if nightly is None else -(-made // nightly))
            finish = begin + timedelta(days=max(0, used_nights - 1))
        rest -= made
        month, begin, room = billing_month(resets + timedelta(days=1), calendar), resets, per_month
    if rest:
        per_full_month = max(1, made)
        months, finish = months - (-rest // per_full_month), None
        nights += 0 if nightly is None else -(-rest // nightly)
    return Forecast(
        per_month=per_month,
        left=left,
        months=months,
        nights=None if per_night is None and not (spread and per_month is not None) else nights,
        finish=None if finish is None else f"{finish.astimezone(UTC):%Y-%m-%d}",
        calls=dict(list(by_month.items())[:12]),
    )


def _make_calls(
    rest: int, room: int | None, per_night: int | None, nights: int, *, spread: bool
) -> tuple[int, int | None]:
    """Return the calls that a month's nights make, and the bound of each night; None for no bound."""
    nightly = _bound_night(per_night, room if spread else None, nights)
    bounds = (room, None if nightly is None else nightly * nights)
    return min([rest, *(bound for bound in bounds if bound is not None)]), nightly


def _bound_night(per_night: int | None, room: int | None, nights: int) -> int | None:
    """Return the calls of a night: the smaller of `--max-calls` and the night's share of the month's room."""
    bounds = [bound for bound in (per_night, None if room is None else -(-room // nights)) if bound is not None]
    return min(bounds, default=None)
