"""SQLite: connections, translated errors, and `DurableDatabase` for files that count money.

`DurableDatabase` uses a rollback journal with `synchronous=EXTRA`; never WAL, which loses transactions in the SQLite
of stable distributions. A file with any fault is an error. Databases that can be rebuilt are in
`workspace.cache_database`.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.errors import StopError
from pipeline.storage.files import has_descriptors, no_descriptors
from pipeline.storage.filesystems import find_network_filesystem, make_directory, sync_directory

ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)

_DESCRIPTORS_PER_COMMIT: Final = 2
"""SQLite opens a journal and its directory."""
"""The errors that the sqlite3 module raises; a message about a damaged file may quote bytes that are not UTF-8."""


def connect(path: Path, *, busy_timeout_s: float = 10.0, autocommit: bool = False) -> sqlite3.Connection:
    """Return a connection that one thread at a time may use.

    Args:
        path: The file; created when it is missing.
        busy_timeout_s: How long to wait for another connection's lock.
        autocommit: False begins a transaction at the first change; True only at `BEGIN`.
    """
    return sqlite3.connect(
        path, timeout=busy_timeout_s, isolation_level=None if autocommit else "DEFERRED", check_same_thread=False
    )


def connect_read_only(path: Path, *, busy_timeout_s: float = 10.0) -> sqlite3.Connection:
    """Return a connection that reads the committed content of an existing file, and cannot change it."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, check_same_thread=False)


def remove_database(path: Path) -> None:
    """Remove a database and its rollback journal."""
    for name in (path, path.with_name(f"{path.name}-journal")):
        name.unlink(missing_ok=True)


@contextmanager
def translate_errors(translate: Callable[[Exception], StopError]) -> Generator[None]:
    """Replace errors of SQLite and of the operating system by those that `translate` returns.

    Raises:
        NoDescriptorsError: the process has no file descriptor left, of which SQLite does not tell.
    """
    try:
        yield
    except (*ERRORS, OSError) as exc:
        raise (translate(exc) if has_descriptors(_DESCRIPTORS_PER_COMMIT) else no_descriptors()) from exc


@dataclass(frozen=True, slots=True)
class DatabaseSpec:
    """The purpose and schema of a durable database, and the words of its errors.

    Attributes:
        name: Begins each message, before the path.
        description: The kind of file, for the message about a file of another kind.
        consequence: Ends each message.
        place_hint: How to move the file to a local disk.
        error: The class of the errors raised.
        application_id: SQLite's mark of the application that a file belongs to.
        format: Version of the schema.
        schema: Statements that create the tables.
        upgrades: By earlier format, the statements that upgrade to this one.
        is_private: True creates the file, and its directory, readable by its owner only; False obeys the umask.
        busy_timeout_s: How long to wait for another process's lock.
    """

    name: str
    description: str
    consequence: str
    place_hint: str
    error: type[StopError]
    application_id: int
    format: int
    schema: str
    upgrades: Mapping[int, Sequence[str]] = field(default_factory=dict)
    is_private: bool = False
    busy_timeout_s: float = 30.0


class DurableDatabase:
    """An open database whose commits survive a power loss; created when it is missing.

    Args:
        path: The file.
        spec: Its purpose and schema.

    Attributes:
        db: The connection; used only inside `reading` and `transaction`, by one thread at a time.

    Raises:
        StopError: of the spec's class: the file is damaged, of another kind, on a network filesystem, or cannot be
            read and written.
    """

    def __init__(self, path: Path, spec: DatabaseSpec) -> None:
        self.path = path
        self._spec = spec
        with translate_errors(self._translate):
            self._require_local_disk()
            if not path.exists():
                self._create()
            self.db = connect(path, busy_timeout_s=spec.busy_timeout_s, autocommit=True)
        try:
            with translate_errors(self._translate):
                self._identity = _identify(path)
                self._prepare()
        except BaseException:
            self.db.close()
            raise

    def __repr__(self) -> str:
        return f"<DurableDatabase {self.path.name}>"

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Yield the connection for queries.

        Raises:
            StopError: of the spec's class: the file cannot be read, or its name leads to another file.
        """
        with translate_errors(self._translate):
            self._check_identity()
            yield self.db

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Hold the write lock for the block; its changes are durable when the block has ended.

        Raises:
            StopError: of the spec's class: nothing was written, or the file's name leads to another file.
        """
        with self.reading():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:  # some errors have rolled it back already
                    self.db.execute("ROLLBACK")
                raise
            self._check_identity()

    def _prepare(self) -> None:
        self.db.execute("PRAGMA journal_mode = PERSIST")  # faster than creating a journal for each commit
        self.db.execute("PRAGMA synchronous = EXTRA")
        problem = self.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        with self.transaction():
            self._upgrade()

    def _upgrade(self) -> None:
        application_id, found = (
            self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        spec = self._spec
        if application_id != spec.application_id or found not in {spec.format, *spec.upgrades}:
            raise spec.error(f"{spec.name} {self.path}: not {spec.description} of format {spec.format}")
        for statement in spec.upgrades.get(found, ()):
            self.db.execute(statement)

    def _check_identity(self) -> None:
        """Raise when the name leads to another file: SQLite would go on writing to a deleted one."""
        if _identify(self.path) != self._identity:
            raise self._error("it was replaced while it was in use")

    def _require_local_disk(self) -> None:
        """Raise on a network filesystem: its locks may not exclude other machines."""
        found = find_network_filesystem(self.path)
        if found is not None:
            raise self._spec.error(
                f"{self._spec.name} {self.path}: it is on a network filesystem ({found}), where locks cannot be "
                f"trusted; {self._spec.place_hint}"
            )

    def _create(self) -> None:
        """Create the file with its schema under another name, then link it: no process sees it without a schema."""
        path, is_private = self.path, self._spec.is_private
        make_directory(path.parent, mode=0o700 if is_private else 0o777)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            # SQLite would create it with 0644 whatever the umask; the journal gets the file's permissions.
            mode = 0o600 if is_private else 0o666
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode))
            with closing(sqlite3.connect(temporary)) as db:
                db.executescript(
                    f"{self._spec.schema};"
                    f"PRAGMA application_id = {self._spec.application_id}; PRAGMA user_version = {self._spec.format};"
                )
            with suppress(FileExistsError):  # another process has created it meanwhile
                os.link(temporary, path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _translate(self, exc: Exception) -> StopError:
        return self._error(str(exc))

    def _error(self, problem: str) -> StopError:
        return self._spec.error(f"{self._spec.name} {self.path}: {problem}{self._spec.consequence}")


def _identify(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
