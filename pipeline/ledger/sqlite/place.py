"""Where the calls of a key are counted on this machine: an SQLite file, named by a hash of the key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.billing import Calendar, Usage
from pipeline.ledger.base import AttemptRow, LedgerMark, LedgerPlace, MonthCalls
from pipeline.ledger.operations import Terms
from pipeline.ledger.sqlite.by_day import read_calls_by_day
from pipeline.ledger.sqlite.counts import peek_usage
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import find_mark, read_attempts, read_folded, read_miscounts


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A ledger's file, which need not exist; it implements `LedgerPlace`.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether there is such a file."""
        return self.path.exists()

    def is_same(self, other: LedgerPlace) -> bool:
        """Return whether both are one file."""
        return isinstance(other, SqlitePlace) and self.path.samefile(other.path)

    def open(self, calendar: Calendar, limit: int | None, terms: Terms | None = None) -> SqliteLedger:
        """Return the open ledger, made when it is missing."""
        return SqliteLedger(self.path, calendar, limit)

    def mark(self) -> LedgerMark | None:
        """Return the ledger's mark; None when there is no file."""
        return find_mark(self.path)

    def peek_usage(self, calendar: Calendar, limit: int | None, now: datetime) -> Usage:
        """Return the usage of the current month, also while a run writes the ledger."""
        return peek_usage(self.path, calendar, limit, now)

    def calls_by_day(self, workspace_id: str, day_of: Callable[[str], int | None]) -> list[MonthCalls]:
        """Return the months of the ledger in their order."""
        return read_calls_by_day(self.path, workspace_id, day_of)

    def attempts(self, workspace_id: str, *, until: str | None = None) -> Iterator[AttemptRow]:
        """Yield the attempts of a workspace that have a row, one by one."""
        return read_attempts(self.path, workspace_id, until=until)

    def folded(self) -> dict[str, int]:
        """Return the number of folded rows by month."""
        return read_folded(self.path)

    def miscounts(self) -> Iterator[tuple[str, int, int]]:
        """Yield (name, kept count, number of rows) of each kept count that the rows contradict."""
        return read_miscounts(self.path)
