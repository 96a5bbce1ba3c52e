"""Plans a run: streams the INPUTs, counts their pages and calls, and forecasts months, nights, bytes and time.

Nothing is sent, no lock is taken, and the workspace is not written: a run may hold it.
"""

import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import anyio
import anyio.to_thread
from tqdm import tqdm

from pipeline.batch.files import mark_again, name_inputs
from pipeline.batch.gone import count_gone
from pipeline.batch.job import prepare_settings
from pipeline.batch.listing import add_ignored
from pipeline.batch.ordering import arrange, needs_listing
from pipeline.batch.planning.exact import ExactCount, PdfCount
from pipeline.batch.planning.forecast import Forecast
from pipeline.batch.planning.limits import bound_run, forecast_tiers, read_usage
from pipeline.batch.planning.survey import Counts, Survey
from pipeline.billing import Usage
from pipeline.config import Config
from pipeline.errors import StopError
from pipeline.inputs import source
from pipeline.inputs.image import open_converter
from pipeline.inputs.kinds import OLDER
from pipeline.inputs.selection import Inputs
from pipeline.ledger.budget import check_spread
from pipeline.records import IgnoredFiles, Service, SourceFile, State, rfc3339
from pipeline.workspace.index import Index
from pipeline.workspace.inventory import FileState
from pipeline.workspace.paths import INDEX, RESULTS
from pipeline.workspace.run_file import RunFile, order_again, read_run_file
from pipeline.workspace.snapshot import open_snapshot

_FILES_PER_HOP: Final = 64
_LEAST_CALLS: Final = 10
"""A rate that is measured over fewer calls says little."""


