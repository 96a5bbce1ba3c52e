"""Joins the stages: source, index, prepare, index, budget, gate, client, sink.

One task walks the inputs. Each page gets a task once a slot of the semaphore is free, so that no file is read or
encoded before there is room for it.
"""

import logging
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from pipeline.batch.accounts import begin_run, note_ledger, open_accounts, write_end, write_run_file_or_warn
from pipeline.batch.attempts import Attempts
from pipeline.batch.claims import open_claims
from pipeline.batch.dispatcher import Dispatcher
from pipeline.batch.events import EventQueue
from pipeline.batch.files import Files, count_known, find_inputs
from pipeline.batch.job import Job, ResolvedJob, prepare_settings, resolve_job
from pipeline.batch.listing import Listing
from pipeline.batch.observers import Start, Watch, new_run_id, observe, publish
from pipeline.batch.opening import open_client_of, open_gate, open_index, open_service
from pipeline.batch.page import origin_of
from pipeline.batch.progress import Snapshot, report, report_learned
from pipeline.batch.recorder import Recorder
from pipeline.batch.summary import Accounts, Summary, summarise
from pipeline.batch.triage import Triage
from pipeline.batch.walk import Walk
from pipeline.errors import PlannedStopError, StopError, StorageError
from pipeline.inputs.image import open_converter
from pipeline.inputs.selection import Inputs
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.budget import Budget
from pipeline.records import PageId, rfc3339
from pipeline.remote.gate import Gate
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.workspace.ballast import Ballast, hold_ballast
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, RESULTS
from pipeline.workspace.repair import repair_file
from pipeline.workspace.replacement import ReplacedFileError
from pipeline.workspace.run_file import Again, RunFile, order_again, read_run_file, write_run_file
from pipeline.workspace.sink import open_sink

_STALLED_RUNS: Final = 5
"""Runs in a row with calls and without a text, after which pages are blamed: an outage seldom lasts for five nights."""

logger = logging.getLogger("pagemill")


@dataclass(slots=True)
class _Opened:
    """Everything that is open while a run lasts."""

    files: Files
    dispatcher: Dispatcher
    recorder: Recorder
    index: Index
    budget: Budget
    gate: Gate
    ballast: Ballast
    triage: Triage
    run_file: RunFile
    again: Again | None
    uncertain: Sequence[str]
    known: int
    begun_s: float = field(default_factory=anyio.current_time)
    walk: Walk | None = None

    def snapshot(self) -> Snapshot:
        """Return the run's counters."""
        gate = self.gate.statistics()
        return Snapshot(
            ended=dict(self.recorder.ended),
            settled=dict(self.recorder.settled),
            known=0 if self.walk is not None and self.walk.is_complete else self.known,
            in_flight=self.dispatcher.in_flight,
            calls=self.budget.calls,
            calls_left=self.budget.left,
            refused=gate.refused,
            sent=gate.passed,
            learned=gate.learned,
            paused_s=gate.paused_s,
            elapsed_s=anyio.current_time() - self.begun_s,
        )


async def run(job: Job, shutdown: Shutdown | None = None, events: EventQueue | None = None) -> Summary:
    """Recognise the inputs' pages into the workspace; running it again resumes.

    Args:
        job: What to do.
        shutdown: Lets the caller end the run early.
        events: Takes what happens, see `Event`, but for the error that `run` raises.

    Raises:
        UsageError: an input or setting is wrong, or an observer lacks what it needs; nothing was sent.
        WorkspaceLockedError: another run holds the workspace.
        LedgerError: the ledger cannot be trusted; nothing was sent.
        StorageError: the workspace cannot be written.
        StopError: `shutdown` was requested before the walk began.
    """
    shutdown = shutdown if shutdown is not None else Shutdown()
    events = events if events is not None else EventQueue()
    job = job if job.run_id is not None else replace(job, run_id=new_run_id())
    assert job.run_id is not None

    async def recognise(watch: Watch) -> Summary:
        try:
            return await _run(resolve_job(job, os.environ), shutdown, watch, events)
        except ShuttingDownError:
            assert shutdown.reason is not None
            raise shutdown.reason from None

    start = Start(job.run_id, Path(job.workspace), datetime.now(UTC))
    events.put(start)
    summary = await observe(job.observers, start, recognise)
    events.put(summary)
    return summary


async def _run(job: ResolvedJob, shutdown: Shutdown, watch: Watch, events: EventQueue) -> Summary:
    with shutdown.cancels_unsent():  # a dead network mount may block the thread for ever
        inputs = await anyio.to_thread.run_sync(find_inputs, job, abandon_on_cancel=True)
    for item in inputs.set_aside:
        logger.info("%s: ignored: %s", item.text, item.reason)
    async with _open(job, inputs, shutdown, events) as opened:
        watch.show(opened.snapshot)
        listing = Listing(inputs, job.config.input, opened.index, opened.triage)
        async with aclosing(opened.files.walk()) as files:
            walk = Walk(
                files,
                opened.index,
                opened.recorder,
                opened.triage,
                shutdown=shutdown,
                config=job.config,
                is_endless=inputs.has_stdin,
                is_retry=job.retry is not None,
            )
            opened.walk = walk
            async with anyio.create_task_group() as background:
                every_s = job.config.operate.stats_s
                background.start_soon(partial(report, opened.snapshot, listing.total, bar=job.bar, log_every_s=every_s))
                background.start_soon(publish, job.workspace, job.run_id, opened.snapshot)
                background.start_soon(report_learned, opened.snapshot)
                if not walk.is_retry:
                    background.start_soon(_list_beside, job.workspace, opened.run_file, listing, walk)
                if job.config.run.max_duration_s is not None:
                    background.start_soon(_end_after, job.config.run.max_duration_s, shutdown)
                await opened.dispatcher.dispatch(walk)
                walk.conclude(inputs, shutdown)
                await walk.find_changes(inputs, shutdown)
                if shutdown.reason is not None and not walk.is_complete and not walk.is_retry:
                    await listing.wait(shutdown)
                background.cancel_scope.cancel()
        return await _close_accounts(job.workspace, opened, walk, listing, shutdown)


