"""The SQLite file of a ledger: its tables, the upgrade from an earlier format, and the reads of an audit."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import LedgerError
from pipeline.records import AttemptState
from pipeline.storage.sqlite import DatabaseSpec, connect_read_only

_SCHEMA: Final = """
CREATE TABLE attempt (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  page TEXT NOT NULL,
  source TEXT NOT NULL,
  month TEXT NOT NULL,  -- the first in which the vendor may bill the call
  state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'void', 'unknown')),
  workspace TEXT NOT NULL,
  owner TEXT NOT NULL,
  added TEXT NOT NULL,
  until TEXT  -- the last such month; NULL while the call may still be made: any later one
);
CREATE INDEX attempt_by_state ON attempt (state, month, until);
CREATE TABLE month (
  month TEXT PRIMARY KEY,
  folded INTEGER NOT NULL DEFAULT 0,
  adjustment INTEGER NOT NULL DEFAULT 0,
  begun INTEGER NOT NULL DEFAULT 0  -- 1 when the vendor bills no new call in an earlier month
) WITHOUT ROWID;
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
    "PRAGMA user_version = 2",
)
"""Format 1 counted each call in one month and did not note when the outcome of a call was found to be lost."""


LEDGER: Final = DatabaseSpec(
    name="ledger",
    description="a pagemill ledger",
    consequence="; no call goes out without it",
    place_hint="--ledger DIRECTORY puts it on a disk of this machine",
    error=LedgerError,
    application_id=0x504D4C31,  # "PML1"
    format=2,
    schema=_SCHEMA,
    upgrades={1: _FROM_FORMAT_1},
)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of the ledger, for the audit."""

    id: str
    page: str
    source: str
    state: AttemptState


def read_attempts(path: Path, workspace_id: str) -> Iterator[AttemptRow]:
    """Yield the attempts of a workspace that have a row, one by one; the ledger is only read.

    Raises:
        LedgerError: the ledger is damaged, or cannot be read.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=LEDGER.busy_timeout_s)) as db:
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            for row in db.execute("SELECT id, page, source, state FROM attempt WHERE workspace = ?", (workspace_id,)):
                yield AttemptRow(row[0], row[1], row[2], AttemptState(row[3]))
    except (sqlite3.Error, UnicodeDecodeError, ValueError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc


def read_folded(path: Path) -> dict[str, int]:
    """Return the number of folded rows of all workspaces by month, for every month that the ledger has counted in.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=LEDGER.busy_timeout_s)) as db:
            return dict(db.execute("SELECT month, folded FROM month").fetchall())
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc
