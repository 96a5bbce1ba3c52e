"""The calls of one run: a durable reservation in the key's ledger precedes each of them.

Reservations and settlements of concurrent pages are committed in groups. A reservation becomes `accepted` once its text
is synced, `charged` when the call was or may have been billed and brought no text, and `void` when it was not sent or
certainly not billed. A call without an outcome stays `pending`, which counts as spent, until the next run finds its
owner dead: with a line in results.jsonl it becomes `accepted`, else it is named and becomes `unknown`.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.to_thread

from pipeline.billing import QuotaRefusal
from pipeline.config import Config
from pipeline.errors import LedgerError, PlannedStopError, QuotaExhaustedError, UsageError, WorkspaceLockedError
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.base import AcceptedCalls, Ledger, LedgerMark
from pipeline.ledger.claims import Claims, ClaimScope, ContentClaims
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
)
from pipeline.records import PageId
from pipeline.service import Service
from pipeline.shutdown import Shutdown
from pipeline.storage.group_commit import GroupCommit

logger = logging.getLogger("pagemill")


class Attempt:
    """One reserved call: `mark_sent` before its POST, `accept` once its text is synced, `settle` when it has none."""

    def __init__(self, permit: Permit, owner: Owner) -> None:
        self.id = permit.attempt
        self.state = AttemptState.VOID
        self._permit = permit
        self._owner = owner

    def __repr__(self) -> str:
        return f"<Attempt {self.id} {self.state}>"

    def may_send(self) -> bool:
        """Return whether the call may go out now: all others take this run for alive, so none settles its calls."""
        return self._owner.may_send(self._permit)

    def mark_sent(self) -> None:
        """Note that the call may reach the service from now on; without `settle` its outcome is lost."""
        self.state = AttemptState.PENDING

    def accept(self) -> None:
        """Note that the text is on disk: its line is the proof of the call, and from now on must be there."""
        self.state = AttemptState.ACCEPTED

    def settle(self, *, billed: bool) -> None:
        """Note the outcome of a call that brought no text."""
        self.state = AttemptState.CHARGED if billed else AttemptState.VOID


class Budget:
    """The calls of one run.

    Args:
        ledger: The key's ledger; None for the embedded engine, whose calls are free.
        workspace_id: The workspace's id.
        owner: This run in the ledger.
        shutdown: Cancels the wait for the next month.
        max_calls: A limit for this run alone; None sets none.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        workspace_id: str,
        owner: Owner,
        shutdown: Shutdown | None = None,
        max_calls: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._workspace_id = workspace_id
        self._owner = owner
        self._shutdown = shutdown if shutdown is not None else Shutdown()
        self._max_calls = max_calls
        self._numbers = itertools.count(1)
        self._group: GroupCommit[Operation, Answer] = GroupCommit(self._commit)
        self._thread = ThreadPoolExecutor(1, "ledger")  # a DNS look-up that hangs may occupy a shared thread
        self._reported: QuotaRefusal | None = None
        self.calls = 0
        """Calls of this run that count, reservations included."""

    def __repr__(self) -> str:
        return f"<Budget {self.calls} calls, {self.left} left>"

    @property
    def left(self) -> int | None:
        """Calls left in the month as of the last reservation; None when there is no limit."""
        return None if self._ledger is None else self._ledger.left

    @property
    def usable_s(self) -> float | None:
        """For how long a call may be under way unacknowledged: then others take the run for dead; None for ever."""
        return self._owner.usable_s

    def close(self) -> None:
        """Stop the thread; the ledger stays open."""
        self._thread.shutdown(wait=False)

    @asynccontextmanager
    async def reserve(self, page: PageId, source: str = "") -> AsyncGenerator[Attempt]:
        """Reserve one call durably; the first group after the context's end records its outcome.

        Waits for the next month when this one is used up and about to end, and for the pace that all runs of the key
        keep together.

        Args:
            page: The page's id.
            source: The page's name in messages.

        Raises:
            QuotaExhaustedError: the month is used up.
            PlannedStopError: `--max-calls`, or tonight's share, is reached.
            ShuttingDownError: the run ended during the wait.
            TemporaryError: the ledger is away for longer than the run's patience.
            LedgerError: the ledger cannot be trusted.
        """
        if self._max_calls is not None and self.calls >= self._max_calls:
            raise PlannedStopError(f"--max-calls {self._max_calls} is reached")
        self.calls += 1
        attempt: Attempt | None = None
        try:
            permit = await self._submit_reservation(Reserve(page, source))
            attempt = Attempt(permit, self._owner)
            if permit.delay_s > 0:
                with self._shutdown.cancels_unsent(reserved=True):
                    await anyio.sleep(permit.delay_s)
            yield attempt
        finally:
            if attempt is None or attempt.state is AttemptState.VOID:
                self.calls -= 1
            # A crash before the settlement's group leaves the proof in results.jsonl, or an over-count.
            if attempt is not None and self._ledger is not None and attempt.state is not AttemptState.PENDING:
                self._group.defer(Settle(attempt.id, attempt.state), at_once=self._ledger.is_shared)

    def watch_pauses(self, note: Callable[[float], object]) -> None:
        """Call `note` in this event loop with the seconds for which the service lets other runs of the key wait."""
        if self._ledger is not None:
            loop = asyncio.get_running_loop()
            self._ledger.watch_pauses(lambda wait_s: loop.call_soon_threadsafe(note, wait_s))

    def penalise(self, wait_s: float) -> None:
        """Make the other runs of the key wait, too: the service has asked this one to; `flush` must follow."""
        if self._ledger is not None and self._ledger.is_shared:
            self._group.defer(Penalise(wait_s), at_once=True)

    async def flush(self) -> None:
        """Commit all settlements.

        Raises:
            LedgerError: the ledger cannot be written; calls without a settlement count as spent.
        """
        await self._group.flush()

    async def wait_for_former(self) -> None:
        """Return once no lease of another run with open calls of this workspace has time left.

        A run that was killed leaves its lease behind, and its calls belong to it until the lease ends.

        Raises:
            WorkspaceLockedError: such a run renews its lease: it works, on another machine.
            ShuttingDownError: the run ended during the wait.
        """
        if self._ledger is None:
            return
        find = partial(self._ledger.former_lease_s, self._workspace_id, self._owner.id)
        if (left_s := await anyio.to_thread.run_sync(find)) <= 0:
            return
        logger.info("an earlier run did not end in order: waiting %.0f s until its lease has ended", left_s)
        with self._shutdown.cancels_unsent():
            await anyio.sleep(left_s)
        if await anyio.to_thread.run_sync(find) > 0:
            raise WorkspaceLockedError("another run fills this workspace, on another machine")

    async def find_open(self) -> list[OpenAttempt]:
        """Return the attempts that earlier runs of this workspace left without an outcome; they count as spent."""
        if self._ledger is None:
            return []
        return await anyio.to_thread.run_sync(self._ledger.open_attempts, self._workspace_id, self._is_alive)

    async def recover(self, found: Sequence[OpenAttempt], proven: Collection[str]) -> list[OpenAttempt]:
        """Record the outcome of attempts that earlier runs left open.

        Args:
            found: The attempts, from `find_open`.
            proven: The ids of those with a record in results.jsonl.

        Returns:
            The attempts whose outcome is lost; they count as spent.
        """
        unproven = [attempt for attempt in found if attempt.id not in proven]
        if self._ledger is not None and found:
            settled = [attempt for attempt in found if attempt.id in proven]
            await anyio.to_thread.run_sync(self._ledger.recover, settled, unproven)
        return unproven

    def mark(self) -> LedgerMark | None:
        """Return the ledger's mark; None without a ledger."""
        return None if self._ledger is None else self._ledger.mark()

    def accepted_calls(self, workspace_id: str) -> AcceptedCalls | None:
        """Return the calls of a workspace whose texts must be in its results.jsonl; None without a ledger."""
        return None if self._ledger is None else self._ledger.accepted_calls(workspace_id)

    def claims(self, scope: ClaimScope) -> Claims | None:
        """Return the claims of a shard in the ledger; None without a ledger."""
        return None if self._ledger is None else self._ledger.claims(scope)

    def group_claims(self, claims: Claims, of: int | None) -> ContentClaims:
        """Return the claims of one of so many shards as this run takes them, in the ledger's thread."""
        return ContentClaims(claims, self._thread, of)

    async def _submit_reservation(self, reservation: Reserve) -> Permit:
        if self._ledger is None:
            return Permit(self._new_id())
        while isinstance(result := await self._group.submit(reservation), QuotaRefusal | PaceRefusal):
            if isinstance(result, QuotaRefusal):
                if not result.passes_soon:
                    raise QuotaExhaustedError(str(result))
                self._report_wait(result)
            with self._shutdown.cancels_unsent():
                await anyio.sleep(result.wait_s)
        if isinstance(result, ShareRefusal):
            raise PlannedStopError(str(result))
        if result is None:
            raise LedgerError("the ledger did not answer a reservation")
        return result

    def _report_wait(self, refusal: QuotaRefusal) -> None:
        """Log the wait for a month's end once, not for each page."""
        if self._reported is None or self._reported.resets != refusal.resets:
            logger.info("%s; waiting %.0f s for the next month", refusal, refusal.wait_s)
        self._reported = refusal

    def _commit(self, group: Sequence[Operation]) -> Awaitable[Sequence[Answer]]:
        assert self._ledger is not None
        return asyncio.get_running_loop().run_in_executor(
            self._thread, self._ledger.execute, group, self._workspace_id, self._owner.id, self._new_id
        )

    def _new_id(self) -> str:
        return f"{self._owner.id}-{next(self._numbers):06d}"

    def _is_alive(self, owner: str) -> bool:
        assert self._ledger is not None
        return owner == self._owner.id or self._ledger.is_alive(owner)


def check_spread(config: Config, service: Service) -> None:
    """Return when there is a limit that `--spread` can spread; calls of the embedded engine need none.

    Raises:
        UsageError: there is none.
    """
    if config.run.spread and service.metered and config.budget.limit is None:
        raise UsageError("--spread: no limit per month to spread; give --tier free, basic or pro, or --quota N")
