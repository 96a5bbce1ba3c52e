"""Plans a run: streams the INPUTs, counts their pages and calls, and forecasts months, nights, bytes and time.

Nothing is sent, no lock is taken, and the workspace is not written: a run may hold it.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from pipeline.batch.files import name_inputs
from pipeline.batch.gone import count_gone
from pipeline.batch.opening import set_rules
from pipeline.batch.planning.count import PlanJob, count_pages
from pipeline.batch.planning.forecast import Forecast
from pipeline.batch.planning.limits import bound_run, forecast_tiers, read_usage, require_paid_texts
from pipeline.batch.planning.survey import Counts
from pipeline.billing import Usage
from pipeline.inputs.kinds import LEFT_KINDS
from pipeline.ledger.budget import check_spread
from pipeline.records import State, rfc3339
from pipeline.workspace.inventory import FileState
from pipeline.workspace.paths import INDEX, PARTS
from pipeline.workspace.run_file import RunFile, read_run_file, require_shard
from pipeline.workspace.segments import sum_file_sizes
from pipeline.workspace.snapshot import open_snapshot

_LEAST_CALLS: Final = 10
"""A rate that is measured over fewer calls says little."""


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
        run_stop: Why it would not begin, or stop before all pages are done; None when it finishes.
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
        return self.counts.files.total() > 0 or not LEFT_KINDS.isdisjoint(self.counts.ignored)

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
    if job.workspace is not None:
        require_shard(last, job.config.input.part, job.workspace)
    inputs = await anyio.to_thread.run_sync(
        name_inputs, job.inputs, job.config.input, job.workspace, abandon_on_cancel=True
    )
    with ExitStack() as stack:
        index = None
        if last is not None and job.workspace is not None:
            snapshot = open_snapshot(job.workspace, notices_edits=True)
            index = await anyio.to_thread.run_sync(stack.enter_context, snapshot)
            set_rules(index, job.config, again_reviewed=job.again_reviewed)
            if last.service == job.service.name or job.any_service:
                await anyio.to_thread.run_sync(require_paid_texts, job, index, last, job.workspace)
        counts = await count_pages(job, inputs, index, last)
        gone = 0
        if index is not None and counts.files.total():
            known = counts.files[FileState.CHANGED] + counts.files[FileState.UNMODIFIED]
            gone = await anyio.to_thread.run_sync(count_gone, index.inventory, inputs, known)
        pages = 0 if index is None else sum(index.count_pages().totals.values())
    usage, share = await anyio.to_thread.run_sync(read_usage, job.config, job.service, last)
    forecasts = forecast_tiers(counts.calls, usage, job.config, now)
    budget = job.config.budget
    tier = "quota" if budget.quota is not None else budget.tier
    run_calls, stop = bound_run(counts, None if tier is None else forecasts[tier].left, job.config, share)
    if last is not None and last.service != job.service.name and not job.any_service:
        run_calls, stop = 0, f"'{last.service}' filled OUT, not '{job.service.name}' (exit 2)"
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
    with suppress(OSError):
        size_bytes += sum_file_sizes(workspace)
    for name in (PARTS, INDEX):
        with suppress(OSError):
            size_bytes += (workspace / name).stat().st_size
    return size_bytes * counts.pages[State.PENDING] // pages
