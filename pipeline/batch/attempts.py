"""The attempts for one page, until it has a text, has failed, or the run ends: permits, client, sink."""

import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from pipeline.batch.history import PageHistory, RunHistory
from pipeline.batch.page import Origin, Page
from pipeline.batch.permits import Permits
from pipeline.batch.recorder import Recorder
from pipeline.billing import Calendar
from pipeline.config import Config
from pipeline.errors import (
    AttemptsExhaustedError,
    PageError,
    StopError,
    TemporaryError,
    UncertainCallError,
)
from pipeline.ledger.budget import Attempt, Budget
from pipeline.records import PageId, Record
from pipeline.remote.allowance import Allowance
from pipeline.remote.client import Client
from pipeline.remote.gate import Gate
from pipeline.remote.outcome import Fault, Outcome
from pipeline.remote.pace import Token
from pipeline.remote.retry_budget import RetryBudget, backoff_s
from pipeline.remote.verdict import (
    Accepted,
    Blocked,
    Failed,
    PageRejected,
    Refused,
    Situation,
    Stop,
    Verdict,
    verdict_of,
)
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.tiles import Tile
from pipeline.workspace.part_lines import Part

_Final = Failed | Blocked | PageRejected | Refused | Stop
"""Verdicts that end an attempt without a text."""

logger = logging.getLogger("pagemill")


