"""The ledger of one key on this machine, in SQLite.

One SQLite file a key, shared by all processes of this machine that use the key. Rollback journal with
`synchronous=EXTRA`; never WAL, which loses transactions in the SQLite of stable distributions and does not work on
network filesystems. A row is reservation and intent in one: what a crash leaves behind as `pending` is spent until
the JSONL proves otherwise.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pipeline.errors import LedgerError, QuotaExhaustedError
from pipeline.files import sync_directory
from pipeline.records import AttemptState, OpenAttempt, PageId, rfc3339
from pipeline.rules.quota import Calendar, Usage, billing_month, reset_time
from pipeline.rules.resume import printable

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x504D4C31  # "PML1"
_BUSY_TIMEOUT_S: Final = 30.0

_SCHEMA: Final = f"""
CREATE TABLE attempt (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  page TEXT NOT NULL,
  source TEXT NOT NULL,
  month TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'void', 'unknown')),
  workspace TEXT NOT NULL,
  owner TEXT NOT NULL,
  added TEXT NOT NULL
);
CREATE INDEX attempt_by_month ON attempt (month, state);
CREATE INDEX attempt_open ON attempt (workspace, state) WHERE state IN ('pending', 'unknown');
CREATE TABLE month (month TEXT PRIMARY KEY, folded INTEGER NOT NULL DEFAULT 0, adjustment INTEGER NOT NULL DEFAULT 0)
  WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Count one call for a page before it is made; the source is for people who must be told which it was."""

    page: PageId
    source: str = ""


@dataclass(frozen=True, slots=True)
class Settle:
    """Write down what became of a reservation."""

    attempt: str
    state: AttemptState


class Ledger:
    """The ledger of one key on this machine.

    Args:
        path: The SQLite file; made when it is missing.
        calendar: When the plan's month begins.
        limit: Calls a month; None counts without limiting.
        now: The clock.
    """

    def __init__(
        self,
        path: Path,
        calendar: Calendar,
        limit: int | None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self._calendar = calendar
        self._limit = limit
        self._now = now
        self.left: int | None = None
        """Calls left in the month after the last group; None when there is no limit."""
        self._db = self._connect()

    def __repr__(self) -> str:
        return f"<Ledger {self.path.name} limit {self._limit}>"

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def usage(self, month: str | None = None) -> Usage:
        """Return what was used in a month, by default the current one."""
        with self._transaction():
            return self._usage(month or self._month())

    def months(self) -> list[str]:
        """Return the months in which something was counted, oldest first."""
        with self._transaction():
            rows = self._db.execute("SELECT month FROM attempt UNION SELECT month FROM month ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def resets_at(self, month: str) -> datetime:
        """Return when the month after this one begins."""
        return reset_time(month, self._calendar)

    def set_used(self, used: int) -> Usage:
        """Take over what the vendor's dashboard says was used this month; calls in flight count on top."""
        with self._transaction():
            month = self._month()
            usage = self._usage(month)
            self._db.execute(
                "INSERT INTO month (month, adjustment) VALUES (?1, ?2)"
                " ON CONFLICT DO UPDATE SET adjustment = adjustment + ?2",
                (month, used - (usage.used - usage.pending)),
            )
            return self._usage(month)

    def execute(
        self, operations: Sequence[Reserve | Settle], workspace: str, owner: str, new_id: Callable[[], str]
    ) -> list[str | QuotaExhaustedError | None]:
        """Carry out a group of reservations and settlements in one transaction.

        Args:
            operations: What to do.
            workspace: The asking workspace's id.
            owner: The asking run's id.
            new_id: Gives an id that no attempt has yet.

        Returns:
            An attempt id or a refusal for each reservation, None for each settlement.

        Raises:
            LedgerError: the ledger cannot be read or written; nothing was reserved.
        """
        with self._transaction():
            month = self._month()
            left = None if self._limit is None else max(0, self._limit - self._count(month))
            results: list[str | QuotaExhaustedError | None] = []
            for operation in operations:
                match operation:
                    case Settle():
                        self._set_state(operation.attempt, operation.state)
                        results.append(None)
                    case Reserve() if left == 0:
                        results.append(self._refusal(month))
                    case Reserve():
                        left = None if left is None else left - 1
                        results.append(self._insert(operation, month, workspace, owner, new_id()))
            self.left = left
            return results

    def open_attempts(self, workspace: str, is_alive: Callable[[str], bool]) -> list[OpenAttempt]:
        """Return this workspace's attempts without an outcome whose owner is gone."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT id, page, state, owner, source FROM attempt"
                " WHERE workspace = ? AND state IN ('pending', 'unknown')",
                (workspace,),
            ).fetchall()
        alive: dict[str, bool] = {owner: is_alive(owner) for owner in {row[3] for row in rows}}
        return [OpenAttempt(row[0], PageId(row[1]), AttemptState(row[2]), row[4]) for row in rows if not alive[row[3]]]

    def recover(self, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        """Write down what became of attempts that a dead owner left open."""
        with self._transaction():
            for attempt in proven:
                self._set_state(attempt.id, AttemptState.POSTED)
            for attempt in unproven:
                self._set_state(attempt.id, AttemptState.UNKNOWN)

    def _connect(self) -> sqlite3.Connection:
        try:
            if not self.path.exists():
                _make(self.path)
            db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as exc:
            raise LedgerError(f"ledger {self.path}: {exc}") from exc
        self._db = db
        try:
            found = self.path.stat()
            self._identity = (found.st_dev, found.st_ino)
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = EXTRA")
            self._check_pages()
            with self._transaction():
                self._check_format()
                self._fold_closed_months()
                self.left = self._usage(self._month()).left
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            db.close()
            raise LedgerError(f"ledger {self.path}: {exc}; no call goes out without it") from exc
        except BaseException:
            db.close()
            raise
        return db

    def _check_pages(self) -> None:
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)

    def _check_format(self) -> None:
        found = tuple(self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if found != (_APPLICATION_ID, _FORMAT):
            raise LedgerError(f"ledger {self.path}: not a pagemill ledger of format {_FORMAT}")

    def _fold_closed_months(self) -> None:
        """Replace the settled rows of closed months by a count, so that the ledger does not grow for ever."""
        month = self._month()
        self._db.execute(
            "INSERT INTO month (month, folded) SELECT month, count(*) FROM attempt WHERE month < ? AND state = 'posted'"
            " GROUP BY month ON CONFLICT DO UPDATE SET folded = folded + excluded.folded",
            (month,),
        )
        self._db.execute("DELETE FROM attempt WHERE month < ? AND state IN ('posted', 'void')", (month,))

    def _month(self) -> str:
        """Return the current billing month; a machine clock that moved back does not open an earlier one."""
        latest = self._db.execute(
            "SELECT max(month) FROM (SELECT max(month) AS month FROM attempt UNION SELECT max(month) FROM month)"
        ).fetchone()[0]
        current = billing_month(self._now(), self._calendar)
        return current if latest is None else max(current, latest)

    def _count(self, month: str) -> int:
        rows = self._db.execute("SELECT count(*) FROM attempt WHERE month = ? AND state <> 'void'", (month,)).fetchone()
        extra = self._db.execute("SELECT folded + adjustment FROM month WHERE month = ?", (month,)).fetchone()
        return int(rows[0]) + (int(extra[0]) if extra else 0)

    def _usage(self, month: str) -> Usage:
        counts = dict(
            self._db.execute("SELECT state, count(*) FROM attempt WHERE month = ? GROUP BY state", (month,)).fetchall()
        )
        return Usage(month, self._count(month), counts.get("pending", 0), counts.get("unknown", 0), self._limit)

    def _refusal(self, month: str) -> QuotaExhaustedError:
        when = f"{self.resets_at(month):%Y-%m-%d %H:%M} UTC"
        return QuotaExhaustedError(f"the month's {self._limit} calls are used up; they reset on {when}")

    def _insert(self, call: Reserve, month: str, workspace: str, owner: str, attempt: str) -> str:
        self._db.execute(
            "INSERT INTO attempt (id, page, source, month, state, workspace, owner, added)"
            " VALUES (?, ?, ?, ?, 'pending', ?, ?, ?)",
            (attempt, call.page, printable(call.source), month, workspace, owner, rfc3339(self._now())),
        )
        return attempt

    def _set_state(self, attempt: str, state: AttemptState) -> None:
        self._db.execute("UPDATE attempt SET state = ? WHERE id = ?", (state.value, attempt))

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """Hold the write lock: what is read inside is still true when it is written."""
        try:
            self._check_file()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            raise LedgerError(f"ledger {self.path}: {exc}; no call goes out without it") from exc

    def _check_file(self) -> None:
        """Raise when the name leads to another file: SQLite goes on writing to one that was deleted."""
        found = self.path.stat()
        if (found.st_dev, found.st_ino) != self._identity:
            raise LedgerError(f"ledger {self.path}: it was replaced while it was in use; no call goes out without it")


def read_attempt_states(path: Path, workspace: str) -> dict[str, AttemptState]:
    """Return the state of each call of a workspace that has not been folded into a month's count; changes nothing.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)) as db:
            rows = db.execute("SELECT id, state FROM attempt WHERE workspace = ?", (workspace,)).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc
    return {row[0]: AttemptState(row[1]) for row in rows}


def _make(path: Path) -> None:
    """Make an empty ledger under its name in one step, so that an empty file is never taken for a new ledger."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with closing(sqlite3.connect(temporary)) as db:
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):  # another process was quicker
            os.link(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