async def _list_beside(workspace: Path, run_file: RunFile, listing: Listing, walk: Walk) -> None:
    """List the INPUTs once the walk leaves pages behind, and then let `status` say that all were counted."""
    await walk.needs_listing.wait()
    await listing.run()
    if listing.is_complete:
        write_run_file_or_warn(
            workspace, msgspec.structs.replace(run_file, pending_is_at_least=False, ignored=dict(listing.ignored))
        )


@asynccontextmanager
async def _open(job: ResolvedJob, inputs: Inputs, shutdown: Shutdown, events: EventQueue) -> AsyncGenerator[_Opened]:
    """Take the workspace, recover what a crash left, and open every stage."""
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_workspace(job.workspace))
        last = read_run_file(job.workspace)
        job = job if job.retry is None else job.with_shard(None if last is None else last.shard)
        again = order_again(last, job.service.name, job.again, rfc3339(datetime.now(UTC)))
        run_file = begin_run(job, last, inputs, again)
        was_torn = [repair_file(job.workspace / name) for name in (RESULTS, FAILURES, PARTS, DEFERRED)]
        ballast = stack.enter_context(hold_ballast(job.workspace, job.config.run.jobs, shutdown.request))
        index = stack.enter_context(await open_index(job, was_torn=any(was_torn)))
        files, triage = Files(job, inputs, index, again), Triage(index.inventory, job.config.input.exclude_kinds)
        enter = stack.enter_async_context
        budget, uncertain, run_file = await enter(open_accounts(job, last, run_file, index, shutdown))
        service = await enter(open_service(job, files, triage, shutdown))
        write_run_file(job.workspace, run_file)
        claims = await enter(open_claims(job, run_file, budget, index, shutdown))
        gate = open_gate(job.config.run, events, budget)
        client = await enter(open_client_of(job, service, budget.usable_s))
        sink = await enter(open_sink(job.workspace, ballast, job.config.output, defers=claims is not None))
        recorder = Recorder(sink, index, shutdown, max_failures=job.config.run.max_failures, events=events)
        attempts = Attempts(
            budget=budget,
            gate=gate,
            client=client,
            recorder=recorder,
            shutdown=shutdown,
            config=job.config,
            origin=origin_of(job.service, keeps_lines=job.config.run.positions),
            uncertain=_forbid(index, uncertain) if job.config.run.at_most_once else frozenset(),
            is_retry=job.retry is not None,
            is_stalled=run_file.stalled_runs >= _STALLED_RUNS,
        )
        converter = await enter(open_converter(prepare_settings(job.config)))
        stages = (attempts, index, recorder, shutdown, inputs)
        dispatcher = Dispatcher(*stages, config=job.config, converter=converter, events=events, claims=claims)
        yield _Opened(
            files=files,
            dispatcher=dispatcher,
            recorder=recorder,
            index=index,
            budget=budget,
            gate=gate,
            ballast=ballast,
            triage=triage,
            run_file=run_file,
            again=again,
            uncertain=[attempt.source for attempt in uncertain if attempt.state is AttemptState.PENDING],
            known=await anyio.to_thread.run_sync(count_known, job, inputs, index),
        )


def _forbid(index: Index, uncertain: Iterable[OpenAttempt]) -> frozenset[PageId]:
    """Return the pages of which a call may have been billed."""
    return index.uncertain_ids().union(attempt.page for attempt in uncertain)


async def _end_after(duration_s: float, shutdown: Shutdown) -> None:
    await anyio.sleep(duration_s)
    shutdown.request(PlannedStopError(f"--max-duration {duration_s:g} s is over"))


async def _close_accounts(
    workspace: Path, opened: _Opened, walk: Walk, listing: Listing, shutdown: Shutdown
) -> Summary:
    """Settle the ledger and write run.json; a full disk changes neither the exit code nor the reason."""
    opened.ballast.release()
    counts = None
    try:
        await opened.budget.flush()
        opened.run_file = note_ledger(opened.run_file, opened.budget)
    except StopError as exc:
        shutdown.request(exc)
    if shutdown.reason is not None and isinstance(shutdown.reason.__cause__, ReplacedFileError):
        opened.index.distrust_files()
    try:
        counts = opened.index.count_pages()
    except StorageError as exc:
        shutdown.request(exc)
    if walk.is_retry:
        at_least, ignored = opened.run_file.pending_is_at_least, opened.run_file.ignored
    else:
        at_least = not (walk.is_complete or listing.is_complete)
        ignored = walk.ignored if walk.is_complete or not listing.is_complete else listing.ignored
    is_left = opened.again is not None and shutdown.reason is not None
    accounts = Accounts(
        counts,
        pending_is_at_least=at_least,
        ignored=ignored,
        is_work_left=is_left,
        files=dict(walk.files),
    )
    run_id = opened.run_file.run_id or ""
    summary = summarise(opened.snapshot(), accounts, shutdown.reason, opened.uncertain, run_id=run_id)
    if counts is not None:
        is_done = opened.again is not None and walk.is_complete and shutdown.reason is None
        run_file = msgspec.structs.replace(opened.run_file, again=None) if is_done else opened.run_file
        write_end(workspace, run_file, summary, has_text=opened.recorder.has_text)
    return summary
