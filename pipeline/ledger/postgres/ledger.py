"""The ledger of one key for runs on many machines: the counts of `SqliteLedger`, kept in a PostgreSQL database.

Times are the server's. A group of calls is one statement and one transaction (`sql/functions.sql`): quota, tonight's
share, the pace of the account and the lease of the run are one decision.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pipeline.billing import (
    Calendar,
    QuotaRefusal,
    quota_refusal,
)
from pipeline.errors import StopError
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.claims import ClaimScope
from pipeline.ledger.operations import (
    Answer,
    Operation,
    Owner,
    PaceRefusal,
    Penalise,
    Permit,
    Reserve,
    Settle,
    ShareRefusal,
    Terms,
    new_owner_id,
)
from pipeline.ledger.postgres.accepted import PostgresAcceptedCalls
from pipeline.ledger.postgres.claims import PostgresClaims
from pipeline.ledger.postgres.counts import Counts, pair
from pipeline.ledger.postgres.database import Address, texts
from pipeline.ledger.postgres.lease import BEATS, LEASE_S, LeasedOwner, awake_s
from pipeline.ledger.postgres.scripts import queries
from pipeline.ledger.postgres.shard_epochs import PostgresShardEpochs
from pipeline.records import PageId, rfc3339
from pipeline.wire import replace_surrogates

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    from pipeline.ledger.night import Night

_PACE: Final = 0.95
"""The share of the account's rate that all runs use together; the rest is for calls that the network bunches up."""
_AHEAD_S: Final = 2.0
"""A permit is given at most this long before its call may go out: a crash meanwhile costs it."""
_SHORTEST_WAIT_S: Final = 0.05

logger = logging.getLogger("pagemill")


