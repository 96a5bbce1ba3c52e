"""Rows sorted on disk, in a temporary SQLite file that has no name: memory does not grow with their number."""

import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

_KEY_COLUMNS: Final = 4
_VALUE_COLUMNS: Final = 5
_CACHE_KIB: Final = 32 * 1024


class Spool:
    """Rows of four key columns and five value columns, sorted by their keys; a context manager."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        keys = ", ".join(f"k{number}" for number in range(_KEY_COLUMNS))
        values = ", ".join(f"v{number}" for number in range(_VALUE_COLUMNS))
        self._db.execute(f"CREATE TABLE row ({keys}, {values}, PRIMARY KEY ({keys})) WITHOUT ROWID")
        self._insert = f"INSERT OR REPLACE INTO row VALUES ({', '.join('?' * (_KEY_COLUMNS + _VALUE_COLUMNS))})"  # noqa: S608

    def __repr__(self) -> str:
        return "<Spool>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, key: tuple[object, ...], value: tuple[object, ...]) -> None:
        """Add a row; one of the same key is replaced."""
        self._db.execute(self._insert, key + value)

    def rows(self) -> Iterator[tuple[tuple[object, ...], tuple[object, ...]]]:
        """Yield (key, value) of all rows in the order of their keys."""
        keys = ", ".join(f"k{number}" for number in range(_KEY_COLUMNS))
        for row in self._db.execute(f"SELECT * FROM row ORDER BY {keys}"):  # noqa: S608 - names of columns
            yield row[:_KEY_COLUMNS], row[_KEY_COLUMNS:]
