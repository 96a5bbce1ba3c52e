"""The SQLite file of a ledger: its tables, the upgrade from an earlier format, and the reads of an audit."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import AttemptRow, LedgerMark
from pipeline.storage.sqlite import DatabaseSpec, connect, connect_read_only

_STATES: Final = "'pending', 'accepted', 'charged', 'posted', 'void', 'unknown'"
_ATTEMPT: Final = f"""(
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  page TEXT NOT NULL,
  source TEXT NOT NULL,
  month TEXT NOT NULL,  -- the first in which the vendor may bill the call
  state TEXT NOT NULL CHECK (state IN ({_STATES})),
  workspace TEXT NOT NULL,
  owner TEXT NOT NULL,
  added TEXT NOT NULL,
  until TEXT  -- the last such month; NULL while the call may still be made: any later one
)"""
_SINCE_3: Final = (
    # accepted: rows in this state; folded_*: rows that were folded
    """CREATE TABLE workspace (
  id TEXT PRIMARY KEY,
  accepted INTEGER NOT NULL DEFAULT 0,
  folded_accepted INTEGER NOT NULL DEFAULT 0,
  folded_posted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID""",
    "CREATE TABLE ledger (id TEXT NOT NULL)",
    "INSERT INTO ledger VALUES (lower(hex(randomblob(8))))",
)
_SCHEMA: Final = ";\n".join(
    (
        f"CREATE TABLE attempt {_ATTEMPT}",
        "CREATE INDEX attempt_by_state ON attempt (state, month, until)",
        # begun: 1 when the vendor bills no new call in an earlier month
        # settled: rows that are accepted, charged or posted; reserved: all calls ever reserved with this first month
        """CREATE TABLE month (
  month TEXT PRIMARY KEY,
  folded INTEGER NOT NULL DEFAULT 0,
  adjustment INTEGER NOT NULL DEFAULT 0,
  begun INTEGER NOT NULL DEFAULT 0,
  settled INTEGER NOT NULL DEFAULT 0,
  reserved INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID""",
        *_SINCE_3,
    )
)

_FROM_FORMAT_1: Final = (
    "ALTER TABLE attempt ADD COLUMN until TEXT",
    "ALTER TABLE month ADD COLUMN begun INTEGER NOT NULL DEFAULT 0",
    "INSERT OR IGNORE INTO month (month) SELECT DISTINCT month FROM attempt",
    "UPDATE month SET begun = 1",
    "UPDATE attempt SET until = month WHERE state IN ('posted', 'void')",
    "UPDATE attempt SET until = (SELECT max(month) FROM month) WHERE state = 'unknown'",
    "DROP INDEX attempt_by_month",
    "DROP INDEX IF EXISTS attempt_open",
    "CREATE INDEX attempt_by_state ON attempt (state, month, until)",
)
"""Format 1 counted each call in one month and did not note when the outcome of a call was found to be lost."""

RECOUNT: Final = (
    """INSERT OR IGNORE INTO month (month) WITH RECURSIVE listed (month, last) AS (
  SELECT min(month), max(until) FROM attempt WHERE state IN ('accepted', 'charged', 'posted')
  UNION ALL SELECT strftime('%Y-%m', month || '-01', '+1 month'), last FROM listed WHERE month < last
) SELECT month FROM listed WHERE month IS NOT NULL""",
    """UPDATE month SET settled = (
  SELECT count(*) FROM attempt
  WHERE state IN ('accepted', 'charged', 'posted') AND attempt.month <= month.month AND until >= month.month
)""",
)
"""Counts the settled rows of each month; a row counts in every month from its first to its last."""

_MISCOUNTS: Final = """
SELECT 'month ' || month, settled, rows FROM (
  SELECT month.month, settled, count(attempt.number) AS rows FROM month LEFT JOIN attempt
  ON state IN ('accepted', 'charged', 'posted') AND attempt.month <= month.month AND until >= month.month
  GROUP BY month.month
) WHERE settled <> rows
UNION ALL SELECT 'workspace ' || id, sum(accepted), sum(rows) FROM (
  SELECT id, accepted, 0 AS rows FROM workspace
  UNION ALL SELECT workspace, 0, count(*) FROM attempt WHERE state = 'accepted' GROUP BY workspace
) GROUP BY id HAVING sum(accepted) <> sum(rows)
"""

_FROM_FORMAT_2: Final = (
    f"CREATE TABLE attempt_3 {_ATTEMPT}",
    "INSERT INTO attempt_3 SELECT number, id, page, source, month, state, workspace, owner, added, until FROM attempt",
    "DROP TABLE attempt",
    "ALTER TABLE attempt_3 RENAME TO attempt",
    "CREATE INDEX attempt_by_state ON attempt (state, month, until)",
    "ALTER TABLE month ADD COLUMN settled INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE month ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0",
    *RECOUNT,
    "UPDATE month SET reserved = (SELECT count(*) FROM attempt WHERE attempt.month = month.month)",
    *_SINCE_3,
    "INSERT OR IGNORE INTO workspace (id) SELECT DISTINCT workspace FROM attempt",
    "PRAGMA user_version = 3",
)
"""Format 2 had one state, `posted`, for accepted and charged calls, and counted a month's rows at each commit."""


LEDGER: Final = DatabaseSpec(
    name="ledger",
    description="a pagemill ledger",
    consequence="; no call goes out without it",
    place_hint="--ledger DIRECTORY puts it on a disk of this machine",
    error=LedgerError,
    application_id=0x504D4C31,  # "PML1"
    format=3,
    schema=_SCHEMA,
    upgrades={1: (*_FROM_FORMAT_1, *_FROM_FORMAT_2), 2: _FROM_FORMAT_2},
)


def read_mark(db: sqlite3.Connection) -> LedgerMark:
    """Return a ledger's mark."""
    if db.execute("PRAGMA user_version").fetchone()[0] < 3:
        return LedgerMark(None, 0)
    (reserved,) = db.execute("SELECT coalesce(sum(reserved), 0) FROM month").fetchone()
    return LedgerMark(db.execute("SELECT id FROM ledger").fetchone()[0], reserved)


def find_mark(path: Path) -> LedgerMark | None:
    """Return the mark of a ledger, whose format stays as it is; None when there is no file.

    A commit that a crash cut off is rolled back first, as a connection that only reads could not do.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        if not path.exists():
            return None
        with closing(connect(path, busy_timeout_s=LEDGER.busy_timeout_s, autocommit=True)) as db:
            return read_mark(db)
    except (sqlite3.Error, UnicodeDecodeError, TypeError, OSError) as exc:
        raise LedgerError(f"ledger {path}: {exc}; no call goes out without it") from exc


def read_attempts(path: Path, workspace_id: str, *, until: str | None = None) -> Iterator[AttemptRow]:
    """Yield the attempts of a workspace that have a row, one by one; the ledger is only read.

    Args:
        path: The ledger.
        workspace_id: The workspace's id.
        until: Only those reserved at this time, RFC 3339, or earlier; None for all.

    Raises:
        LedgerError: the ledger is damaged, or cannot be read.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=LEDGER.busy_timeout_s)) as db:
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            query = "SELECT id, page, source, state FROM attempt WHERE workspace = ? AND added <= ?"
            for row in db.execute(query, (workspace_id, until or "~")):
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


def read_miscounts(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, kept count, number of rows) of each kept count that the rows contradict.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=LEDGER.busy_timeout_s)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] < 3:  # it keeps no counts
                return
            yield from db.execute(_MISCOUNTS)
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc
