"""The billing month: in which months the vendor may bill a call, and how many calls are left.

The vendor bills a call in the month in which it arrives there, by a clock that is not ours. Two things are known:

- the call arrives between its reservation and its end: the reply, the lost connection, or the discovery that its
  run is dead;
- the vendor's clock and ours differ by at most `CLOCK_MARGIN`, either way.

So the vendor bills the call in one of the months from that of `reservation - CLOCK_MARGIN` to that of
`end + CLOCK_MARGIN` (`Months`). The ledger counts it in each of them, and a reservation needs room in each that is
possible now; then no month of the vendor's has more calls than the ledger counts in it. Nearly always that is one
month. It is two for calls within 60 s of the reset and for calls that waited across it, more only when the machine was
suspended during the call. The price: calls of the last 60 s before a reset use up quota of the next month, too; at 8
calls per second 480 of it, until `quota --already-used N` corrects the count.

The ledger remembers the latest months that it has counted in, and a clock that moved back leads to no earlier ones
(`Months.not_before`): the vendor's clock has not moved.

The alternative was built and compared: send nothing from `reset - timeout_s - CLOCK_MARGIN` to `reset + CLOCK_MARGIN`
and void and renew the reservations of pages that wait, so that each call has one month. The history machine of
`tests/faults/test_clocks.py` found calls that this counts in a month in which they were not billed:

- the machine is suspended between the check of the time and the arrival: no check comes late enough;
- the clock moves back while a reserved page waits: the check has to ask the ledger, before each POST;
- the clock moves back to before the quiet time from within it, when no reservation has noted the new month yet: the
  beginning of each quiet time has to be noted durably.

Without the last two cases it took 725 lines of code in place of 727, and `batch` had to know of months.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

CLOCK_MARGIN: Final = timedelta(seconds=60)
"""The largest difference between the vendor's clock and ours, either way; NTP keeps a machine within a second."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When the plan's month begins.

    Attributes:
        timezone: IANA name; the vendor does not document one, UTC is our default.
        reset_day: Day of the month, 1 to 28.
    """

    timezone: str = "UTC"
    reset_day: int = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """One month of the ledger.

    Attributes:
        month: Billing month, "2026-01" for the one that begins in January.
        used: Calls that count: all that are not void.
        pending: Reservations whose outcome is not known yet; part of `used`.
        unknown: Calls whose outcome was lost; part of `used`.
        limit: Calls that the plan allows; None when calls are counted, not limited.
    """

    month: str
    used: int
    pending: int
    unknown: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Calls that may still be made; None when there is no limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Months:
    """The billing months in which the vendor may bill a call, from the first to the last."""

    first: str
    last: str

    def __iter__(self) -> Iterator[str]:
        month = self.first
        while month < self.last:
            yield month
            month = _month_after(month)
        yield self.last

    def not_before(self, reached: "Months") -> "Months":
        """Return the later one of both first months, and of both last months."""
        return Months(max(self.first, reached.first), max(self.last, reached.last))


@dataclass(frozen=True, slots=True)
class QuotaRefusal:
    """The ledger's answer to a reservation when a month has no call left.

    Attributes:
        limit: Calls that the plan allows, all of them used.
        resets: When the used-up month ends, in UTC.
        wait_s: Seconds until it has ended by the vendor's clock for certain; more than 0.
    """

    limit: int
    resets: datetime
    wait_s: float

    @property
    def passes_soon(self) -> bool:
        """True when the month is about to end: the run waits for the next one and does not stop."""
        return self.wait_s <= 2 * CLOCK_MARGIN.total_seconds()

    def __str__(self) -> str:
        return f"the month's {self.limit} calls are used up; they reset on {self.resets:%Y-%m-%d %H:%M} UTC"


def billing_month(now: datetime, calendar: Calendar) -> str:
    """Return the billing month of an aware moment, "YYYY-MM" of the month's first day."""
    local = now.astimezone(ZoneInfo(calendar.timezone))
    year, month = local.year, local.month
    if local.day < calendar.reset_day:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return f"{year:04d}-{month:02d}"


