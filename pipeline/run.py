"""Joins the stages: source, index, prepare, index, budget, gate, client, sink.

One task walks the inputs; each page gets a task once a slot of the semaphore is free, so that nothing is read, let
alone encoded, before there is room for it.
"""

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import msgspec

from pipeline import source
from pipeline.budget import Budget
from pipeline.calls import Calls
from pipeline.client import Timeouts, open_client
from pipeline.config import Config
from pipeline.drain import Drain
from pipeline.errors import EXIT_PRECEDENCE, DurationReachedError, StopError
from pipeline.gate import Gate
from pipeline.index import Index
from pipeline.mill import Mill
from pipeline.outcomes import Outcomes
from pipeline.progress import Snapshot, report
from pipeline.records import AttemptState, Service, State, rfc3339
from pipeline.recovery import ledger_file, open_budget
from pipeline.sink import FAILURES, RESULTS, open_sink, repair_tail
from pipeline.workspace import RunFile, choose_root, claim_service, hold_workspace, read_run_file, write_run_file

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do.

    Attributes:
        inputs: Directories, files, globs, manifests, URLs, "-".
        workspace: Where results go.
        service: Which API is called.
        config: All settings.
        switch_service: True lets another service than before fill the workspace.
        stdin: Where "-" reads paths from.
        null_separated: True when those are separated by NUL.
        bar: True draws a progress bar.
    """

    inputs: Sequence[str]
    workspace: Path
    service: Service
    config: Config
    switch_service: bool = False
    stdin: BinaryIO | None = None
    null_separated: bool = False
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        exit_code: By the table of exit codes.
        reason: Why it stopped early, one line; None when it came to its end.
        totals: Pages of the workspace by state.
        run: Pages that ended in this run, by state.
        settled: Pages of the input that earlier runs had settled.
        calls: Calls of this run that count.
        calls_left: Calls left in the month; None when there is no limit.
        uncertain: Pages whose call an earlier run left without an outcome; they count as spent.
        elapsed_s: How long it took.
    """

    exit_code: int
    reason: str | None
    totals: dict[State, int]
    run: dict[State, int]
    settled: int
    calls: int
    calls_left: int | None
    uncertain: Sequence[str]
    elapsed_s: float

    @property
    def pages(self) -> int:
        """All pages of the workspace."""
        return sum(self.totals.values())


@dataclass(slots=True)
class _Opened:
    """What stands open while a run lasts."""

    mill: Mill
    outcomes: Outcomes
    index: Index
    budget: Budget
    gate: Gate
    run_file: RunFile
    uncertain: Sequence[str]
    begun_s: float

    def snapshot(self) -> Snapshot:
        """Return how the run stands."""
        gate = self.gate.statistics()
        return Snapshot(
            ended=dict(self.outcomes.ended),
            settled=dict(self.outcomes.settled),
            in_flight=self.mill.in_flight,
            calls=self.budget.calls,
            calls_left=self.budget.left,
            refused=gate.refused,
            paused_s=gate.paused_s,
            elapsed_s=anyio.current_time() - self.begun_s,
        )


async def run(job: Job, drain: Drain | None = None) -> Summary:
    """Recognise the inputs' pages into the workspace; running it again resumes.

    Args:
        job: What to do.
        drain: Lets the caller end the run early.

    Raises:
        UsageError: an input or setting is wrong; nothing was sent.
        WorkspaceLockedError: another run holds the workspace.
        LedgerError: the ledger cannot be trusted; nothing was sent.
        StorageError: the workspace cannot be written.
    """
    drain = drain if drain is not None else Drain()
    inputs = resolve_job_inputs(job.inputs, job.workspace)
    async with _open(job, inputs, drain) as opened:
        async with anyio.create_task_group() as background:
            count = partial(source.count, inputs, job.config.input)
            background.start_soon(partial(report, opened.snapshot, count, bar=job.bar))
            if job.config.run.max_duration_s is not None:
                background.start_soon(_end_after, job.config.run.max_duration_s, drain)
            files = source.walk(inputs, job.config.input, stdin=job.stdin, null_separated=job.null_separated)
            try:
                async with aclosing(files):
                    await opened.mill.take(files)
            except* StopError as stops:
                for stop in _leaves(stops):
                    drain.request(stop)
            background.cancel_scope.cancel()
        summary = _summarise(opened, drain.reason)
        totals = {state.value: number for state, number in summary.totals.items()}
        finished = rfc3339(datetime.now(UTC))
        ended = msgspec.structs.replace(opened.run_file, totals=totals, finished=finished, exit_code=summary.exit_code)
        write_run_file(job.workspace, ended)
    return summary


