"""SQLite files on which money depends: made, upgraded, checked, and written in transactions that hold or raise.

Rollback journal with `synchronous=EXTRA`; never WAL, which loses transactions in the SQLite of stable distributions.
A file that cannot be trusted is an error, whatever is wrong with it.
"""

import os
import secrets
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import StopError
from pipeline.storage.filesystems import find_network_filesystem, make_directory, sync_directory


@dataclass(frozen=True, slots=True)
class DatabaseSpec:
    """What a file is for, and what its errors say.

    Attributes:
        name: With the path it begins each message.
        description: What it should have been.
        consequence: Ends each message.
        place_hint: How it comes onto a disk of this machine.
        error: What is raised.
        application_id: SQLite's mark of whose file it is.
        format: Counted up when the schema changes.
        schema: Makes an empty file.
        upgrades: By an earlier format, the statements that lead to this one.
        is_private: Whether it is made for its owner's eyes alone, with its directory; else the umask is asked.
        busy_timeout_s: How long another process may hold the file.
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
    """An open file; made when it is missing.

    Args:
        path: Where it lies.
        kind: What it is for.

    Attributes:
        db: To be used inside `reading` and `transaction`, for one thread at a time.

    Raises:
        StopError: the kind's: it is damaged, of another kind, on a network filesystem, or cannot be read and written.
    """

    def __init__(self, path: Path, spec: DatabaseSpec) -> None:
        self.path = path
        self._spec = spec
        with self._translated():
            self._require_local_disk()
            if not path.exists():
                self._make()
            self.db = sqlite3.connect(path, timeout=spec.busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._identity = _identify(path)
                self._prepare()
        except BaseException:
            self.db.close()
            raise

    def __repr__(self) -> str:
        return f"<DurableDatabase {self.path.name}>"

    def close(self) -> None:
        """Release the file."""
        self.db.close()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Only read.

        Raises:
            StopError: the kind's: it cannot be read, or its name leads to another file.
        """
        with self._translated():
            self._check_identity()
            yield self.db

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Hold the write lock: what is read inside is still true when it is written, and durable behind the block.

        Raises:
            StopError: the kind's: nothing was written, or not where the file's name leads.
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
        self.db.execute("PRAGMA journal_mode = PERSIST")  # a file that stays is cheaper than one made for each commit
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
        """Raise when the name leads to another file: SQLite goes on writing to one that was deleted."""
        if _identify(self.path) != self._identity:
            raise self._error("it was replaced while it was in use")

    def _require_local_disk(self) -> None:
        """Raise on a filesystem whose locks do not keep out the other machines that share it."""
        found = find_network_filesystem(self.path)
        if found is not None:
            raise self._spec.error(
                f"{self._spec.name} {self.path}: it lies on a network filesystem ({found}), where locks cannot be "
                f"trusted; {self._spec.place_hint}"
            )

    def _make(self) -> None:
        """Make an empty file under its name in one step, so that one without a schema is never taken for a new one."""
        path, is_private = self.path, self._spec.is_private
        make_directory(path.parent, mode=0o700 if is_private else 0o777)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            if is_private:  # SQLite would ask the umask
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(temporary)) as db:
                db.executescript(
                    f"{self._spec.schema};"
                    f"PRAGMA application_id = {self._spec.application_id}; PRAGMA user_version = {self._spec.format};"
                )
            with suppress(FileExistsError):  # another process was quicker
                os.link(temporary, path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            raise self._error(str(exc)) from exc

    def _error(self, problem: str) -> StopError:
        return self._spec.error(f"{self._spec.name} {self.path}: {problem}{self._spec.consequence}")


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
