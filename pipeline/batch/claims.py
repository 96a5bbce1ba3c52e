"""Opens the claims of a shard: which job it is of, whether its workspace is the shard, and what it had left."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from pipeline.batch.job import ResolvedJob
from pipeline.errors import UsageError, WorkspaceLockedError
from pipeline.ledger.budget import Budget
from pipeline.ledger.claims import Claims, ClaimScope, ContentClaims, end_known
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import RunFile, read_run_file


def choose_job(job: ResolvedJob, last: RunFile | None, place: str, root: str) -> str:
    """Return the name of the job that a shard is of: as given, as before, or made from places.

    These are the directory of its OUT and the input root: on another machine the directory may be of other INPUTs.
    """
    if job.config.input.shard_job is not None:
        return job.config.input.shard_job
    if last is not None and last.shard_job is not None:
        return last.shard_job
    return hashlib.sha256(f"{Path(place).parent}\0{root}".encode(errors="surrogateescape")).hexdigest()[:16]


@asynccontextmanager
async def open_claims(
    job: ResolvedJob, run_file: RunFile, budget: Budget, index: Index, shutdown: Shutdown
) -> AsyncGenerator[ContentClaims | None]:
    """Yield the claims of the run's shard, None for a run of whole INPUTs; release at the end what has not ended.

    A run that another attempt has replaced releases nothing: the claims are that one's now.

    Raises:
        UsageError: another workspace is this shard of the job.
        LedgerError: the ledger cannot be trusted.
    """
    part = job.config.input.part
    if (part is None and job.job_shard is None) or job.config.prepare.dedup == "off":
        yield None
        return
    operation = "advanced" if job.config.run.positions else "plain"
    if part is not None:
        number, of, name = part.number, part.of, f"{run_file.shard_job} {part.of} {operation}"
    else:
        assert job.job_shard is not None
        number, of, name = job.job_shard.number, None, f"{job.job_shard.job} {operation}"
    scope = ClaimScope(name, number, run_file.workspace_id, run_file.place or "")
    found = await anyio.to_thread.run_sync(budget.claims, scope)
    assert found is not None
    await anyio.to_thread.run_sync(_prepare, found, scope, index)
    claims = budget.group_claims(found, of)
    yield claims
    if not isinstance(shutdown.reason, WorkspaceLockedError):
        await claims.finish(index.deferrals.has_outcome)


def _prepare(claims: Claims, scope: ClaimScope, index: Index) -> None:
    """Make the workspace the shard, end what a crash has left open, and find what other shards have released."""
    holder = claims.find_holder()
    if holder is not None and holder.workspace_id != scope.workspace_id and _exists(holder.workspace_id, holder.place):
        raise UsageError(
            f"{scope.place}: {holder.place} is this shard of the job already; go on there, or give all shards of"
            " another job a name by --shard-job"
        )
    claims.register()
    end_known(claims, index.deferrals.has_outcome)
    index.deferrals.are_settled = True
    for pages in index.deferrals.pages():
        held = claims.held_by_others([page_id for _, _, page_id in pages])
        index.deferrals.reopen([page for page in pages if page[2] not in held])


def _exists(workspace_id: str, place: str) -> bool:
    """Return whether a workspace is still where it was, as far as this machine can tell."""
    try:
        found = read_run_file(Path(place))
    except (OSError, UsageError):
        return False
    return found is not None and found.workspace_id == workspace_id