def resolve_job_inputs(inputs: Sequence[str], workspace: Path) -> source.Inputs:
    """Return what the INPUTs are, under the names that a workspace has for their files.

    Raises:
        UsageError: an INPUT does not exist, or run.json cannot be read.
    """
    resolved = source.resolve_inputs(inputs, cwd=Path.cwd())
    return replace(resolved, names_root=choose_root(read_run_file(workspace), resolved.root))


@asynccontextmanager
async def _open(job: Job, inputs: source.Inputs, drain: Drain) -> AsyncGenerator[_Opened]:
    """Take the workspace, recover what a crash left, and open every stage."""
    config = job.config
    async with AsyncExitStack() as stack:
        stack.enter_context(hold_workspace(job.workspace))
        last = read_run_file(job.workspace)
        run_file = _begin(job, last, inputs)
        _repair(job.workspace)
        index = stack.enter_context(await anyio.to_thread.run_sync(Index.open, job.workspace))
        for damage in index.damages:
            logger.warning("%s: line at byte %d passed over: %s", damage.file, damage.offset_bytes, damage.problem)
        former = None if last is None else last.existing_ledger
        ledger = None if run_file.ledger is None else Path(run_file.ledger)
        budget, uncertain = await stack.enter_async_context(
            open_budget(ledger, former, run_file.workspace, index, config)
        )
        write_run_file(job.workspace, run_file)
        gate = Gate(rate_per_s=config.run.rate_per_s, patience_s=config.run.patience_s)
        client = await stack.enter_async_context(
            open_client(job.service, _timeouts(config), connections=config.run.jobs)
        )
        sink = await stack.enter_async_context(open_sink(job.workspace, fsync=config.output.fsync))
        outcomes = Outcomes(sink, index, drain, max_failures=config.run.max_failures)
        forbidden = index.uncertain_ids().union(attempt.page for attempt in uncertain)
        calls = Calls(
            budget=budget,
            gate=gate,
            client=client,
            outcomes=outcomes,
            drain=drain,
            config=config,
            host=_origin(job.service),
            uncertain=forbidden if config.run.at_most_once else frozenset(),
        )
        mill = Mill(calls, index, outcomes, drain, config)
        new = [attempt.source for attempt in uncertain if attempt.state is AttemptState.PENDING]
        yield _Opened(mill, outcomes, index, budget, gate, run_file, new, anyio.current_time())


def _begin(job: Job, last: RunFile | None, inputs: source.Inputs) -> RunFile:
    """Return the new run.json, not yet written; warn when pages are prepared in another way than before."""
    workspace_id = claim_service(last, job.service.name, switch=job.switch_service, workspace=job.workspace)
    settings = job.config.without_secrets()
    if last is not None and last.settings.get("prepare", settings["prepare"]) != settings["prepare"]:
        logger.warning("[prepare] differs from the last run; pages that are done stay as they are")
    ledger = ledger_file(job.config, job.service)
    return RunFile(
        workspace=workspace_id,
        version=version("pagemill"),
        service=job.service.name,
        root=str(inputs.names_root or inputs.root),
        ledger=None if ledger is None else str(ledger),
        settings=settings,
        totals=last.totals if last is not None else {},
    )


def _repair(workspace: Path) -> None:
    for name in (RESULTS, FAILURES):
        torn = repair_tail(workspace / name)
        if torn is not None:
            logger.warning("%s: a line torn by a crash was moved to %s", name, torn.name)


def _timeouts(config: Config) -> Timeouts:
    return Timeouts(config.api.timeout_s, config.api.connect_timeout_s, config.api.read_timeout_s)


def _origin(service: Service) -> str:
    return service.host if service.metered else service.name


def _leaves(group: BaseExceptionGroup[StopError]) -> Iterator[StopError]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


async def _end_after(duration_s: float, drain: Drain) -> None:
    await anyio.sleep(duration_s)
    drain.request(DurationReachedError(f"--max-duration {duration_s:g} s is over"))


def _summarise(opened: _Opened, reason: StopError | None) -> Summary:
    snapshot, totals = opened.snapshot(), opened.index.totals()
    failed = snapshot.failed + snapshot.settled.get(State.FAILED, 0)
    codes = [0, *([3] if failed else []), *([reason.exit_code] if reason is not None else [])]
    return Summary(
        exit_code=min(codes, key=EXIT_PRECEDENCE.index),
        reason=None if reason is None else str(reason),
        totals=totals,
        run=snapshot.ended,
        settled=sum(snapshot.settled.values()),
        calls=snapshot.calls,
        calls_left=snapshot.calls_left,
        uncertain=opened.uncertain,
        elapsed_s=snapshot.elapsed_s,
    )
