"""Which files a run dispatches: those of its INPUTs, or those that failed before."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from pipeline.batch.job import ResolvedJob
from pipeline.batch.listing import Triage
from pipeline.batch.retry import RetrySelection, count_retries, retry_files
from pipeline.config import InputConfig
from pipeline.errors import UsageError
from pipeline.inputs import source
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.selection import Inputs, absolute_path
from pipeline.records import IgnoredFiles, SourceFile
from pipeline.storage.filesystems import current_directory
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import choose_root, read_run_file, require_workspace


def find_inputs(job: ResolvedJob) -> Inputs:
    """Return the job's INPUTs, with the root that names in the workspace's records are relative to.

    Raises:
        UsageError: an INPUT is wrong, or run.json cannot be read; or failed pages are to be retried, and their root is
            not there.
    """
    if job.retry is not None:
        root = require_workspace(job.workspace).root
        if root is None or not Path(root).is_dir():
            raise UsageError(
                f"{job.workspace}: the input root of its pages, {root}, is not there; mount it, or use run"
            )
        return Inputs(Path(root), ())
    cwd = current_directory()
    workspace = Path(absolute_path(str(cwd), str(job.workspace))) if cwd is not None else job.workspace
    inputs = resolve_inputs(job.inputs, cwd=cwd, column=job.config.input.column, workspace=workspace)
    return replace(inputs, names_root=choose_root(read_run_file(job.workspace), inputs.root))


def find_files(job: ResolvedJob, inputs: Inputs, index: Index) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
    """Return the files to dispatch: those of the INPUTs, or those that failed before."""
    if job.retry is not None:
        return retry_files(index, inputs, job.retry)
    return source.walk(inputs, job.config.input, stdin=job.stdin, null_separated=job.null_separated)


async def needs_calls(
    inputs: Inputs, config: InputConfig, index: Index, triage: Triage, *, retry: RetrySelection | None = None
) -> bool:
    """Return whether a page may need a call, judging by names, sizes and times, and by first bytes where these decide.

    Raises:
        StopError: the INPUTs or the index cannot be read.
    """
    if retry is not None:
        return await count_retries(index, retry) > 0
    if inputs.has_stdin:
        return True
    async with aclosing(source.walk(inputs, config, stdin=None, null_separated=False)) as files:
        async for file in files:
            if isinstance(file, IgnoredFiles):
                continue
            is_settled = config.changed_by != "sha256" and index.settled_states(file) is not None
            if not is_settled and await triage.ignored_kind(file) is None:
                return True
    return False
