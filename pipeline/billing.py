"""The billing month, and how many calls may still be made in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

CLOCK_MARGIN: Final = timedelta(seconds=60)
"""So far the vendor's clock may be from ours, either way: what a machine that keeps its time never reaches."""


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
    """A month of the ledger.

    Attributes:
        month: Billing month, "2026-01" for the one that begins in January.
        used: Calls that count: everything that is not void.
        pending: Reservations whose outcome is not known yet; part of `used`.
        unknown: Calls whose outcome was lost; part of `used`.
        limit: Calls that the plan allows; None when they are only counted.
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
    """The billing months that a call may fall into, from the first to the last."""

    first: str
    last: str

    def __iter__(self) -> Iterator[str]:
        month = self.first
        while month < self.last:
            yield month
            month = _month_after(month)
        yield self.last

    def not_before(self, first: str | None, last: str | None) -> "Months":
        """Return the same months, but none before those that have been reached already."""
        return Months(max(self.first, first or ""), max(self.last, last or ""))


@dataclass(frozen=True, slots=True)
class QuotaRefusal:
    """No call may be made yet.

    Attributes:
        limit: Calls that the plan allows, all of them used.
        resets: When the month that they were used in is over, in UTC.
        wait_s: Until that is certain, whatever the vendor's clock says; more than 0.
    """

    limit: int
    resets: datetime
    wait_s: float

    @property
    def passes_soon(self) -> bool:
        """True about the end of a month: worth waiting for instead of ending the run."""
        return self.wait_s <= 2 * CLOCK_MARGIN.total_seconds()

    def __str__(self) -> str:
        return f"the month's {self.limit} calls are used up; they reset on {self.resets:%Y-%m-%d %H:%M} UTC"


def billing_month(now: datetime, calendar: Calendar) -> str:
    """Return the billing month that an aware moment falls into, "YYYY-MM" of its first day."""
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
    """Return the months that it may be for the vendor at this moment of ours: two about the end of a month."""
    return Months(billing_month(now - CLOCK_MARGIN, calendar), billing_month(now + CLOCK_MARGIN, calendar))


def quota_refusal(month: str, limit: int, now: datetime, calendar: Calendar) -> QuotaRefusal:
    """Return until when no call may be made, when this is the last month without room for one."""
    resets = reset_time(month, calendar)
    return QuotaRefusal(limit, resets, (resets + CLOCK_MARGIN - now).total_seconds())


def may_be_folded(added: datetime, calendar: Calendar, folded: Mapping[str, int]) -> bool:
    """Return whether a call whose record was added then may be one of those that a ledger only has as a number.

    False means: the call's row must stand in the ledger.

    Args:
        added: The record's time.
        calendar: When the plan's month begins.
        folded: How many rows were folded, by month; with every month that the ledger has reached.
    """
    month = billing_month(added, calendar)
    was_ahead = bool(folded) and month > max(folded)  # a wrong clock, until `quota --already-used` put it right
    return was_ahead or folded.get(month, 0) > 0


def _month_after(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year:04d}-{number + 1:02d}" if number < 12 else f"{year + 1:04d}-01"
