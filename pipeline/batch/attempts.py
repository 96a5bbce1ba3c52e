"""The attempts for one page, until it has a text, has failed, or the run ends: budget, gate, client, sink."""

import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from pipeline.batch.recorder import Page, Recorder, Text
from pipeline.billing import Calendar, billing_month, reset_time
from pipeline.config import Config
from pipeline.errors import (
    AttemptsExhaustedError,
    PageError,
    QuotaExhaustedError,
    TemporaryError,
    UncertainCallError,
)
from pipeline.ledger.budget import Attempt, Budget
from pipeline.records import PageId, Record, Reply
from pipeline.remote.client import Client
from pipeline.remote.gate import Gate
from pipeline.remote.pace import Token
from pipeline.remote.retry_budget import RetryBudget
from pipeline.remote.verdict import Accepted, Failed, PageRejected, Refused, Stop, Verdict, backoff_s, verdict_of
from pipeline.shutdown import Shutdown, ShuttingDownError

_Final = Failed | PageRejected | Stop
"""The verdicts that end an attempt without a text."""

logger = logging.getLogger("pagemill")


class Attempts:
    """Makes the attempts of one run.

    Args:
        budget: Reserves each attempt.
        gate: Holds each call back until the account may call.
        client: Makes the POST.
        recorder: Puts the text on disk.
        shutdown: Cancels attempts that are not sent yet, and ends the run.
        config: All settings.
        host: The text's origin in records.
        uncertain: Pages that `--at-most-once` forbids to send again.
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
        host: str,
        uncertain: frozenset[PageId] = frozenset(),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._budget = budget
        self._gate = gate
        self._client = client
        self._recorder = recorder
        self._shutdown = shutdown
        self._config = config
        self._host = host
        self._uncertain = uncertain
        self._jitter = jitter
        self._retries = RetryBudget()
        self._contacts = 0
        """Calls that reached the service."""

    def __repr__(self) -> str:
        return f"<Attempts {self._budget!r} {self._gate!r}>"

    async def recognise_page(self, page: Page) -> Record | PageError:
        """Make attempts until the page ends; return its record, which is on disk, or its failure.

        Raises:
            ShuttingDownError: the run is ending and no call of the page is in flight.
            StopError: the run must end.
        """
        if page.payload.id in self._uncertain:
            return UncertainCallError("an earlier call may have been billed and its answer is lost; not sent again")
        attempts = unreached = 0
        contacts = self._contacts
        while True:
            outcome = await self._attempt(page)
            match outcome:
                case Record():
                    return outcome
                case PageRejected(error):
                    error.attempts = attempts + 1
                    return error
                case Stop():
                    raise ShuttingDownError
                case Failed(billed=False, reason=reason):
                    unreached = unreached + 1 if self._contacts == contacts else 1
                    contacts = self._contacts
                    if unreached > self._config.run.retries:
                        raise TemporaryError(f"the API is unreachable: {reason}; run again later")
                    await self._back_off(unreached)
                case Failed(reason=reason):
                    attempts, unreached = attempts + 1, 0
                    if (ended := self._give_up(attempts, reason)) is not None:
                        return ended
                    await self._back_off(attempts, until_s=self._retries.schedule_retry(anyio.current_time()))

    def _give_up(self, attempts: int, reason: str) -> PageError | None:
        """Return the failure of a page after this number of billed attempts; None when it may try again."""
        error: PageError
        if self._config.run.at_most_once:
            error = UncertainCallError(f"{reason}; it may have been billed and is not sent again")
        elif attempts > self._config.run.retries:
            error = AttemptsExhaustedError(f"{attempts} attempts failed, the last with: {reason}")
        else:
            return None
        error.attempts = attempts
        return error

    async def _back_off(self, attempts: int, *, until_s: float = -math.inf) -> None:
        """Wait with full jitter, and at least until `until_s` on the event loop's clock.

        Raises:
            ShuttingDownError: the run is ending.
        """
        wait_s = backoff_s(attempts, self._jitter())
        with self._shutdown.cancels_unsent():
            await anyio.sleep(max(wait_s, until_s - anyio.current_time()))

    async def _attempt(self, page: Page) -> Record | _Final:
        """Make one reserved call; a text is on disk before the reservation is settled and the slot free."""
        self._shutdown.check()
        async with self._budget.reserve(page.payload.id, page.file.name) as attempt:
            verdict = await self._send(page, attempt)
            if not isinstance(verdict, Accepted):
                return verdict
            reply = Reply(verdict.reply.id, verdict.reply.timestamp_ms, self._host)
            note = "lone surrogates replaced by U+FFFD" if verdict.reply.repaired else None
            record = await self._recorder.record_text(page, Text(verdict.reply.content, reply, attempt.id, note))
            attempt.accept()  # after the text is on disk: the line is the proof of the call
            return record

    async def _send(self, page: Page, attempt: Attempt) -> Accepted | _Final:
        """Send a page until the account does not refuse it; a refusal is not billed, so the reservation is kept."""
        while True:
            with self._shutdown.cancels_unsent(reserved=True):
                turn = await self._gate.wait_turn()
            attempt.mark_sent()
            verdict = verdict_of(await self._client.post(page.payload.body))
            if not isinstance(verdict, Accepted):
                attempt.settle(billed=self._counts(verdict))
            self._report(turn, verdict)
            if not isinstance(verdict, Refused):
                return verdict

    def _counts(self, verdict: _Final | Refused) -> bool:
        """Return whether an attempt that brought no text counts: the plan may have billed it."""
        return isinstance(verdict, Failed) and verdict.billed and self._config.budget.count_failed_calls

    def _report(self, turn: Token, verdict: Verdict) -> None:
        """Report the verdict to the account's gate, or end the run, before any other page gets a turn."""
        self._contacts += not isinstance(verdict, Failed) or verdict.billed
        match verdict:
            case Accepted():
                self._retries.count_success()
                self._gate.report_accepted(turn)
            case Refused():
                logger.debug("refused: %s; %r", verdict.reason, self._gate)
                self._gate.report_refused(turn, verdict.wait_s)
            case Stop(QuotaExhaustedError() as error):
                self._shutdown.request(QuotaExhaustedError(f"{error}; the month ends on {self._month_end()}"))
            case Stop():
                self._shutdown.request(verdict.error)
            case Failed():
                logger.debug("an attempt failed: %s", verdict.reason)
                self._gate.report_failed(turn, reached=verdict.billed)
            case PageRejected():
                self._gate.report_failed(turn, reached=True)

    def _month_end(self) -> str:
        """Return the end of the plan's month by the configured calendar; the service does not name it."""
        calendar = Calendar(self._config.budget.timezone, self._config.budget.reset_day)
        return f"{reset_time(billing_month(datetime.now(UTC), calendar), calendar):%Y-%m-%d %H:%M} UTC"
