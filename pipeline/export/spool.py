"""Rows sorted on disk, in a temporary SQLite file that has no name: memory does not grow with their number."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

from pipeline.storage.temporary import TemporaryDatabase

_CACHE_KIB: Final = 32 * 1024
_ROWS_PER_INSERT: Final = 100


class Spool:
    """Rows of values, sorted by the first of them; a context manager.

    Args:
        keys: Number of the values that form a row's key.
        values: Number of the others.
    """

    def __init__(self, keys: int, values: int) -> None:
        columns = [f"c{number}" for number in range(keys + values)]
        self._order = ", ".join(columns[:keys])
        definition = f"({', '.join(columns)}, PRIMARY KEY ({self._order})) WITHOUT ROWID"
        self._db = TemporaryDatabase(f"CREATE TABLE row {definition}", _CACHE_KIB)
        self._insert = f"INSERT OR REPLACE INTO row VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        self._unsaved: list[tuple[Any, ...]] = []

    def __repr__(self) -> str:
        return "<Spool>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, *row: Any) -> None:  # noqa: ANN401 - numbers, strings and bytes
        """Add a row; one of the same key is replaced."""
        self._unsaved.append(row)
        if len(self._unsaved) == _ROWS_PER_INSERT:
            self._save()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield all rows in the order of their keys."""
        self._save()
        yield from self._db.stream(f"SELECT * FROM row ORDER BY {self._order}")  # noqa: S608 - names of columns

    def _save(self) -> None:
        self._db.change_many(self._insert, self._unsaved)
        self._unsaved.clear()
