"""The billing month, and how many calls may still be made in it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


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


def billing_month(now: datetime, calendar: Calendar) -> str:
    """Return the billing month that an aware moment falls into, "YYYY-MM" of its first day."""
    local = now.astimezone(ZoneInfo(calendar.timezone))
    year, month = local.year, local.month
    if local.day < calendar.reset_day:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return f"{year:04d}-{month:02d}"


def reset_time(month: str, calendar: Calendar) -> datetime:
    """Return the moment in UTC at which the month after this billing month begins."""
    year, number = int(month[:4]), int(month[5:])
    year, number = (year, number + 1) if number < 12 else (year + 1, 1)
    first = datetime(year, number, calendar.reset_day, tzinfo=ZoneInfo(calendar.timezone))
    return first.astimezone(UTC)
