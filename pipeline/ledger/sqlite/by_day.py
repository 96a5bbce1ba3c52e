"""The calls of a ledger by billing month and day, for charts; the ledger is only read."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.errors import LedgerError
from pipeline.ledger.base import MonthCalls
from pipeline.ledger.sqlite.schema import LEDGER
from pipeline.storage.sqlite import connect_read_only

_BUSY_TIMEOUT_S: Final = 2.0

_KEPT: Final = "SELECT month, folded + adjustment FROM month ORDER BY month"
_ROWS: Final = """
SELECT month.month, substr(added, 1, 16), count(*), sum(workspace = ?) FROM month JOIN attempt
ON attempt.month <= month.month AND coalesce(until, (SELECT max(month) FROM month)) >= month.month
WHERE state <> 'void' GROUP BY 1, 2
"""
"""By minute, so that days of any time zone can be made of them; a call counts in each month that may bill it."""


def read_calls_by_day(path: Path, workspace_id: str, day_of: Callable[[str], int | None]) -> list[MonthCalls]:
    """Return the months of a ledger in their order.

    Args:
        path: The ledger.
        workspace_id: Whose calls are counted as `here`.
        day_of: Returns the day of an RFC 3339 time; None for a text that is none.

    Raises:
        LedgerError: it cannot be read, or a run has to upgrade it first.
    """
    try:
        with closing(connect_read_only(path, busy_timeout_s=_BUSY_TIMEOUT_S)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] != LEDGER.format:
                raise LedgerError(f"ledger {path}: it is that of another release")
            base = Counter[str](dict(db.execute(_KEPT)))
            days, here = defaultdict[str, Counter[int]](Counter), Counter[str]()
            for month, minute, number, of_these in db.execute(_ROWS, (workspace_id,)):
                here[month] += of_these
                if (day := day_of(minute)) is None:
                    base[month] += number
                else:
                    days[month][day] += number
            return [MonthCalls(month, base[month], days[month], here[month]) for month in sorted(base)]
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise LedgerError(f"ledger {path}: {exc}") from exc