class PostgresLedger(Counts):
    """The ledger of one key in a database; it implements `Ledger`.

    Args:
        address: Where it is.
        calendar: When the plan's month begins.
        limit: Calls per month; None counts without limiting.
        terms: The account's rate, the run's patience.
        lease_s: After this time without a renewal a run counts as dead.
        now: The clock of the months, by default the server's.

    Raises:
        UsageError: the URL, the user or the password is wrong.
        TemporaryError: the database is away.
        LedgerError: it cannot be trusted.
    """

    is_shared = True

    def __init__(
        self,
        address: Address,
        calendar: Calendar,
        limit: int | None,
        terms: Terms | None = None,
        *,
        lease_s: float = LEASE_S,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._lease_s = lease_s
        self._terms = terms if terms is not None else Terms()
        rate_per_s = self._terms.rate_per_s
        self._interval_s = None if rate_per_s is None else 1 / (_PACE * rate_per_s)
        self._night: Night | None = None
        self._note_pause: Callable[[float], object] = lambda _: None
        self._owners: dict[str, LeasedOwner] = {}
        super().__init__(address, calendar, limit, self._terms, now=now)

    @contextmanager
    def own(self) -> Generator[Owner]:
        """Yield a new owner, alive as long as its lease is renewed: until this context or this process ends."""
        owner, ended = LeasedOwner(new_owner_id(), self._lease_s), asyncio.Event()
        self._note_beat(owner, awake_s(), self._one("beat", self._number, owner.id, self._lease_s))
        self._owners[owner.id] = owner
        self._db.start(lambda: self._renew(owner, ended))
        try:
            yield owner
        finally:
            self._db.stop(ended)
            del self._owners[owner.id]
            with suppress(StopError):  # else the lease ends by itself
                end = queries()["end_lease"]
                self._db.call(lambda db: db.execute(end, self._number, owner.id), is_patient=False)

    def is_alive(self, owner: str) -> bool:
        """Return whether the lease of an owner's id has time left."""
        return bool(self._one("is_alive", self._number, owner)[0])

    def former_lease_s(self, workspace_id: str, owner: str) -> float:
        """Return when the last lease of another owner with open calls of a workspace ends, in seconds; 0 for none."""
        return float(self._one("former_lease", self._number, workspace_id, owner)[0])

    def watch_pauses(self, note: Callable[[float], object]) -> None:
        """Call `note` with each answer that comes while the account has to wait."""
        self._note_pause = note

    def execute(
        self, operations: Sequence[Operation], workspace_id: str, owner: str, new_id: Callable[[], str]
    ) -> list[Answer]:
        """Carry out a group of operations in one transaction and one round trip, settlements first.

        While the database is away the call waits. A group whose answer was lost is sent again, and counts once.

        Raises:
            TemporaryError: the database is away for longer than the run's patience; what it had committed stays
                `pending` until the next run of the workspace settles it.
            LedgerError: it does not know an attempt; nothing was reserved.
        """
        ids = [new_id() for operation in operations if isinstance(operation, Reserve)]
        leased = self._owners.get(owner)
        tries = itertools.count()

        async def grant(db: "Connection") -> "tuple[float, Record]":
            values = self._values(operations, ids, workspace_id, owner, is_again=next(tries) > 0)
            asked_s = awake_s()
            row = await db.fetchrow(queries()["grant_calls"], *values)
            assert row is not None
            return asked_s, row

        asked_s, row = self._db.call(grant)
        self._clock.note(row["now_s"])
        if leased is not None:
            self._note_beat(leased, asked_s, row)
        self.left = row["room"]
        number = itertools.count()
        return [
            self._answer(row, ids, next(number)) if isinstance(operation, Reserve) else None for operation in operations
        ]

    def open_attempts(self, workspace_id: str, is_alive: Callable[[str], bool]) -> list[OpenAttempt]:
        """Return this workspace's attempts without an outcome whose owner is dead.

        A dead owner makes no further call: its attempts of every workspace count in no month later than this one.
        """
        rows = self._fetch("find_open", self._number)
        alive = {owner for owner in {row["owner"] for row in rows} if is_alive(owner)}
        dead = [row for row in rows if row["owner"] not in alive]
        self._one("end_attempts", self._number, [row["id"] for row in dead], *pair(self._clock_months()))
        return [
            OpenAttempt(row["id"], PageId(row["page"]), AttemptState(row["state"]), row["source"])
            for row in dead
            if row["workspace"] == workspace_id
        ]

    def recover(self, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        """Record the outcome of attempts that `open_attempts` returned."""
        for state, attempts in ((AttemptState.ACCEPTED, proven), (AttemptState.UNKNOWN, unproven)):
            self._settle([attempt.id for attempt in attempts], state)

    def shard_epochs(self, job: str) -> PostgresShardEpochs:
        """Return the epochs of the shards of a cluster's job."""
        return PostgresShardEpochs(self._db, self._number, job)

    def claims(self, scope: ClaimScope) -> PostgresClaims:
        """Return the claims of a shard."""
        return PostgresClaims(self._db, self._number, scope)

    def accepted_calls(self, workspace_id: str) -> PostgresAcceptedCalls:
        """Return the calls of a workspace whose texts must be in its results.jsonl."""
        return PostgresAcceptedCalls(self._db, self._number, workspace_id, self._settle)

    def spread(self) -> None:
        """From now on, reserve no call beyond tonight's share, in which those of all other runs count."""
        night = self._find_night()
        self._night = None if night is None or night.share.is_rest else night

    def _values(
        self, operations: Sequence[Operation], ids: Sequence[str], workspace_id: str, owner: str, *, is_again: bool
    ) -> list[object]:
        """Return the parameters of `pagemill.grant_calls`, in their order."""
        settled = [operation for operation in operations if isinstance(operation, Settle)]
        reserved = [operation for operation in operations if isinstance(operation, Reserve)]
        penalty_s = max((operation.wait_s for operation in operations if isinstance(operation, Penalise)), default=0.0)
        night = self._night
        return [
            *(self._number, workspace_id, owner, self._lease_s if owner in self._owners else None),
            *pair(self._clock_months()),
            *(self._limit, rfc3339(self._now())),
            *([item.attempt for item in settled], [item.state.value for item in settled], penalty_s),
            *(ids, [item.page for item in reserved], texts([replace_surrogates(item.source) for item in reserved])),
            *(is_again, self._interval_s, _AHEAD_S),
            *((None,) * 4 if night is None else (night.share.share, night.month, night.begin, night.after)),
        ]

    def _answer(
        self, row: "Record", ids: Sequence[str], number: int
    ) -> Permit | QuotaRefusal | ShareRefusal | PaceRefusal:
        """Return the answer to the reservation of this number, 0-based, in its group."""
        if number < row["granted"]:
            delay_s = row["delay_s"] + number * (self._interval_s or 0.0)
            return Permit(ids[number], delay_s, row["epoch"] or 0)
        if row["room"] == 0:
            assert self._limit is not None
            return quota_refusal(row["full_month"], self._limit, self._now(), self._calendar)
        if row["share_left"] == 0:
            assert self._night is not None
            return ShareRefusal(self._night.share, row["others"])
        return PaceRefusal(max(_SHORTEST_WAIT_S, row["wait_s"] - _AHEAD_S / 2))

    async def _renew(self, owner: LeasedOwner, ended: asyncio.Event) -> None:
        """Renew a lease until the event; while the database is away, grants fail and the lease may end."""
        beat = queries()["beat"]
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._lease_s / BEATS)
                return
            asked_s = awake_s()
            try:
                row = await self._db.try_again(
                    lambda db: db.fetchrow(beat, self._number, owner.id, self._lease_s), is_patient=False
                )
                self._note_beat(owner, asked_s, row)
            except StopError as exc:
                logger.debug("%s", exc)

    def _note_beat(self, owner: LeasedOwner, asked_s: float, row: "Record") -> None:
        owner.renew(asked_s, row["epoch"], row["left_s"])
        if row["pause_s"] > 0:
            self._note_pause(row["pause_s"])

    def _settle(self, ids: Sequence[str], state: AttemptState) -> None:
        """Set states without changing a last month that a row has."""
        if ids:
            self._one("recover", self._number, list(ids), [state.value] * len(ids), *pair(self._clock_months()))
