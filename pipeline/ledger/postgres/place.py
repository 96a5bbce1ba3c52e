"""Where the calls of a key are counted for many machines: rows of a PostgreSQL database, known by a hash of the key."""

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from pipeline.billing import Calendar, Usage, billing_month, possible_months
from pipeline.config.database_url import without_password
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import AttemptRow, LedgerMark, LedgerPlace, MonthCalls
from pipeline.ledger.operations import Terms
from pipeline.ledger.postgres.database import Address, Database
from pipeline.ledger.postgres.lease import LEASE_S
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.ledger.postgres.scripts import has_tables, queries


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """The rows of a key, which need not exist; it implements `LedgerPlace`.

    Attributes:
        address: The database and the key.
    """

    address: Address

    @property
    def name(self) -> str:
        """The URL without a password, and the hash of the key."""
        return self.address.name

    def exists(self) -> bool:
        """Return whether there are rows of the key."""
        with self._reading() as (_, ledger):
            return ledger is not None

    def is_same(self, other: LedgerPlace) -> bool:
        """Return whether both have the same id, whatever their addresses are."""
        mark, of_other = self.mark(), other.mark() if isinstance(other, PostgresPlace) else None
        return mark is not None and of_other is not None and mark.id == of_other.id

    def open(self, calendar: Calendar, limit: int | None, terms: Terms | None = None) -> PostgresLedger:
        """Return the open ledger; tables and rows are made when they are missing."""
        return PostgresLedger(self.address, calendar, limit, terms, lease_s=LEASE_S)

    def mark(self) -> LedgerMark | None:
        """Return the ledger's mark; None when there are no rows."""
        with self._reading() as (db, ledger):
            if ledger is None:
                return None
            (row,) = db.fetch(queries()["read_mark"], ledger)
            return LedgerMark(row["id"], row["reserved"])

    def peek_usage(self, calendar: Calendar, limit: int | None, now: datetime) -> Usage:
        """Return the usage of the current month."""
        clock = possible_months(now, calendar)
        with self._reading_rows() as (db, ledger):
            (row,) = db.fetch(queries()["possible_months"], ledger, clock.first, clock.last)
            month = max(row["first_month"], billing_month(now, calendar))
            (used,) = db.fetch(queries()["count_usage"], ledger, month, row["last_month"])
            return Usage(month, used["used"], used["pending"], used["unknown"], limit)

    def calls_by_day(self, workspace_id: str, day_of: Callable[[str], int | None]) -> list[MonthCalls]:
        """Return the months of the ledger in their order."""
        days, here = defaultdict[str, Counter[int]](Counter), Counter[str]()
        with self._reading_rows() as (db, ledger):
            base = Counter({row["month"]: row["kept"] for row in db.fetch(queries()["read_kept"], ledger)})
            for row in db.fetch(queries()["count_by_minute"], ledger, workspace_id):
                here[row["month"]] += row["here"]
                if (day := day_of(row["minute"])) is None:
                    base[row["month"]] += row["number"]
                else:
                    days[row["month"]][day] += row["number"]
        return [MonthCalls(month, base[month], days[month], here[month]) for month in sorted(base)]

    def attempts(self, workspace_id: str, *, until: str | None = None) -> Iterator[AttemptRow]:
        """Yield the attempts of a workspace that have a row, one by one."""
        last = 0
        with self._reading_rows() as (db, ledger):
            while rows := db.fetch(queries()["list_attempts"], ledger, workspace_id, last, until or "~"):
                last = rows[-1]["number"]
                for row in rows:
                    yield AttemptRow(row["id"], row["page"], row["source"], AttemptState(row["state"]))

    def folded(self) -> dict[str, int]:
        """Return the number of folded rows by month."""
        with self._reading_rows() as (db, ledger):
            return {row["month"]: row["folded"] for row in db.fetch(queries()["read_folded"], ledger)}

    def miscounts(self) -> Iterator[tuple[str, int, int]]:
        """Yield (name, kept count, number of rows) of each kept count that the rows contradict."""
        with self._reading_rows() as (db, ledger):
            for row in db.fetch(queries()["find_miscounts"], ledger):
                yield row["name"], int(row["kept"]), int(row["rows"])

    @contextmanager
    def _reading(self) -> Generator[tuple[Database, int | None]]:
        """Yield a connection and the number of the key's row; None when there is none."""
        db = Database(self.address, Terms())
        try:
            rows = db.fetch(queries()["find_ledger"], self.address.key) if db.call(has_tables) else []
            yield db, rows[0]["number"] if rows else None
        finally:
            db.close()

    @contextmanager
    def _reading_rows(self) -> Generator[tuple[Database, int]]:
        with self._reading() as (db, ledger):
            if ledger is None:
                raise LedgerError(f"ledger {self.name}: it is gone")
            yield db, ledger


def place_of(name: str, configured: str | None) -> PostgresPlace:
    """Return the place that has a name.

    Args:
        name: `PostgresPlace.name`.
        configured: `[budget] ledger`, whose URL may have the password; None when it is not set.
    """
    url, _, key = name.rpartition("#")
    if configured is not None and without_password(configured) == url:
        url = configured
    return PostgresPlace(Address(url, key))
