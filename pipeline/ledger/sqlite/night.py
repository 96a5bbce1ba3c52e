"""Tonight's share of the month (`--spread`): all runs that share the key make it together."""

from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import Self

from pipeline.billing import Calendar, NightShare, night_begin, share_of_night
from pipeline.records import rfc3339

_TONIGHT = "state <> 'void' AND month >= ? AND added >= ?"


@dataclass(frozen=True, slots=True)
class Night:
    """The night in which a run began.

    Attributes:
        share: Of the run.
        month: The month in which its calls count, or a later one.
        begin: When it began, RFC 3339.
        after: Number of the last row before it: the rows of a night are few, those of a month are not.
    """

    share: NightShare
    month: str
    begin: str
    after: int

    @classmethod
    def find(cls, db: Connection, month: str, left: int, now: datetime, calendar: Calendar) -> Self:
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
        return cls(share, month, begin, after)

    def count(self, db: Connection, owner: str) -> tuple[int, int]:
        """Return the numbers of calls made since it began: of all runs, and of all but this owner's."""
        used, others = db.execute(
            f"SELECT count(*), total(owner <> ?) FROM attempt WHERE number > ? AND {_TONIGHT}",  # noqa: S608
            (owner, self.after, self.month, self.begin),
        ).fetchone()
        return used, int(others)
