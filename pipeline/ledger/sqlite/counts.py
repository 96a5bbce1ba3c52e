"""The kept counts of a ledger: settled calls per month, accepted calls per workspace.

Each change of a row changes the counts in the same transaction, so a limit costs no count of a month's rows. Open rows
(`pending`, `unknown`) are few and are counted when needed. `verify` compares the kept counts with the rows.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import chain
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from pipeline.billing import Calendar, Months, Usage, billing_month, possible_months
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.sqlite.schema import LEDGER, RECOUNT
from pipeline.storage.sqlite import connect_read_only

_PEEK_TIMEOUT_S: Final = 2.0
"""A group commit takes milliseconds; whoever asks for the status does not wait longer."""

SETTLED: Final = frozenset({AttemptState.ACCEPTED, AttemptState.CHARGED, AttemptState.POSTED})
"""States that count and do not change by themselves."""


def change_states(
    db: Connection, ids: Sequence[str], state: AttemptState, last: str, *, keep_end: bool = False
) -> str | None:
    """Set the state of attempts, and the counts that depend on it.

    Args:
        db: In a transaction.
        ids: The attempts.
        state: Their new state.
        last: The last month in which the vendor may bill them.
        keep_end: True leaves a last month that a row has already.

    Returns:
        An attempt that the ledger does not know, and then nothing was changed; None when all are known.
    """
    marks = ", ".join("?" * len(ids))
    rows = db.execute(f"SELECT id, state, month, until, workspace FROM attempt WHERE id IN ({marks})", ids).fetchall()  # noqa: S608
    if len(rows) != len(ids):
        known = {row[0] for row in rows}
        return next((attempt for attempt in ids if attempt not in known), ids[0])
    until = "coalesce(until, ?)" if keep_end else "?"
    db.execute(f"UPDATE attempt SET state = ?, until = {until} WHERE id IN ({marks})", (state.value, last, *ids))  # noqa: S608
    months, workspaces = Counter[str](), Counter[str]()
    for _, before, first, end, workspace in rows:
        if AttemptState(before) in SETTLED:
            months.subtract(Months(first, end))
        if state in SETTLED:
            months.update(Months(first, end if keep_end and end is not None else last))
        workspaces[workspace] += (state is AttemptState.ACCEPTED) - (before == AttemptState.ACCEPTED)
    _add_to_months(db, "settled", months)
    _add_to_workspaces(db, "accepted", workspaces)
    return None


def add_reserved(db: Connection, month: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Add pending rows, and count them; their total only grows, so a restored older ledger shows a smaller one.

    Args:
        db: In a transaction.
        month: Their first month.
        rows: Id, page, source, month, workspace, owner and time of each. They are added in one statement: at each one
            SQLite releases the GIL and waits to get it back.
    """
    marks = ", ".join(["(?, ?, ?, ?, 'pending', ?, ?, ?)"] * len(rows))
    columns = "(id, page, source, month, state, workspace, owner, added)"
    db.execute(f"INSERT INTO attempt {columns} VALUES {marks}", list(chain.from_iterable(rows)))  # noqa: S608
    _add_to_months(db, "reserved", {month: len(rows)})


def count_open(db: Connection, month: str, last: str) -> dict[AttemptState, int]:
    """Return the number of open rows that count in a month, by state; a row without an end counts up to `last`."""
    rows = db.execute(
        "SELECT state, count(*) FROM attempt"
        " WHERE state IN ('pending', 'unknown') AND month <= ?1 AND coalesce(until, ?2) >= ?1 GROUP BY state",
        (month, last),
    )
    return {AttemptState(state): number for state, number in rows}


def count_kept(db: Connection, month: str) -> int:
    """Return the number of calls of a month without its open rows."""
    row = db.execute("SELECT settled + folded + adjustment FROM month WHERE month = ?", (month,)).fetchone()
    return 0 if row is None else int(row[0])


def count_usage(db: Connection, month: str, last: str, limit: int | None) -> Usage:
    """Return the usage of a month; an attempt without an end counts up to the last month."""
    counts = count_open(db, month, last)
    pending, unknown = counts.get(AttemptState.PENDING, 0), counts.get(AttemptState.UNKNOWN, 0)
    return Usage(month, count_kept(db, month) + pending + unknown, pending, unknown, limit)


