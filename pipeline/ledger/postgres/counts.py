"""The counts of a ledger in a database: opened, read, corrected."""

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pipeline.billing import (
    Calendar,
    Months,
    NightShare,
    Usage,
    billing_month,
    clock_problem,
    night_begin,
    possible_months,
    reset_time,
    share_of_night,
)
from pipeline.errors import LedgerError
from pipeline.ledger.base import LedgerMark
from pipeline.ledger.night import Night
from pipeline.ledger.operations import (
    Terms,
)
from pipeline.ledger.postgres.database import Address, Database
from pipeline.ledger.postgres.lease import ServerClock
from pipeline.ledger.postgres.scripts import queries, upgrade
from pipeline.records import rfc3339

if TYPE_CHECKING:
    from asyncpg import Record

_PACE: Final = 0.95
"""The share of the account's rate that all runs use together; the rest is for calls that the network bunches up."""
_AHEAD_S: Final = 2.0
"""A permit is given at most this long before its call may go out: a crash meanwhile costs it."""
_SHORTEST_WAIT_S: Final = 0.05

logger = logging.getLogger("pagemill")


class Counts:
    """The open counts of a key.

    Args:
        address: Where they are.
        calendar: When the plan's month begins.
        limit: Calls per month; None counts without limiting.
        terms: The run's patience.
        now: The clock of the months, by default the server's.
    """

    def __init__(
        self,
        address: Address,
        calendar: Calendar,
        limit: int | None,
        terms: Terms,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._address = address
        self._calendar = calendar
        self._limit = limit
        self._clock = ServerClock()
        self._now = now if now is not None else lambda: datetime.fromtimestamp(self._clock.now_s(), UTC)
        self.left: int | None = None
        """Calls left in the month after the last group; None when there is no limit."""
        self._db = Database(address, terms)
        try:
            self._db.call(upgrade)
            self._clock.note(self._one("server_time")[0])
            months = possible_months(self._now(), calendar)
            row = self._one("open_ledger", address.key, secrets.token_hex(8), *pair(months), limit)
            self._number: int = row["ledger"]
            self.left = row["room"]
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresLedger {self._address.name} limit {self._limit}>"

    def close(self) -> None:
        """Close the connections."""
        self._db.close()

    def mark(self) -> LedgerMark:
        """Return the ledger's id and the number of calls that it has ever reserved."""
        row = self._one("read_mark", self._number)
        return LedgerMark(row["id"], row["reserved"])

    def usage(self, month: str | None = None) -> Usage:
        """Return the usage of a month, by default the current one."""
        months = self._possible_months()
        month = month or self._current_month(months)
        return self._to_usage(month, self._one("count_usage", self._number, month, months.last))

    def months(self) -> list[str]:
        """Return the months that the ledger has counted in, and the current one, oldest first."""
        counted = {row["month"] for row in self._fetch("list_months", self._number)}
        return sorted({*counted, self._current_month(self._possible_months())})

    def resets_at(self, month: str) -> datetime:
        """Return when the month after this one begins."""
        return reset_time(month, self._calendar)

    def night_share(self) -> NightShare | None:
        """Return what `--spread` lets a run call that begins now; None when there is no limit."""
        night = self._find_night()
        return None if night is None else night.share

    def clock_problem(self) -> str | None:
        """Return a warning when calls count in a month that the server's clock has not reached."""
        counting, now = self._possible_months().last, self._now()
        problem = clock_problem(counting, now, self._calendar, clock="the server's clock")
        return None if problem is None else f"ledger {self._address.name}: {problem}"

    def set_used(self, used: int) -> Usage:
        """Set the current month's count to the number on the vendor's dashboard; calls in flight count on top."""
        month = billing_month(self._now(), self._calendar)
        row = self._one("set_used", self._number, used, *pair(self._clock_months()), month)
        return self._to_usage(row["month"], row)

    def _find_night(self) -> Night | None:
        if self._limit is None:
            return None
        now, months = self._now().astimezone(), self._possible_months()
        month, begin = self._current_month(months), rfc3339(night_begin(now))
        row = self._one("find_night", self._number, month, begin)
        left = self._one("count_room", self._number, *pair(months), self._limit)[0]
        first = None if row["first"] is None else datetime.fromisoformat(row["first"])
        return Night(share_of_night(left, row["used"], first, now, self._calendar), month, begin, row["after"])

    def _clock_months(self) -> Months:
        """Return the months in which the vendor may bill a call now, by the clock alone."""
        return possible_months(self._now(), self._calendar)

    def _possible_months(self) -> Months:
        """Return the same months, none of them earlier than those that were counted in."""
        row = self._one("possible_months", self._number, *pair(self._clock_months()))
        return Months(row["first_month"], row["last_month"])

    def _current_month(self, possible: Months) -> str:
        return max(possible.first, billing_month(self._now(), self._calendar))

    def _to_usage(self, month: str, row: "Record") -> Usage:
        return Usage(month, row["used"], row["pending"], row["unknown"], self._limit)

    def _fetch(self, name: str, *values: object) -> "list[Record]":
        return self._db.fetch(queries()[name], *values)

    def _one(self, name: str, *values: object) -> "Record":
        rows = self._fetch(name, *values)
        if not rows:
            raise LedgerError(
                f"ledger {self._address.name}: the rows of this key were deleted; no call goes out without it"
            )
        return rows[0]


def pair(months: Months) -> tuple[str, str]:
    """Return the months as parameters of a statement."""
    return months.first, months.last
