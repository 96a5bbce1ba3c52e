"""A run on a cluster: lists the INPUTs into shards, has each attempted on a node, and merges what they bring.

All that a driver knows is on disk and in the ledger. One that was killed is started again with the same command: it
lists what is new, and leaves the shards that are done.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from pipeline.batch.accounts import begin_run, write_end
from pipeline.batch.files import find_inputs
from pipeline.batch.job import Job, ResolvedJob, resolve_job
from pipeline.batch.ledger_check import require_same_ledger
from pipeline.batch.observers import Start, Watch, new_run_id, observe
from pipeline.batch.summary import Accounts, Summary, summarise
from pipeline.billing import Calendar
from pipeline.cluster.completion import Completed, complete
from pipeline.cluster.engine import Engine
from pipeline.cluster.shards import Shards
from pipeline.config import Config
from pipeline.errors import (
    UsageError,
)
from pipeline.inputs.selection import Inputs
from pipeline.ledger.base import LedgerPlace
from pipeline.ledger.operations import Terms
from pipeline.ledger.places import find_place
from pipeline.ledger.shard_epochs import Commit
from pipeline.ledger.sqlite.place import SqlitePlace
from pipeline.records import State
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.run_file import RunFile, is_copy, read_run_file, write_run_file

_LOOK_EVERY_S: Final = 2.0
_GOES_ON: Final = frozenset({0, 3})
"""Exit codes of attempts after which the run goes on."""

logger = logging.getLogger("pagemill")


async def run_on_cluster(job: Job, shutdown: Shutdown | None = None, *, engine: Engine) -> Summary:
    """Recognise the INPUTs' pages on a cluster; the same command again goes on.

    Args:
        job: What to do; its settings hold for each attempt.
        shutdown: Lets the caller end the run early: calls under way are finished on all nodes.
        engine: The cluster.

    Raises:
        UsageError: an input or a setting is wrong, or a node cannot do the work; nothing was sent.
        WorkspaceLockedError: another run holds the workspace.
        StopError: as `pipeline.batch.runner.run`.
    """
    shutdown = shutdown if shutdown is not None else Shutdown()
    run_id = job.run_id if job.run_id is not None else new_run_id()
    job = replace(job, run_id=run_id)

    async def recognise(watch: Watch) -> Summary:
        try:
            return await _run(resolve_job(job, os.environ), shutdown, watch, engine)
        except ShuttingDownError:
            assert shutdown.reason is not None
            raise shutdown.reason from None

    return await observe(job.observers, Start(run_id, Path(job.workspace), datetime.now(UTC)), recognise)


async def _run(job: ResolvedJob, shutdown: Shutdown, watch: Watch, engine: Engine) -> Summary:
    place = _require_possible(job)
    out = await anyio.to_thread.run_sync(_real_path, job.workspace)
    with shutdown.cancels_unsent():
        inputs = await anyio.to_thread.run_sync(find_inputs, job, abandon_on_cancel=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_workspace(out))
        run_file = await anyio.to_thread.run_sync(_begin, job, inputs, out, place)
        write_run_file(out, run_file)
        stack.callback(engine.close)
        await anyio.to_thread.run_sync(engine.open, out)
        if isinstance(place, SqlitePlace) and engine.machines > 1:
            raise UsageError("--cluster on several machines needs a ledger in PostgreSQL: --ledger postgresql://…")
        committed = await anyio.to_thread.run_sync(_find_committed, place, job.config, run_file.workspace_id)
        shards = Shards(job, out, run_file.workspace_id, engine, shutdown, committed)
        watch.show(shards.tally.snapshot)
        await shards.run(inputs)
        await anyio.to_thread.run_sync(engine.close)  # no attempt writes any more
        completed = await anyio.to_thread.run_sync(complete, out, run_file, job.config.output)
    return _close_accounts(out, shards, completed)


def _real_path(path: Path) -> Path:
    """Return the path under which the nodes find a directory."""
    return Path(os.path.realpath(path))


def _require_possible(job: ResolvedJob) -> LedgerPlace:
    """Return the ledger of a job that a cluster can do.

    Raises:
        UsageError: it cannot.
    """
    run, chosen = job.config.run, job.config.input
    refused = {
        "--shard": chosen.shard is not None,
        "--again": job.again is not None,
        "--limit": run.limit is not None,
        "--max-calls": run.max_calls is not None,
        "--changed-by sha256": chosen.changed_by == "sha256",
    }
    if wrong := [name for name, is_given in refused.items() if is_given]:
        raise UsageError(f"{wrong[0]} cannot be combined with --cluster")
    place = find_place(job.config, job.service)
    if place is None:
        raise UsageError(
            "--cluster needs the service: give a key, or --api-url; the embedded engine runs on one machine"
        )
    return place


def _begin(job: ResolvedJob, inputs: Inputs, out: Path, place: LedgerPlace) -> RunFile:
    """Return the run.json of a run that begins; a merge that was interrupted is repeated at its end."""
    last = read_run_file(out)
    if last is not None and is_copy(last, out):
        raise UsageError(f"{out}: a copy of {last.place}; go on there, or begin in a new OUT")
    require_same_ledger(
        last, place, job.service.name, workspace=out, accept=job.accept_ledger, configured=job.config.budget.ledger
    )
    begun = begin_run(job, None if last is None else msgspec.structs.replace(last, is_merging=False), inputs, None)
    return msgspec.structs.replace(begun, is_merging=last is not None and last.is_merging)


def _find_committed(place: LedgerPlace, config: Config, job_id: str) -> Mapping[int, Commit]:
    calendar = Calendar(config.budget.timezone, config.budget.reset_day)
    terms = Terms(config.run.rate_per_s, config.run.patience_s)
    with closing(place.open(calendar, config.budget.limit, terms)) as ledger:
        return ledger.shard_epochs(job_id).committed()


def _close_accounts(out: Path, shards: Shards, completed: Completed) -> Summary:
    """Write run.json and return how the run ended."""
    totals = completed.counts.totals
    failed_before = max(0, totals[State.FAILED] + totals[State.UNCERTAIN] - shards.tally.failed)
    accounts = Accounts(
        completed.counts,
        pending_is_at_least=shards.files is None,
        ignored=Counter(shards.ignored) + Counter(completed.ignored),
    )
    snapshot = shards.tally.snapshot(failed_before)
    summary = summarise(snapshot, accounts, shards.shutdown.reason, shards.tally.uncertain, run_id=shards.job.run_id)
    write_end(out, completed.run_file, summary, has_text=True)
    return summary
