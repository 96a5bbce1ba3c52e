"""An SQLite file that holds nothing but what can be derived again: when it is damaged, it is removed."""

import itertools
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
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
_STEP_PAGES: Final = 1000
"""SQLite's pages, of 4 KiB: they are copied in milliseconds, for which a writer waits."""


class DamagedDatabaseError(StorageError):
    """SQLite found it out while the file was in use; it is gone, and made anew when it is next opened."""


class CacheDatabase:
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
        self._lock = threading.Lock()
        self.uncommitted = 0
        """Changes since the last commit."""
        self._lost: StorageError | None = None
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
        return f"<CacheDatabase {self.path.name} {self.uncommitted} uncommitted>"

    def close(self) -> None:
        """Release the file without a commit."""
        self._db.close()

    def change(self, statement: str, values: tuple[object, ...]) -> int:
        """Make a change that the next commit writes; return how many rows it touched.

        Raises:
            StorageError: it cannot be made.
        """
        with self._turn():
            self.uncommitted += 1
            return self._db.execute(statement, values).rowcount

    def change_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Make the same change with each of these rows; they must not come from this connection.

        Raises:
            StorageError: it cannot be made.
        """
        with self._turn():
            self._db.executemany(statement, rows)

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return what a query finds.

        Raises:
            StorageError: it cannot be read.
        """
        with self._turn():
            return self._db.execute(statement, values).fetchall()

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
        with self._turn():
            self.uncommitted = 0
            self._db.executemany(statement, rows)
            self._db.commit()

    def copy_to(self, path: Path) -> None:
        """Copy what is committed, in steps between which others may write; each commit of theirs starts it over.

        Raises:
            StorageError: it cannot be copied, or changes too often.
        """
        steps = itertools.count(1)

        def give_up(_: int, __: int, pages: int) -> None:
            if next(steps) * _STEP_PAGES > 3 * pages + _STEP_PAGES:
                raise StorageError(f"{self.path}: it changes faster than it can be copied")

        with self._turn(), closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy, pages=_STEP_PAGES, progress=give_up)

    @contextmanager
    def _turn(self) -> Generator[None]:
        """Let one thread at a time use the connection: they share its transaction, and its last error."""
        with self._lock:
            self._require_changes()
            changing = self._db.in_transaction
            try:
                yield
            except ERRORS as exc:
                error = self._translate(exc)
                if changing and not self._db.in_transaction:  # a full or failing disk takes earlier changes along
                    self._lost = error
                raise error from exc

    def _require_changes(self) -> None:
        """Raise when changes are gone: a later commit would pass for one of all that were made."""
        if self._lost is not None:
            raise self._lost

    def _translate(self, exc: sqlite3.Error | UnicodeDecodeError) -> StorageError:
        if not is_passing(exc):
            remove_database(self.path)
            return DamagedDatabaseError(f"{self.path}: {exc}; the next run makes it anew")
        return StorageError(f"{self.path}: {exc}")


class ReadOnlyDatabase(CacheDatabase):
    """What is committed in a file that somebody else may be writing.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
        self._lock = threading.Lock()
        self.uncommitted = 0
        self._lost = None

    def _translate(self, exc: sqlite3.Error | UnicodeDecodeError) -> StorageError:
        return StorageError(f"{self.path}: {exc}")


def is_passing(exc: Exception) -> bool:
    """Return True when an error is the machine's, not the file's."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _PASSING  # without the extension


def remove_database(path: Path) -> None:
    """Remove the file and its journal."""
    for name in (path, path.with_name(path.name + "-journal")):
        name.unlink(missing_ok=True)
