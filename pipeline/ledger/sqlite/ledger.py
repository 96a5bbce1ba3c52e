"""The ledger of one key on this machine: which call counts in which month.

One SQLite file per key, shared by all processes of this machine that use the key. A row is reservation and intent in
one: a row that a crash leaves `pending` counts as spent until results.jsonl proves the outcome. A call counts in every
month in which the vendor may bill it (`pipeline.billing`). The counts per month are kept (`counts`).
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection

from pipeline.billing import (
    Calendar,
    Months,
    NightShare,
    Usage,
    billing_month,
    clock_problem,
    possible_months,
    quota_refusal,
    reset_time,
)
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.base import LedgerMark
from pipeline.ledger.claims import ClaimScope
from pipeline.ledger.night import Night
from pipeline.ledger.operations import Answer, Operation, Owner, Penalise, Permit, Reserve, Settle, ShareRefusal
from pipeline.ledger.sqlite.accepted import SqliteAcceptedCalls
from pipeline.ledger.sqlite.claims import SqliteClaims
from pipeline.ledger.sqlite.counts import (
    add_reserved,
    change_states,
    count_usage,
    fold_before,
    move_months_after,
    noted_months,
)
from pipeline.ledger.sqlite.night import find_night, find_share_left
from pipeline.ledger.sqlite.owners import is_alive, own
from pipeline.ledger.sqlite.schema import LEDGER, read_mark
from pipeline.ledger.sqlite.shard_epochs import SqliteShardEpochs
from pipeline.records import PageId, rfc3339
from pipeline.storage.sqlite import DurableDatabase
from pipeline.wire import replace_surrogates


class SqliteLedger:
    """The ledger of one key on this machine; it implements `Ledger`.

    Args:
        path: The SQLite file; made when it is missing.
        calendar: When the plan's month begins.
        limit: Calls per month; None counts without limiting.
        now: The clock.

    Raises:
        LedgerError: the file cannot be trusted.
    """

    is_shared = False

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
        self._night: Night | None = None
        self.left: int | None = None
        """Calls left in the month after the last group; None when there is no limit."""
        self._file = DurableDatabase(path, LEDGER)
        try:
            with self._file.transaction() as db:
                months = self._possible_months(db)
                fold_before(db, months.first)
                self.left = min(self._room(db, months).values(), default=None)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<SqliteLedger {self.path.name} limit {self._limit}>"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def own(self) -> Generator[Owner]:
        """Yield a new owner, alive as long as this process holds its lock file."""
        with own(self.path) as owner:
            yield Owner(owner)

    def is_alive(self, owner: str) -> bool:
        """Return whether an owner's process is alive."""
        return is_alive(self.path, owner)

    def usage(self, month: str | None = None) -> Usage:
        """Return the usage of a month, by default the current one."""
        with self._file.transaction() as db:
            months = self._possible_months(db)
            return self._usage(db, month or self._current_month(months), months.last)

    def months(self) -> list[str]:
        """Return the months that the ledger has counted in, and the current one, oldest first."""
        with self._file.transaction() as db:
            counted = {row[0] for row in db.execute("SELECT month FROM month")}
            return sorted({*counted, self._current_month(self._possible_months(db))})

    def night_share(self) -> NightShare | None:
        """Return what `--spread` lets a run call that begins now; None when there is no limit."""
        night = self._find_night()
        return None if night is None else night.share

    def spread(self) -> None:
        """From now on, reserve no call beyond tonight's share, in which those of all other runs count.

        The last share of a month is the quota's to end.
        """
        night = self._find_night()
        self._night = None if night is None or night.share.is_rest else night

    def shard_epochs(self, job: str) -> SqliteShardEpochs:
        """Return the epochs of the shards of a cluster's job."""
        return SqliteShardEpochs(self._file, job, self.is_alive)

    def claims(self, scope: ClaimScope) -> SqliteClaims:
        """Return the claims of a shard."""
        return SqliteClaims(self._file, scope)

    def accepted_calls(self, workspace_id: str) -> SqliteAcceptedCalls:
        """Return the calls of a workspace whose texts must be in its results.jsonl."""
        return SqliteAcceptedCalls(self._file, workspace_id)

    def mark(self) -> LedgerMark:
        """Return the ledger's id and the number of calls that it has ever reserved."""
        with self._file.reading() as db:
            return read_mark(db)

    def resets_at(self, month: str) -> datetime:
        """Return when the month after this one begins."""
        return reset_time(month, self._calendar)

    def clock_problem(self) -> str | None:
        """Return a warning when calls count in a month that this machine's clock has not reached."""
        with self._file.transaction() as db:
            counting, now = self._possible_months(db).last, self._now()
        problem = clock_problem(counting, now, self._calendar, clock="this machine's clock")
        return None if problem is None else f"ledger {self.path}: {problem}"

    def set_used(self, used: int) -> Usage:
        """Set the current month's count to the number on the vendor's dashboard; calls in flight count on top."""
        with self._file.transaction() as db:
            if self._possible_months(db).last > possible_months(self._now(), self._calendar).last:
                now = possible_months(self._now(), self._calendar)
                move_months_after(db, now.last, billing_month(self._now(), self._calendar))
            months = self._note_months(db)
            month = self._current_month(months)
            usage = self._usage(db, month, months.last)
            db.execute(
                "INSERT INTO month (month, adjustment) VALUES (?1, ?2)"
                " ON CONFLICT DO UPDATE SET adjustment = adjustment + ?2",
                (month, used - (usage.used - usage.pending)),
            )
            return self._usage(db, month, months.last)

    def former_lease_s(self, workspace_id: str, owner: str) -> float:
        """Return 0: a run that holds the workspace's lock is the only one."""
        return 0.0

    def watch_pauses(self, note: Callable[[float], object]) -> None:
        """Do nothing: no other machine uses the ledger."""

    def execute(
        self, operations: Sequence[Operation], workspace_id: str, owner: str, new_id: Callable[[], str]
    ) -> list[Answer]:
        """Carry out a group of reservations and settlements in one transaction, settlements first.

        Raises:
            LedgerError: the ledger cannot be read or written, or does not know an attempt; nothing was reserved.
        """
        with self._file.transaction() as db:
            months = self._note_months(db)
            for state in AttemptState:
                settled = [item.attempt for item in operations if isinstance(item, Settle) and item.state is state]
                if settled:
                    self._settle(db, settled, state, months.last)
            room, share_left, others = self._room(db, months), *find_share_left(db, self._night, owner)
            added = rfc3339(self._now())
            results: list[Answer] = []
            rows: list[tuple[str, ...]] = []
            for operation in operations:
                match operation:
                    case Settle() | Penalise():
                        results.append(None)
                    case Reserve() if full := [month for month, left in room.items() if left == 0]:
                        assert self._limit is not None
                        results.append(quota_refusal(max(full), self._limit, self._now(), self._calendar))
                    case Reserve() if share_left == 0:
                        assert self._night is not None
                        results.append(ShareRefusal(self._night.share, others))
                    case Reserve(page, source):
                        room = {month: left - 1 for month, left in room.items()}
                        share_left -= 1
                        attempt = new_id()
                        name = replace_surrogates(source)
                        rows.append((attempt, page, name, months.first, workspace_id, owner, added))
                        results.append(Permit(attempt))
            if rows:
                add_reserved(db, months.first, rows)
        self.left = min(room.values(), default=None)
        return results

    def open_attempts(self, workspace_id: str, is_alive: Callable[[str], bool]) -> list[OpenAttempt]:
        """Return this workspace's attempts without an outcome whose owner is dead.

        A dead owner makes no further call: its attempts of every workspace count in no month later than this one.
        """
        with self._file.transaction() as db:
            rows = db.execute(
                "SELECT id, page, state, owner, source, workspace FROM attempt WHERE state IN ('pending', 'unknown')"
            ).fetchall()
        alive = {owner for owner in {row[3] for row in rows} if is_alive(owner)}
        dead = [row for row in rows if row[3] not in alive]
        with self._file.transaction() as db:
            last = self._note_months(db).last
            end = "UPDATE attempt SET until = coalesce(until, ?) WHERE id = ?"
            db.executemany(end, [(last, row[0]) for row in dead])
        return [
            OpenAttempt(row[0], PageId(row[1]), AttemptState(row[2]), row[4]) for row in dead if row[5] == workspace_id
        ]

    def recover(self, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        """Record the outcome of attempts that `open_attempts` returned."""
        with self._file.transaction() as db:
            last = self._possible_months(db).last
            for state, attempts in ((AttemptState.ACCEPTED, proven), (AttemptState.UNKNOWN, unproven)):
                for attempt in attempts:
                    self._settle(db, [attempt.id], state, last, keep_end=True)

    def _possible_months(self, db: Connection) -> Months:
        """Return the months in which the vendor may bill a call now."""
        return possible_months(self._now(), self._calendar).not_before(noted_months(db))

    def _note_months(self, db: Connection) -> Months:
        """Return the same months, and remember them: a clock that moves back opens no earlier one."""
        noted = noted_months(db)
        months = possible_months(self._now(), self._calendar).not_before(noted)
        if months != noted:
            db.execute(
                "INSERT INTO month (month, begun) VALUES (?1, 1), (?2, ?1 = ?2)"
                " ON CONFLICT DO UPDATE SET begun = 1 WHERE begun < excluded.begun",
                (months.first, months.last),
            )
        return months

    def _current_month(self, possible: Months) -> str:
        """Return the clock's month, or the first possible one when the clock moved back."""
        return max(possible.first, billing_month(self._now(), self._calendar))

    def _usage(self, db: Connection, month: str, last: str) -> Usage:
        return count_usage(db, month, last, self._limit)

    def _room(self, db: Connection, months: Months) -> dict[str, int]:
        """Return the number of calls left in each of the months; empty when there is no limit."""
        if self._limit is None:
            return {}
        return {month: max(0, self._limit - self._usage(db, month, months.last).used) for month in months}

    def _find_night(self) -> Night | None:
        if self._limit is None:
            return None
        now = self._now().astimezone()
        with self._file.transaction() as db:
            months = self._possible_months(db)
            left = min(self._room(db, months).values())
            return find_night(db, self._current_month(months), left, now, self._calendar)

    def _settle(
        self, db: Connection, ids: Sequence[str], state: AttemptState, last: str, *, keep_end: bool = False
    ) -> None:
        lost = change_states(db, ids, state, last, keep_end=keep_end)
        if lost is not None:
            raise LedgerError(f"ledger {self.path}: it has lost the call {lost}; no call goes out without it")
