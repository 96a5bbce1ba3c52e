"""The way of a page through the stages, from a file that was found to a line on disk."""

import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from pipeline.budget import Budget
from pipeline.client import Client
from pipeline.config import Config
from pipeline.drain import Drain, DrainedError
from pipeline.errors import (
    AttemptsExhaustedError,
    MaxFailuresError,
    PageError,
    StopError,
    TemporaryError,
    UncertainCallError,
)
from pipeline.gate import Gate
from pipeline.index import Index
from pipeline.prepare import Rules, prepare, prepare_url
from pipeline.progress import Snapshot
from pipeline.records import Failure, PageId, Payload, Record, Reply, SourceFile, State, rfc3339
from pipeline.rules.fit import Limits
from pipeline.rules.retry import Accepted, Failed, PageRejected, Refused, Stop, Verdict, backoff_s, judge
from pipeline.sink import Sink
from pipeline.slots import Slot, Slots

_WAITING_DUPLICATES: Final = 1000
"""So many duplicates may wait for their originals at a time; more would let memory grow with the input."""

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Stages:
    """What a page passes through."""

    index: Index
    budget: Budget
    gate: Gate
    client: Client
    sink: Sink


@dataclass(frozen=True, slots=True)
class _Page:
    """A page on its way."""

    file: SourceFile
    payload: Payload
    begun_s: float