@dataclass(frozen=True, slots=True)
class PlanJob:
    """What is planned.

    Attributes:
        inputs: As in `Job`, as strings.
        workspace: The directory that the run would fill; None for a new one.
        service: The service that it would call.
        config: All settings.
        exact: True reads, hashes and prepares every page that is not settled.
        stdin: As in `Job`.
        null_separated: As in `Job`.
        again: As in `Job`.
        bar: True draws a progress bar on stderr.
    """

    inputs: Sequence[str]
    workspace: Path | None
    service: Service
    config: Config
    exact: bool = False
    stdin: BinaryIO | None = None
    null_separated: bool = False
    again: str | None = None
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        counts: Files and pages.
        gone: Files that the workspace knows and that are no longer in the folders of the INPUTs.
        exact: As in `PlanJob`; else the calls are at most these.
        usage: This month of the ledger; None when there is none.
        forecasts: By tier; "quota" is the setting's.
        tier: The forecast that applies; None when no tier and no quota is set.
        run_calls: Calls of the next run alone.
        run_stop: Why it would stop before all pages are done; None when it finishes.
        calls_per_s: Measured over the workspace's last run; None when it says nothing.
        results_bytes: What the workspace grows by; None when nothing was measured.
        begun: When this was planned, RFC 3339.
    """

    counts: Counts
    gone: int
    exact: bool
    usage: Usage | None
    forecasts: Mapping[str, Forecast]
    tier: str | None
    run_calls: int
    run_stop: str | None
    calls_per_s: float | None
    results_bytes: int | None
    begun: str

    @property
    def has_pages(self) -> bool:
        """True when the INPUTs hold a page."""
        return self.counts.files.total() > 0 or OLDER in self.counts.ignored

    @property
    def duration_s(self) -> float | None:
        """Duration of all calls at the measured rate, in seconds; None when none was measured."""
        return None if self.calls_per_s is None else self.counts.calls / self.calls_per_s


async def make_plan(job: PlanJob) -> Plan:
    """Count the pages of the INPUTs and forecast the run.

    Raises:
        UsageError: an INPUT or a setting is wrong.
        LedgerError: the ledger cannot be trusted.
        StorageError: the workspace cannot be read.
    """
    check_spread(job.config, job.service)
    now = datetime.now(UTC)
    last = None if job.workspace is None else read_run_file(job.workspace)
    inputs = await anyio.to_thread.run_sync(
        name_inputs, job.inputs, job.config.input.column, job.workspace, abandon_on_cancel=True
    )
    with ExitStack() as stack:
        index = None
        if last is not None and job.workspace is not None:
            index = await anyio.to_thread.run_sync(stack.enter_context, open_snapshot(job.workspace))
        counts = await _count(job, inputs, index, last)
        gone = 0
        if index is not None and counts.files.total():
            known = counts.files[FileState.CHANGED] + counts.files[FileState.UNMODIFIED]
            gone = await anyio.to_thread.run_sync(count_gone, index.inventory, inputs, known)
        pages = 0 if index is None else sum(index.totals().values())
    usage, share = await anyio.to_thread.run_sync(read_usage, job.config, job.service, last)
    forecasts = forecast_tiers(counts.calls, usage, job.config, now)
    budget = job.config.budget
    tier = "quota" if budget.quota is not None else budget.tier
    run_calls, stop = bound_run(counts, None if tier is None else forecasts[tier].left, job.config, share)
    return Plan(
        counts=counts,
        gone=gone,
        exact=job.exact,
        usage=usage,
        forecasts=forecasts,
        tier=tier,
        run_calls=run_calls,
        run_stop=stop,
        calls_per_s=_measured_rate(last),
        results_bytes=_expect_results(job.workspace, pages, counts),
        begun=rfc3339(now),
    )


async def _count(job: PlanJob, inputs: Inputs, index: Index | None, last: RunFile | None) -> Counts:
    settings = prepare_settings(job.config)
    has_repeats = len(inputs.items) > 1 or inputs.items[0].kind in {"manifest", "stdin"}
    reads_all = job.exact and job.config.input.changed_by == "sha256"
    survey = Survey(index, job.config, settings, has_repeats=has_repeats, reads_all=reads_all)
    files = source.walk(inputs, job.config.input, stdin=job.stdin, null_separated=job.null_separated)
    files = arrange(files, job.config.input) if needs_listing(job.config.input) else files
    again = order_again(last, job.service.name, job.again, rfc3339(datetime.now(UTC)))
    files = files if again is None else mark_again(files, again)
    threads = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "plan")
    bar: tqdm[NoReturn] = tqdm(unit="file", file=sys.stderr, dynamic_ncols=True, disable=not job.bar)
    try:
        with bar:
            async with aclosing(files), open_converter(settings) as converter:
                exact = ExactCount(survey, index, job.config, settings, converter=converter, threads=threads)
                pdfs = PdfCount(survey, settings, converter, threads)
                with closing(survey), closing(exact):
                    async for batch in _in_batches(files, survey.counts.ignored):
                        await _count_batch(survey, exact if job.exact else pdfs, batch)
                        bar.update(len(batch))
                        bar.set_postfix_str(f"{survey.counts.calls} calls", refresh=False)
    finally:
        threads.shutdown(wait=False)
    return survey.counts


async def _in_batches(
    files: AsyncGenerator[SourceFile | IgnoredFiles, None], ignored: Counter[str]
) -> AsyncGenerator[list[SourceFile], None]:
    batch: list[SourceFile] = []
    async for item in files:
        if isinstance(item, IgnoredFiles):
            add_ignored(ignored, item.kind, item.number)
            continue
        batch.append(item)
        if len(batch) == _FILES_PER_HOP:
            yield batch
            batch = []
    if batch:
        yield batch


async def _count_batch(survey: Survey, count: ExactCount | PdfCount, batch: Sequence[SourceFile]) -> None:
    is_enough = isinstance(count, PdfCount)
    left = await anyio.to_thread.run_sync(_count_by_header, survey, batch, is_enough, abandon_on_cancel=True)
    if not left:
        return
    errors: list[StopError] = []
    at_once = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))

    async def add(file: SourceFile) -> None:
        try:
            async with at_once:
                await count.add(file)
        except StopError as exc:  # raised here, it would arrive in an exception group
            errors.append(exc)

    async with anyio.create_task_group() as tasks:
        for file in left:
            tasks.start_soon(add, file)
    if errors:
        raise errors[0]


def _count_by_header(survey: Survey, batch: Sequence[SourceFile], is_enough: bool) -> list[SourceFile]:  # noqa: FBT001
    """Count what names, times and headers tell; return the files for which that is not enough."""
    left = []
    for file in batch:
        if survey.settle(file):
            continue
        if is_enough or file.undecided:
            header = survey.read(file)
            if header.ignored is not None:
                continue
            if is_enough and header.is_counted:
                survey.add_pages(file, header)
                continue
        left.append(file)
    return left


def _measured_rate(last: RunFile | None) -> float | None:
    if last is None or last.started is None or last.finished is None or last.calls < _LEAST_CALLS:
        return None
    with suppress(ValueError):
        begun, ended = (datetime.fromisoformat(moment) for moment in (last.started, last.finished))
        duration_s = (ended - begun).total_seconds()
        return last.calls / duration_s if duration_s > 0 else None
    return None


def _expect_results(workspace: Path | None, pages: int, counts: Counts) -> int | None:
    """Return the bytes that the workspace grows by, from its mean per page so far."""
    if workspace is None or not pages:
        return None
    size_bytes = 0
    for name in (RESULTS, INDEX):
        with suppress(OSError):
            size_bytes += (workspace / name).stat().st_size
    return size_bytes * counts.pages[State.PENDING] // pages
