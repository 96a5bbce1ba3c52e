"""Tables whose memory does not grow with their rows: in a temporary SQLite file, which needs no cleaning up.

The file has no name, is not synced, and goes with its connection.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self


class TemporaryDatabase:
    """A database in a temporary file; a context manager.

    Args:
        schema: SQL that makes its tables.
        cache_kib: Pages that stay in memory.
    """

    def __init__(self, schema: str, cache_kib: int = 2 * 1024) -> None:
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{cache_kib}; {schema}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget all rows."""
        self._db.close()

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self._db.execute(sql, parameters).fetchall()

    def change(self, sql: str, parameters: tuple[Any, ...]) -> int:
        """Execute a change; return the number of rows changed."""
        return self._db.execute(sql, parameters).rowcount

    def change_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Execute a change with each of these rows."""
        self._db.executemany(sql, rows)

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a query, one by one."""
        return self._db.execute(sql)


class KeySet:
    """A set of byte strings."""

    def __init__(self) -> None:
        self._db = TemporaryDatabase("CREATE TABLE key (key BLOB PRIMARY KEY) WITHOUT ROWID", cache_kib=16 * 1024)

    def __repr__(self) -> str:
        return "<KeySet>"

    def close(self) -> None:
        """Forget all keys."""
        self._db.close()

    def __contains__(self, key: bytes) -> bool:
        return bool(self._db.rows("SELECT 1 FROM key WHERE key = ?", (key,)))

    def add(self, key: bytes) -> bool:
        """Add a key; return False when it was there."""
        return self._db.change("INSERT OR IGNORE INTO key VALUES (?)", (key,)) == 1
