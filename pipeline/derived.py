"""An SQLite file that holds nothing but what can be derived again: when it is damaged, it is removed."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.errors import StorageError

_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Errors of the machine; every other one means that the file is damaged."""
ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises on a damaged file; its message may quote the damage."""


class DamagedDatabaseError(StorageError):
    """SQLite found it out while the file was in use; it is gone, and made anew when it is next opened."""


class DerivedDatabase:
    """A connection that translates SQLite's errors; changes of several threads are committed together.

    Args:
        path: The file.
        schema: Statements that make its tables.
        version: Of the schema; a file of another version counts as damaged.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self.path = path
        self._db = sqlite3.connect(path, timeout=10, check_same_thread=False)
        self._writing = threading.Lock()
        self.uncommitted = 0
        """Changes since the last commit."""
        try:
            self._db.execute("PRAGMA synchronous = FULL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                self._db.executescript(schema)
                self._db.execute(f"PRAGMA user_version = {version}")
            elif found != version:
                raise sqlite3.DatabaseError(f"format {found}")
        except ERRORS:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<DerivedDatabase {self.path.name} {self.uncommitted} uncommitted>"

    def close(self) -> None:
        """Release the file without a commit."""
        self._db.close()

    def change(self, statement: str, values: tuple[object, ...]) -> None:
        """Make a change that the next commit writes.

        Raises:
            StorageError: it cannot be made.
        """
        try:
            with self._writing:
                self._db.execute(statement, values)
                self.uncommitted += 1
        except ERRORS as exc:
            raise self._translate(exc) from exc

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return what a query finds.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            return self._db.execute(statement, values).fetchall()
        except ERRORS as exc:
            raise self._translate(exc) from exc

    def stream(self, statement: str) -> Iterator[Any]:
        """Yield what a query finds, row by row.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            yield from self._db.execute(statement)
        except ERRORS as exc:
            raise self._translate(exc) from exc

    def commit(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write what has changed, and with it these rows.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            with self._writing:  # commits run in threads; two of them, or a change between, would share a transaction
                self.uncommitted = 0
                self._db.executemany(statement, rows)
                self._db.commit()
        except ERRORS as exc:
            raise self._translate(exc) from exc

    def _translate(self, exc: sqlite3.Error | UnicodeDecodeError) -> StorageError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # without the extension
        if code not in _PASSING:
            remove_database(self.path)
            return DamagedDatabaseError(f"{self.path}: {exc}; the next run makes it anew")
        return StorageError(f"{self.path}: {exc}")


class ReadOnlyDatabase(DerivedDatabase):
    """What is committed in a file that somebody else may be writing.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        self._writing = threading.Lock()
        self.uncommitted = 0

    def _translate(self, exc: sqlite3.Error | UnicodeDecodeError) -> StorageError:
        return StorageError(f"{self.path}: {exc}")


def remove_database(path: Path) -> None:
    """Remove the file and its journal."""
    for name in (path, path.with_name(path.name + "-journal")):
        name.unlink(missing_ok=True)