def reset_time(month: str, calendar: Calendar) -> datetime:
    """Return the moment in UTC at which the month after this billing month begins."""
    following = _month_after(month)
    first = datetime(int(following[:4]), int(following[5:]), calendar.reset_day, tzinfo=ZoneInfo(calendar.timezone))
    return first.astimezone(UTC)


def possible_months(now: datetime, calendar: Calendar) -> Months:
    """Return the months that the vendor's clock may show now: two within the margin of a reset, else one."""
    return Months(billing_month(now - CLOCK_MARGIN, calendar), billing_month(now + CLOCK_MARGIN, calendar))


def clock_problem(counting: str, now: datetime, calendar: Calendar, *, clock: str) -> str | None:
    """Return a warning when calls count in a month that a clock has not reached; None when they do not.

    Args:
        counting: The last month that calls count in.
        now: By the clock.
        calendar: When the plan's month begins.
        clock: What the clock is called.
    """
    if counting <= possible_months(now, calendar).last:
        return None
    return (
        f"calls count in {counting}, but by {clock} it is {billing_month(now, calendar)}"
        f" ({now.astimezone(UTC):%Y-%m-%d %H:%M} UTC); if the clock is right, `pagemill quota --already-used N`, with N"
        " from the vendor's dashboard, corrects the ledger"
    )


def quota_refusal(month: str, limit: int, now: datetime, calendar: Calendar) -> QuotaRefusal:
    """Return the refusal of a reservation when this is the last month that has no call left."""
    resets = reset_time(month, calendar)
    return QuotaRefusal(limit, resets, (resets + CLOCK_MARGIN - now).total_seconds())


@dataclass(frozen=True, slots=True)
class NightShare:
    """What `--spread` lets a run call.

    Attributes:
        calls: Calls that this run may make.
        share: Calls of this night in all, those of earlier runs included.
        used: Calls that other runs have made tonight.
        nights: Nights left in the month, this one included.
        is_rest: True when that is all that is left of the month: the quota ends the run, not the share.
    """

    calls: int
    share: int
    used: int
    nights: int
    is_rest: bool

    def describe_end(self, others: int) -> str:
        """Return why a run ends when the share is made, of which other runs have made this number of calls."""
        made = f"{self.share:,} calls is made{f', {others:,} of them by other runs' if others else ''}"
        nights = f"{self.nights} nights" if self.nights > 1 else "1 night"
        return f"--spread: tonight's share of {made}; {nights} are left in the month"


def night_begin(now: datetime) -> datetime:
    """Return when the night of this moment began: at the last noon of its time zone.

    Args:
        now: In the machine's time zone.
    """
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    return noon if noon <= now else noon - timedelta(days=1)


def count_nights(begin: datetime, end: datetime) -> int:
    """Return the number of daily runs from a moment until the month ends, the first of them at that moment."""
    return max(1, -(-int((end - begin).total_seconds()) // 86_400))


def share_of_night(left: int, used: int, first: datetime | None, now: datetime, calendar: Calendar) -> NightShare:
    """Return tonight's share of the month: what was left as the night began, over the nights left, rounded up.

    The nights are counted from the night's first call, so that a second run counts as many as the first one did, also
    on the other side of midnight. What a night leaves unused is spread over the nights after it.

    Args:
        left: Calls left in the month now.
        used: Calls of this key that were made tonight, in this month.
        first: When the first of them was reserved; None for no call.
        now: Aware.
        calendar: When the plan's month begins.
    """
    nights = count_nights(first if first is not None else now, reset_time(billing_month(now, calendar), calendar))
    share = -(-(left + used) // nights)
    calls = min(left, max(0, share - used))
    return NightShare(calls, share, used, nights, is_rest=calls >= left)


def may_be_folded(added: datetime, calendar: Calendar, folded: Mapping[str, int]) -> bool:
    """Return whether the ledger may have folded the row of a call whose record was added then.

    False means: the ledger must have the row.

    Args:
        added: The record's time.
        calendar: When the plan's month begins.
        folded: The number of folded rows by month, with every month that the ledger has counted in.
    """
    month = billing_month(added, calendar)
    was_ahead = bool(folded) and month > max(folded)  # a wrong clock, before `quota --already-used`
    return was_ahead or folded.get(month, 0) > 0


def _month_after(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year:04d}-{number + 1:02d}" if number < 12 else f"{year + 1:04d}-01"
