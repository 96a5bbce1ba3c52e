"""The SQLite file of a ledger: made, upgraded, checked, and written in transactions that hold or raise.

Rollback journal with `synchronous=EXTRA`; never WAL, which loses transactions in the SQLite of stable distributions.
A file that cannot be trusted is an error, whatever is wrong with it: no call goes out without its ledger.
"""

import os
import secrets
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import LedgerError
from pipeline.filesystems import find_network_filesystem
from pipeline.records import AttemptState
from pipeline.storage.files import make_directory, sync_directory

_FORMAT: Final = 2
_APPLICATION_ID: Final = 0x504D4C31  # "PML1"
_BUSY_TIMEOUT_S: Final = 30.0

_SCHEMA: Final = f"""
CREATE TABLE attempt (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  page TEXT NOT NULL,
  source TEXT NOT NULL,
  month TEXT NOT NULL,  -- the first that the call may fall into
  state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'void', 'unknown')),
  workspace TEXT NOT NULL,
  owner TEXT NOT NULL,
  added TEXT NOT NULL,
  until TEXT  -- the last month; NULL while the call may still be made: every later one
);
CREATE INDEX attempt_by_state ON attempt (state, month, until);
CREATE TABLE month (
  month TEXT PRIMARY KEY,
  folded INTEGER NOT NULL DEFAULT 0,
  adjustment INTEGER NOT NULL DEFAULT 0,
  begun INTEGER NOT NULL DEFAULT 0  -- 1 when calls can fall into no earlier one any more
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""

_FROM_FORMAT_1: Final = (
    "ALTER TABLE attempt ADD COLUMN until TEXT",
    "ALTER TABLE month ADD COLUMN begun INTEGER NOT NULL DEFAULT 0",
    "INSERT OR IGNORE INTO month (month) SELECT DISTINCT month FROM attempt",
    "UPDATE month SET begun = 1",
    "UPDATE attempt SET until = month WHERE state IN ('posted', 'void')",
    "UPDATE attempt SET until = (SELECT max(month) FROM month) WHERE state = 'unknown'",
    "DROP INDEX attempt_by_month",
    "CREATE INDEX attempt_by_state ON attempt (state, month, until)",
    f"PRAGMA user_version = {_FORMAT}",
)
"""A ledger of format 1 counted each call in one month; it did not note when an unknown one was found."""


class LedgerDatabase:
    """The open file of one ledger; made when it is missing.

    Args:
        path: Where it lies.

    Raises:
        LedgerError: it is damaged, no ledger, on a network filesystem, or cannot be read and written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._translated():
            _refuse_network(path)
            if not path.exists():
                _make(path)
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._identity = _identify(path)
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<LedgerDatabase {self.path.name}>"

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Hold the write lock: what is read inside is still true when it is written.

        Raises:
            LedgerError: nothing was written, or not where the ledger's name leads.
        """
        with self._translated():
            self._check_identity()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # some errors have rolled it back already
                    self._db.execute("ROLLBACK")
                raise
            self._check_identity()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = PERSIST")  # a file that stays is cheaper than one made for each commit
        self._db.execute("PRAGMA synchronous = EXTRA")
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        with self.transaction():
            self._upgrade()

    def _upgrade(self) -> None:
        found = tuple(self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if found == (_APPLICATION_ID, 1):
            for statement in _FROM_FORMAT_1:
                self._db.execute(statement)
        elif found != (_APPLICATION_ID, _FORMAT):
            raise LedgerError(f"ledger {self.path}: not a pagemill ledger of format {_FORMAT}")
        self._db.execute("DROP INDEX IF EXISTS attempt_open")  # no query needs it, and each reservation had to keep it

    def _check_identity(self) -> None:
        """Raise when the name leads to another file: SQLite goes on writing to one that was deleted."""
        if _identify(self.path) != self._identity:
            raise LedgerError(f"ledger {self.path}: it was replaced while it was in use; no call goes out without it")

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            raise LedgerError(f"ledger {self.path}: {exc}; no call goes out without it") from exc


@dataclass(frozen=True, slots=True)
class BookedCall:
    """A row of the ledger, as an auditor sees it."""

    id: str
    page: str
    source: str
    state: AttemptState


def read_calls(path: Path, workspace: str) -> Iterator[BookedCall]:
    """Yield the calls of a workspace that have a row, however many there are; changes nothing.

    Raises:
        LedgerError: the ledger is damaged, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)) as db:
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            for row in db.execute("SELECT id, page, source, state FROM attempt WHERE workspace = ?", (workspace,)):
                yield BookedCall(row[0], row[1], row[2], AttemptState(row[3]))
    except (sqlite3.Error, UnicodeDecodeError, ValueError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc


def read_folded(path: Path) -> dict[str, int]:
    """Return how many calls of all workspaces are only a number any more, by month; every month that was reached.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)) as db:
            return dict(db.execute("SELECT month, folded FROM month").fetchall())
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc


def _refuse_network(path: Path) -> None:
    """Raise on a filesystem whose locks do not keep out the other machines that share it."""
    found = find_network_filesystem(path)
    if found is not None:
        raise LedgerError(
            f"ledger {path}: it lies on a network filesystem ({found}), where locks cannot be trusted; "
            "--ledger DIRECTORY puts it on a disk of this machine"
        )


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    """Make an empty ledger under its name in one step, so that an empty file is never taken for a new ledger."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with closing(sqlite3.connect(temporary)) as db:
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):  # another process was quicker
            os.link(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
