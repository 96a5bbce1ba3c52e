"""Tonight's share of the month (`--spread`) in an SQLite ledger."""

from datetime import datetime
from sqlite3 import Connection

from pipeline.billing import Calendar, night_begin, share_of_night
from pipeline.ledger.night import Night
from pipeline.records import rfc3339

_TONIGHT = "state <> 'void' AND month >= ? AND added >= ?"


def find_night(db: Connection, month: str, left: int, now: datetime, calendar: Calendar) -> Night:
    """Return the night of a moment.

    Args:
        db: The ledger, in a transaction.
        month: The current month.
        left: Calls left in it.
        now: In the machine's time zone.
        calendar: When the plan's month begins.
    """
    begin = rfc3339(night_begin(now))
    used, first = db.execute(
        f"SELECT count(*), min(added) FROM attempt WHERE {_TONIGHT}",  # noqa: S608 - a constant
        (month, begin),
    ).fetchone()
    (after,) = db.execute("SELECT coalesce(max(number), 0) FROM attempt WHERE added < ?", (begin,)).fetchone()
    share = share_of_night(left, used, None if first is None else datetime.fromisoformat(first), now, calendar)
    return Night(share, month, begin, after)


def count_tonight(db: Connection, night: Night, owner: str) -> tuple[int, int]:
    """Return the numbers of calls made since the night began: of all runs, and of all but this owner's."""
    used, others = db.execute(
        f"SELECT count(*), total(owner <> ?) FROM attempt WHERE number > ? AND {_TONIGHT}",  # noqa: S608
        (owner, night.after, night.month, night.begin),
    ).fetchone()
    return used, int(others)
