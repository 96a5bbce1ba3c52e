"""A cache in an SQLite file: everything in it can be rebuilt, so a damaged file is removed."""

import itertools
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

from pipeline.errors import StorageError
from pipeline.storage.sqlite import ERRORS, connect, connect_read_only, remove_database, translate_errors

_MACHINE_ERRORS: Final = frozenset(
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
"""Result codes that say nothing about the file's content; all others mean that the file is damaged."""
_STEP_PAGES: Final = 1000
"""SQLite's pages, of 4 KiB: a step takes milliseconds, during which a writer waits."""


class DamagedDatabaseError(StorageError):
    """The file is damaged, or of another version; it was removed, and the next opening creates it.

    Attributes:
        problem: SQLite's message.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; the next run rebuilds it")
        self.problem = problem


class CacheDatabase:
    """A connection whose uncommitted changes several threads share; errors are `StorageError`s.

    Args:
        path: The file.
        connection: To the file.
        removes_damaged: True removes the file when SQLite finds damage.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, removes_damaged: bool) -> None:
        self.path = path
        self._db = connection
        self._translate = partial(_translate, path, removes_damaged=removes_damaged)
        self._lock = threading.Lock()
        self.uncommitted = 0
        """Number of changes since the last commit."""
        self._lost_changes: StorageError | None = None
        """The error that rolled back uncommitted changes."""

    @classmethod
    def open(
        cls, path: Path, schema: str, version: int, upgrades: Mapping[int, str] = MappingProxyType({})
    ) -> "CacheDatabase":
        """Open a file for reading and writing; create it when it is missing.

        Args:
            path: The file.
            schema: Statements that create its tables.
            version: The schema's version; a file of another version that has no upgrade counts as damaged.
            upgrades: By earlier version, the statements that upgrade to this one.

        Raises:
            DamagedDatabaseError: the file was damaged; it is removed.
            StorageError: the file cannot be opened.
        """
        with translate_errors(partial(_translate, path, removes_damaged=True)):
            connection = connect(path)
            try:
                _prepare(connection, schema, version, upgrades)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, removes_damaged=True)

    @classmethod
    def open_read_only(cls, path: Path) -> "CacheDatabase":
        """Open the committed content of a file that another process may be writing; change nothing.

        Raises:
            StorageError: the file cannot be opened.
        """
        with translate_errors(partial(_translate, path, removes_damaged=False)):
            return cls(path, connect_read_only(path), removes_damaged=False)

    def __repr__(self) -> str:
        return f"<CacheDatabase {self.path.name} {self.uncommitted} uncommitted>"

    def close(self) -> None:
        """Close the connection without a commit."""
        self._db.close()

    def change(self, statement: str, values: tuple[object, ...]) -> int:
        """Execute a change, which the next commit writes; return the number of rows changed.

        Raises:
            StorageError: the change failed.
        """
        with self._exclusive():
            self.uncommitted += 1
            return self._db.execute(statement, values).rowcount

    def change_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Execute a change with each of these rows, which must not come from this connection.

        Raises:
            StorageError: the change failed.
        """
        with self._exclusive():
            self._db.executemany(statement, rows)

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Execute a statement; return all of its rows.

        Raises:
            StorageError: the statement failed.
        """
        with self._lock:  # as `_exclusive`, whose generators would take a third of the time: a walk asks per file
            self._require_changes()
            changing = self._db.in_transaction
            try:
                return self._db.execute(statement, values).fetchall()
            except (*ERRORS, OSError) as exc:
                self._fail(exc, changing=changing)

    def stream(self, statement: str) -> Iterator[Any]:
        """Execute a query; yield row by row.

        Raises:
            StorageError: the query failed.
        """
        with translate_errors(self._translate):
            yield from self._db.execute(statement)

    def commit(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Execute a change with each of these rows, and commit all changes.

        Raises:
            StorageError: the commit failed.
        """
        with self._exclusive():
            self.uncommitted = 0
            self._db.executemany(statement, rows)
            self._db.commit()

    def copy_to(self, path: Path) -> None:
        """Copy the committed content, in steps between which others may write; each of their commits restarts it.

        Raises:
            StorageError: the copy failed, or was restarted too often.
        """
        steps = itertools.count(1)

        def give_up(_: int, __: int, pages: int) -> None:
            if next(steps) * _STEP_PAGES > 3 * pages + _STEP_PAGES:
                raise StorageError(f"{self.path}: it changes faster than it can be copied")

        with self._exclusive(), closing(sqlite3.connect(path)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # nothing is lost with it
            self._db.backup(copy, pages=_STEP_PAGES, progress=give_up)

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        """Let one thread at a time use the connection: threads share its transaction and its last error."""
        with self._lock:
            self._require_changes()
            changing = self._db.in_transaction
            try:
                yield
            except (*ERRORS, OSError) as exc:
                self._fail(exc, changing=changing)

    def _fail(self, error: Exception, *, changing: bool) -> NoReturn:
        """Raise the error of a statement translated; note that the changes before it were rolled back."""
        try:
            with translate_errors(self._translate):
                raise error
        except StorageError as exc:
            if changing and not self._db.in_transaction:  # a full or failing disk rolls earlier changes back
                self._lost_changes = exc
            raise

    def _require_changes(self) -> None:
        """Raise when changes were rolled back: a later commit would claim to contain them."""
        if self._lost_changes is not None:
            raise self._lost_changes


def _prepare(connection: sqlite3.Connection, schema: str, version: int, upgrades: Mapping[int, str]) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        connection.executescript(schema)
        connection.execute(f"PRAGMA user_version = {version}")
    elif found in upgrades:
        connection.executescript(f"BEGIN; {upgrades[found]} PRAGMA user_version = {version}; COMMIT;")
    elif found != version:
        raise sqlite3.DatabaseError(f"format {found}")


def _translate(path: Path, exc: Exception, *, removes_damaged: bool) -> StorageError:
    if removes_damaged and _is_damage(exc):
        remove_database(path)
        return DamagedDatabaseError(path, str(exc))
    return StorageError(f"{path}: {exc}")


def _is_damage(exc: Exception) -> bool:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # without the extended code
    return isinstance(exc, ERRORS) and code not in _MACHINE_ERRORS
