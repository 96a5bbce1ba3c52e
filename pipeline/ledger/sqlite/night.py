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


def find_share_left(db: Connection, night: Night | None, owner: str) -> tuple[int, int]:
    """Return the calls left of tonight's share, below 0 without one, and the number that other runs have made."""
    if night is None:
        return -1, 0
    used, others = db.execute(
        f"SELECT count(*), total(owner <> ?) FROM attempt WHERE number > ? AND {_TONIGHT}",  # noqa: S608
        (owner, night.after, night.month, night.begin),
    ).fetchone()
    return max(0, night.share.share - used), int(others)