def noted_months(db: Connection) -> Months:
    """Return the latest months that the ledger has counted in; "" when there is none."""
    begun = "coalesce(max(month) FILTER (WHERE begun), '')"
    return Months(*db.execute(f"SELECT {begun}, coalesce(max(month), '') FROM month").fetchone())  # noqa: S608


def peek_usage(path: Path, calendar: Calendar, limit: int | None, now: datetime) -> Usage:
    """Return the usage of the current month from a ledger that is only read, also while a run writes it.

    Raises:
        LedgerError: it cannot be read, or a run has to upgrade it first.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=_PEEK_TIMEOUT_S)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] != LEDGER.format:
                raise LedgerError(f"ledger {path}: it is that of another release")
            months = possible_months(now, calendar).not_before(noted_months(db))
            return count_usage(db, max(months.first, billing_month(now, calendar)), months.last, limit)
    except sqlite3.Error as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc


def fold_before(db: Connection, month: str) -> None:
    """Replace the settled rows of earlier months by counts, so that the ledger does not grow for ever."""
    closed = "month < ?1 AND until < ?1"
    rows = db.execute(
        "SELECT month, until, state, workspace, count(*) FROM attempt"  # noqa: S608 - made of constants
        f" WHERE state IN ('accepted', 'charged', 'posted') AND {closed} GROUP BY month, until, state, workspace",
        (month,),
    ).fetchall()
    months = Counter[str]()
    accepted, posted = Counter[str](), Counter[str]()
    for first, last, state, workspace, count in rows:
        for counted in Months(first, last):
            months[counted] += count
        if state == AttemptState.ACCEPTED:
            accepted[workspace] += count
        elif state == AttemptState.POSTED:
            posted[workspace] += count
    _add_to_months(db, "folded", months)
    _add_to_months(db, "settled", {counted: -number for counted, number in months.items()})
    _add_to_workspaces(db, "folded_accepted", accepted)
    _add_to_workspaces(db, "accepted", {workspace: -number for workspace, number in accepted.items()})
    _add_to_workspaces(db, "folded_posted", posted)
    db.execute(
        f"DELETE FROM attempt WHERE state IN ('accepted', 'charged', 'posted', 'void') AND {closed}",  # noqa: S608
        (month,),
    )


def forget_folded(db: Connection, workspace_id: str, number: int) -> None:
    """Count fewer folded calls of a workspace as accepted; its months keep their counts."""
    _add_to_workspaces(db, "folded_accepted", {workspace_id: -number})


def move_months_after(db: Connection, last: str, month: str) -> None:
    """Move what counts in months after `last` to `month`, and count the rows again."""
    folded, reserved = db.execute(
        "SELECT coalesce(sum(folded), 0), coalesce(sum(reserved), 0) FROM month WHERE month > ?", (last,)
    ).fetchone()
    db.execute("DELETE FROM month WHERE month > ?", (last,))
    _add_to_months(db, "folded", {month: folded})
    _add_to_months(db, "reserved", {month: reserved})
    db.execute(
        "UPDATE attempt SET month = min(month, ?1), until = min(until, ?2) WHERE month > ?1 OR until > ?2",
        (month, last),
    )
    for statement in RECOUNT:
        db.execute(statement)


def _add_to_months(db: Connection, column: str, numbers: Mapping[str, int]) -> None:
    _add(db, "month", "month", column, numbers.items())


def _add_to_workspaces(db: Connection, column: str, numbers: Mapping[str, int]) -> None:
    _add(db, "workspace", "id", column, numbers.items())


def _add(db: Connection, table: str, key: str, column: str, numbers: Iterable[tuple[str, int]]) -> None:
    add = (
        f"INSERT INTO {table} ({key}, {column}) VALUES (?1, ?2)"  # noqa: S608 - made of constants
        f" ON CONFLICT DO UPDATE SET {column} = {column} + ?2"
    )
    for name, number in numbers:
        if number:
            db.execute(add, (name, number))