class Attempts:
    """Makes the attempts of one run.

    Args:
        budget: Reserves each call.
        gate: Says when a call may go out.
        client: Sends it.
        recorder: Writes its text to disk.
        shutdown: Cancels it before it is sent.
        config: All settings.
        origin: Of the texts, for the records.
        uncertain: Pages that `--at-most-once` forbids to send again.
        is_stalled: Several runs have called without one text.
        is_retry: The pages are those that failed in earlier runs.
        jitter: Uniform in [0, 1).
    """

    def __init__(
        self,
        *,
        budget: Budget,
        gate: Gate,
        client: Client,
        recorder: Recorder,
        shutdown: Shutdown,
        config: Config,
        origin: Origin,
        uncertain: frozenset[PageId] = frozenset(),
        is_retry: bool = False,
        is_stalled: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._budget = budget
        self._gate = gate
        self._client = client
        self._recorder = recorder
        self._shutdown = shutdown
        self._config = config
        self._calendar = Calendar(config.budget.timezone, config.budget.reset_day)
        self._origin = origin
        self._uncertain = uncertain
        self._jitter = jitter
        self._permits = Permits(budget, gate, shutdown, is_turn_first=config.run.at_most_once)
        self._retries = RetryBudget()
        self.is_retry = is_retry
        """The user asked for pages that failed in earlier runs."""
        self.history = RunHistory(is_retry=is_retry, is_stalled=is_stalled)
        """What the calls have shown."""

    def __repr__(self) -> str:
        return f"<Attempts {self._budget!r} {self._gate!r}>"

    async def recognise_page(self, page: Page) -> Record | Part | PageError:
        """Make attempts until the page, or the tile, ends; return its record, which is on disk, or its failure.

        Raises:
            ShuttingDownError: the run is ending and no call of the page is in flight.
            StopError: the run must end.
        """
        if (forbidden := self.forbid(page.payload.id, page.payload.tile)) is not None:
            return forbidden
        with self.history.page(page.payload.id) as history:
            try:
                return await self._repeat(page, history)
            except (ShuttingDownError, StopError) as exc:
                if (error := self._end_early(history)) is None:
                    raise
                if isinstance(exc, StopError):
                    self._shutdown.request(exc)
                return error

    def forbid(self, page: PageId, tile: Tile | None = None) -> UncertainCallError | None:
        """Return why `--at-most-once` forbids to send a page, or one of its tiles; None when it does not."""
        if page in self._uncertain or (tile is not None and tile.call_id(page) in self._uncertain):
            return UncertainCallError("an earlier call may have been billed and its answer is lost; not sent again")
        return None

    async def _repeat(self, page: Page, history: PageHistory) -> Record | Part | PageError:
        while True:
            match outcome := await self._attempt(page, history):
                case Record() | Part():
                    return outcome
                case PageRejected(error):
                    error.attempts = history.failed_calls + 1
                    return error
                case Stop():
                    raise ShuttingDownError
                case Refused() | Blocked():
                    await self._wait_to_repeat(history)
                case Failed(reached=False, reason=reason):
                    self._require_reached(reason)
                    await self._back_off(self.history.unreached)
                case Failed():
                    if (ended := self._give_up(page, history)) is not None:
                        return ended
                    await self._back_off(
                        history.failed_calls, until_s=self._retries.schedule_retry(anyio.current_time())
                    )

    async def _wait_to_repeat(self, history: PageHistory) -> None:
        """Wait before a call that follows one without a cost: a refusal makes all pages wait, at the gate."""
        if history.blocked:
            await self._back_off(history.blocked)
        else:
            await self._budget.flush()  # while the account waits, no other group would void the reservation

    def _require_reached(self, reason: str) -> None:
        """Raise TemporaryError when no call has reached the service; later the circuit decides: it may come back."""
        if self.history.unreached > self._config.run.retries and not self.history.texts:
            raise TemporaryError(f"the API is unreachable: {reason}; run again later")

    def _give_up(self, page: Page, history: PageHistory) -> PageError | None:
        """Return how a page ends when its last attempt has failed; None when another call may follow."""
        was_last = self.history.count_attempt(
            page.payload.id,
            history,
            retries=self._config.run.retries,
            is_probing=self._gate.is_probing,
            failed_before=self._recorder.has_failed_before(page),
        )
        return self._failure(history) if was_last or self._config.run.at_most_once else None

    def _end_early(self, history: PageHistory) -> PageError | None:
        """Return how a page ends whose attempts the end of the run cuts off; None when it stays pending."""
        ends = history.failed_calls > 0 and (self._config.run.at_most_once or self.history.blames_pages)
        return self._failure(history) if ends else None

    def _failure(self, history: PageHistory) -> PageError:
        error: PageError
        if self._config.run.at_most_once:
            error = UncertainCallError(f"{history.last_failure}; it may have been billed and is not sent again")
        else:
            attempts = history.failed_calls
            error = AttemptsExhaustedError(f"{attempts} attempts failed, the last with: {history.last_failure}")
            error.undecided_since = None if self.history.is_to_blame(history) else history.first_failed_call
        error.attempts = history.failed_calls
        return error

    async def _back_off(self, attempts: int, *, until_s: float = -math.inf) -> None:
        """Wait with full jitter, and at least until `until_s` on the event loop's clock.

        Raises:
            ShuttingDownError: the run is ending.
        """
        wait_s = backoff_s(attempts, self._jitter())
        with self._shutdown.cancels_unsent():
            await anyio.sleep(max(wait_s, until_s - anyio.current_time()))

    async def _attempt(self, page: Page, history: PageHistory) -> Record | Part | _Final:
        """Make one reserved call; a text is on disk before the reservation is settled and the slot free."""
        self._shutdown.check()
        async with self._permits.obtain(page.payload.call_id, page.file.name) as (attempt, turn):
            try:
                verdict, note = await self._send(page, history, attempt, turn)
                if not isinstance(verdict, Accepted):
                    return verdict
                text = self._origin.text(verdict.reply, attempt.id, note)
                record = self._recorder.record_text if page.payload.tile is None else self._recorder.record_part
                recorded = await record(page, text)
            finally:
                self._shutdown.end_call(attempt.id)
            attempt.accept()  # after the text is on disk: the line is the proof of the call
            await self._recorder.write_undecided(before_call=self.history.last_text_call)
            return recorded

    async def _send(
        self, page: Page, history: PageHistory, attempt: Attempt, turn: Token
    ) -> tuple[Accepted | _Final, str | None]:
        """Make the call; return its verdict, and a remark on the reply for readers of its text."""
        attempt.mark_sent()
        self._shutdown.begin_call(attempt.id, f"{page.file.name} page {page.payload.page}")
        begun_s = anyio.current_time()
        with self.history.call() as call:
            outcome = await self._client.post(page.payload.body)
        verdict = verdict_of(outcome, self._situation(page, history))
        elapsed_s = anyio.current_time() - begun_s
        self.history.count(verdict, page.payload.id, history, call=call, elapsed_s=elapsed_s)
        if not isinstance(verdict, Accepted):
            attempt.settle(billed=self._counts(verdict))
            self._shutdown.end_call(attempt.id)
        try:
            self._report(turn, verdict, outcome.allowance, is_to_blame=self.history.is_to_blame(history))
        finally:
            kept = await self._keep(outcome, attempt)
        if isinstance(verdict, Accepted):
            return verdict, "; ".join(filter(None, (verdict.reply.note, kept))) or None
        if isinstance(verdict, Failed):
            self._name_lost(page, outcome, attempt)
            if verdict.reached:
                history.last_failure = "; ".join(filter(None, (verdict.reason, kept)))
        return verdict, None

    async def _keep(self, outcome: Outcome, attempt: Attempt) -> str | None:
        """Keep the bytes of a paid reply that could not be understood; return where, as part of a message."""
        if outcome.kept is None:
            return None
        with anyio.CancelScope(shield=True):
            name = await self._recorder.keep_reply(attempt.id, outcome.kept)
        return None if name is None else f"its bytes are kept in {name}"

    def _name_lost(self, page: Page, outcome: Outcome, attempt: Attempt) -> None:
        """Name a call without an outcome: it may have been billed, and another call for its page may follow."""
        if outcome.fault is Fault.LOST:
            message = "%s: %s; the call may have been billed (attempt %s)"
            logger.warning(message, page.file.name, outcome.detail, attempt.id, extra={"page": page.payload.page})

    def _situation(self, page: Page, history: PageHistory) -> Situation:
        calls_left, now = self._budget.left, datetime.now(UTC)
        return self.history.situation(page.payload.id, history, calls_left=calls_left, now=now, calendar=self._calendar)

    def _counts(self, verdict: _Final) -> bool:
        """Return whether an attempt that brought no text counts: the plan may have billed it."""
        return isinstance(verdict, Failed) and verdict.billed and self._config.budget.count_failed_calls

    def _report(self, turn: Token, verdict: Verdict, allowance: Allowance | None, *, is_to_blame: bool) -> None:
        """Report to the account's gate, or end the run, before any other page gets a turn.

        Args:
            turn: From the gate.
            verdict: On the call.
            allowance: What the reply's headers say is left; None when they do not.
            is_to_blame: The page fails, while the service works: its failures are no evidence of an outage.

        Raises:
            TemporaryError: the service fails or refuses every call.
        """
        match verdict:
            case Accepted():
                self._retries.count_success()
                self._gate.report_accepted(turn, allowance)
            case Refused():
                logger.debug("refused: %s; %r", verdict.reason, self._gate)
                self._gate.report_refused(turn, verdict.wait_s, allowance, is_limit=verdict.is_limit)
            case Blocked():
                logger.debug("not the API's answer: %s", verdict.reason)
                self._gate.report_ended(turn, answered=False)
            case Stop():
                self._shutdown.request(verdict.error)
            case Failed() if is_to_blame:
                logger.debug("an attempt failed, among others that succeed: %s", verdict.reason)
                self._gate.report_ended(turn, answered=False)
            case Failed():
                logger.debug("an attempt failed: %s", verdict.reason)
                with self.history.note_end():
                    self._gate.report_failed(turn, verdict.reason)
            case PageRejected():
                self._gate.report_ended(turn, answered=verdict.by_service)