class _Claim:
    """A content that is being recognised; its duplicates wait here."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.outcome: Record | PageError | None = None
        """None until it ends, and for ever when the run ended before it."""


class Mill:
    """Recognises the files of one run.

    Args:
        stages: What a page passes through.
        config: All settings.
        host: What records name as the text's origin.
        drain: Ends the run early.
        uncertain: Pages that `--at-most-once` forbids to send again.
    """

    def __init__(
        self, stages: Stages, config: Config, *, host: str, drain: Drain, uncertain: frozenset[PageId] = frozenset()
    ) -> None:
        self._stages = stages
        self._config = config
        self._host = host
        self._drain = drain
        self._uncertain = uncertain
        limits = Limits(config.prepare.min_edge_px, config.prepare.max_edge_px, config.prepare.max_bytes)
        self._rules = Rules(limits, config.prepare.jpeg_quality, config.prepare.orient)
        self._slots = Slots(config.run.jobs, config.run.max_inflight_bytes)
        self._waiting = anyio.Semaphore(_WAITING_DUPLICATES)
        self._threads = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))
        self._claims: dict[PageId, _Claim] = {}
        self._ended: Counter[State] = Counter()
        self._settled: Counter[State] = Counter()
        self._begun_s = anyio.current_time()

    def __repr__(self) -> str:
        return f"<Mill {self._slots!r}, {sum(self._ended.values())} ended>"

    def snapshot(self) -> Snapshot:
        """Return how the run stands."""
        gate, budget = self._stages.gate.statistics(), self._stages.budget
        return Snapshot(
            ended=dict(self._ended),
            settled=dict(self._settled),
            in_flight=self._slots.taken,
            calls=budget.calls,
            calls_left=budget.left,
            refused=gate.refused,
            paused_s=gate.paused_s,
            elapsed_s=anyio.current_time() - self._begun_s,
        )

    async def take(self, files: AsyncIterator[SourceFile]) -> None:
        """Recognise all files; return when each has ended, or been called off by the drain."""
        taken = 0
        async with anyio.create_task_group() as pages:
            with suppress(DrainedError), self._drain.unsent():
                async for file in files:
                    if self._is_settled(file):
                        continue
                    if taken == self._config.run.limit:
                        break
                    taken += 1
                    slot = await self._slots.take(file.stat.size_bytes if file.stat is not None else 0)
                    pages.start_soon(self._mill_file, file, slot)

    def _is_settled(self, file: SourceFile) -> bool:
        if self._config.input.changed_by == "sha256" and not file.is_url:
            return False
        settled = self._stages.index.look_up_file(file)
        if settled is not None:
            self._settled.update(settled.states)
        return settled is not None

    async def _mill_file(self, file: SourceFile, slot: Slot) -> None:
        """Recognise a file's pages one after another; a reason to stop ends the run, not the other pages."""
        try:
            await self._mill_pages(file, slot)
        except DrainedError:
            pass  # its pages stay pending
        except StopError as exc:
            self._drain.request(exc)
        finally:
            slot.release()
        if self._stages.index.wants_commit:
            await anyio.to_thread.run_sync(self._stages.index.commit)

    async def _mill_pages(self, file: SourceFile, slot: Slot) -> None:
        self._stages.index.begin_file(file)
        number = pages = 1
        while number <= pages:
            begun_s = anyio.current_time()
            try:
                with self._drain.unsent():
                    await slot.retake()
                    payload = await self._prepare(file, number)
            except PageError as exc:
                await self._fail(file, number, None, exc)
            else:
                pages = payload.pages
                await self._mill_page(_Page(file, payload, begun_s), slot)
            number += 1
        self._stages.index.end_file(file, pages)

    async def _prepare(self, file: SourceFile, number: int) -> Payload:
        if file.problem is not None:
            raise file.problem
        if file.path is None:
            return prepare_url(file.name)
        work = partial(prepare, file.path, number, file.path.name, self._rules)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _mill_page(self, page: _Page, slot: Slot) -> None:
        """Find the page's content among what is done or on its way, or call for it."""
        index, payload = self._stages.index, page.payload
        if index.has_result(page.file, payload.page, payload.id):
            self._settled[State.DONE] += 1
            return
        index.begin_page(page.file, payload.page, payload.id)
        if not self._config.prepare.dedup:
            outcome = await self._call(page)
            if isinstance(outcome, PageError):
                await self._take_over(page, outcome)
        elif (record := index.find_record(payload.id)) is not None:
            await self._take_over(page, record)
        elif payload.id in self._claims:
            await self._wait_for_original(page, self._claims[payload.id], slot)
        else:
            await self._claim(page)

    async def _claim(self, page: _Page) -> None:
        """Call for the page, and let its duplicates know how that ended."""
        claim = self._claims[page.payload.id] = _Claim()
        try:
            claim.outcome = await self._call(page)
        finally:
            del self._claims[page.payload.id]
            claim.ended.set()
        if isinstance(claim.outcome, PageError):
            await self._take_over(page, claim.outcome)

    async def _wait_for_original(self, page: _Page, claim: _Claim, slot: Slot) -> None:
        """Take over what becomes of the same content, without holding a slot or its bytes meanwhile."""
        page = replace(page, payload=replace(page.payload, body=b""))
        async with self._waiting:
            slot.release()
            await claim.ended.wait()
        if claim.outcome is None:
            raise DrainedError
        await self._take_over(page, claim.outcome)

    async def _take_over(self, page: _Page, outcome: Record | PageError) -> None:
        """End a page without a call of its own: as its original ended, or as its own calls did."""
        file, payload = page.file, page.payload
        if isinstance(outcome, PageError):
            await self._fail(file, payload.page, payload.id, outcome)
        elif (outcome.source, outcome.page) == (file.name, payload.page):
            self._stages.index.restore(file, payload.page, outcome)
            self._settled[State.DONE] += 1
        else:
            of = outcome.duplicate_of if outcome.duplicate_of is not None else outcome.source
            await self._record(self._build(page, outcome.text, outcome.reply, outcome.attempt, outcome.note, of))

    async def _call(self, page: _Page) -> Record | PageError:
        """Call until there is a text, the page has failed, or the run ends."""
        if page.payload.id in self._uncertain:
            return UncertainCallError("an earlier call may have been billed and its answer is lost; not sent again")
        attempts = 0
        while True:
            outcome = await self._attempt(page)
            match outcome:
                case Record():
                    return outcome
                case PageRejected(error):
                    error.attempts = attempts + 1
                    return error
                case Stop():
                    raise DrainedError
                case Failed():
                    attempts += 1
                    if (ended := self._give_up(outcome, attempts)) is not None:
                        return ended
                    with self._drain.unsent():
                        await anyio.sleep(backoff_s(attempts, random.random()))  # noqa: S311 - jitter
                case Accepted() | Refused():
                    pass

    def _give_up(self, failed: Failed, attempts: int) -> PageError | None:
        """Return how a page ends after a failed attempt; None when it may try again.

        Raises:
            TemporaryError: the service cannot be reached, which is no fault of the page.
        """
        error: PageError
        if failed.billed and self._config.run.at_most_once:
            error = UncertainCallError(f"{failed.reason}; it may have been billed and is not sent again")
        elif attempts <= self._config.run.retries:
            return None
        elif not failed.billed:
            raise TemporaryError(f"the API is unreachable: {failed.reason}; run again later")
        else:
            error = AttemptsExhaustedError(f"{attempts} attempts failed, the last with: {failed.reason}")
        error.attempts = attempts
        return error

    async def _attempt(self, page: _Page) -> Record | Verdict:
        """Make one reserved call; a text is on disk before the reservation is settled and the slot free."""
        stages = self._stages
        with self._drain.unsent():
            reservation = stages.budget.reserve(page.payload.id)
        async with reservation as attempt:
            with self._drain.unsent():
                await stages.gate.wait_turn()
            attempt.sent()
            verdict = judge(await stages.client.post(page.payload.body))
            attempt.settle(billed=self._counts(verdict))
            self._report(verdict)
            if not isinstance(verdict, Accepted):
                return verdict
            reply = Reply(verdict.reply.id, verdict.reply.timestamp_ms, self._host)
            note = "lone surrogates replaced by U+FFFD" if verdict.reply.repaired else None
            record = self._build(page, verdict.reply.content, reply, attempt.id, note)
            await self._record(record)
            return record

    def _counts(self, verdict: Verdict) -> bool:
        """Return whether the plan may have counted a call."""
        if isinstance(verdict, Failed):
            return verdict.billed and self._config.budget.count_failed_calls
        return isinstance(verdict, Accepted)

    def _report(self, verdict: Verdict) -> None:
        """Tell the account's gate, or end the run, before any other page gets a turn."""
        match verdict:
            case Accepted():
                self._stages.gate.report_accepted()
            case Refused():
                logger.debug("refused: %s", verdict.reason)
                self._stages.gate.report_refused(verdict.wait_s)
            case Stop():
                self._drain.request(verdict.error)
            case Failed():
                self._stages.gate.report_failed(reached=verdict.billed)
            case PageRejected():
                self._stages.gate.report_failed(reached=True)

    def _build(
        self, page: _Page, text: str, reply: Reply, attempt: str, note: str | None, duplicate_of: str | None = None
    ) -> Record:
        payload = page.payload
        return Record(
            id=payload.id,
            source=page.file.name,
            page=payload.page,
            sha256=payload.sha256,
            text=text,
            duplicate_of=duplicate_of,
            prep=payload.prep,
            reply=reply,
            attempt=attempt,
            elapsed_ms=round((anyio.current_time() - page.begun_s) * 1000),
            added=rfc3339(datetime.now(UTC)),
            meta=page.file.meta,
            note=note,
        )

    async def _record(self, record: Record) -> None:
        span = await self._stages.sink.append_record(record)
        self._stages.index.add_record(record, span)
        self._ended[State.DONE if record.duplicate_of is None else State.DUPLICATE] += 1

    async def _fail(self, file: SourceFile, number: int, page_id: PageId | None, error: PageError) -> None:
        failure = Failure(
            id=page_id,
            source=file.name,
            page=number,
            error=error.name,
            message=str(error),
            attempts=error.attempts,
            retryable=error.retryable,
            added=rfc3339(datetime.now(UTC)),
            meta=file.meta,
        )
        span = await self._stages.sink.append_failure(failure)
        self._stages.index.add_failure(failure, span)
        self._ended[failure.state] += 1
        logger.warning("%s: %s", file.name, error, extra={"page": number, "class": error.name})
        allowed = self._config.run.max_failures
        if allowed is not None and self._ended[State.FAILED] + self._ended[State.UNCERTAIN] > allowed:
            self._drain.request(MaxFailuresError(f"more than {allowed} pages failed"))
