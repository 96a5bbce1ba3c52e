"""Which files a run dispatches: those of its INPUTs, or those that failed before."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from pipeline.batch.job import ResolvedJob
from pipeline.batch.ordering import arrange, needs_listing
from pipeline.batch.retry import count_retries, retry_files
from pipeline.batch.triage import Triage
from pipeline.config import InputConfig
from pipeline.errors import UsageError
from pipeline.inputs import source
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.selection import Inputs, absolute_path, compile_glob
from pipeline.records import IgnoredFiles, SourceFile
from pipeline.storage.filesystems import current_directory
from pipeline.workspace.index import Index
from pipeline.workspace.run_file import Again, choose_root, read_run_file, require_workspace


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
    return name_inputs(job.inputs, job.config.input, job.workspace)


def name_inputs(texts: Sequence[str], config: InputConfig, workspace: Path | None) -> Inputs:
    """Return INPUTs with the root that names in a workspace's records are relative to.

    Args:
        texts: As given on the command line.
        config: The column of manifests that names the page, and the shard.
        workspace: The directory given to `-o`; None for none.

    Raises:
        UsageError: an INPUT is wrong, or run.json cannot be read.
    """
    cwd = current_directory()
    path = workspace
    if workspace is not None and cwd is not None:
        path = Path(absolute_path(str(cwd), str(workspace)))
    inputs = resolve_inputs(texts, cwd=cwd, column=config.column, workspace=path)
    last = None if workspace is None else read_run_file(workspace)
    return replace(inputs, names_root=choose_root(last, inputs.root), shard=config.part)


def count_known(job: ResolvedJob, inputs: Inputs, index: Index) -> int:
    """Return how many pages of the INPUTs have a text, so that a bar begins there; 0 where some are left out."""
    chosen = job.config.input
    is_whole = chosen.sample is None and chosen.changed_since is None and chosen.changed_by == "mtime"
    if not job.bar or job.again is not None or not is_whole:
        return 0
    return index.inventory.count_finished(inputs.folder_names())


class Files:
    """The files that a run dispatches: those of its INPUTs, or those that failed before.

    Args:
        job: Says which.
        inputs: From `find_inputs`.
        index: Knows what was done.
        again: Which pages are sent again although they are done; None for none.
    """

    def __init__(self, job: ResolvedJob, inputs: Inputs, index: Index, again: Again | None = None) -> None:
        self._job = job
        self._inputs = inputs
        self._index = index
        self._again = again

    def __repr__(self) -> str:
        return f"<Files of {len(self._inputs.items)} INPUTs, retry: {self._job.retry}>"

    def walk(self) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
        """Return the files, as a stream."""
        if self._job.retry is not None:
            return retry_files(self._index, self._inputs, self._job.retry)
        job = self._job
        files = source.walk(self._inputs, job.config.input, stdin=job.stdin, null_separated=job.null_separated)
        files = arrange(files, job.config.input) if needs_listing(job.config.input) else files
        return files if self._again is None else mark_again(files, self._again)

    async def need_calls(self, triage: Triage) -> bool:
        """Return whether a page may need a call: by names, sizes and times, and by first bytes where these decide.

        Raises:
            StopError: the INPUTs or the index cannot be read.
        """
        if self._job.retry is not None:
            return await count_retries(self._index, self._job.retry) > 0
        if self._inputs.has_stdin or self._job.config.input.changed_by == "sha256":
            return True
        async with aclosing(self.walk()) as files:
            async for file in files:
                if isinstance(file, IgnoredFiles) or self._index.settled_states(file) is not None:
                    continue
                if await triage.ignored_kind(file) is None:
                    return True
        return False


async def mark_again(
    files: AsyncGenerator[SourceFile | IgnoredFiles, None], again: Again
) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
    """Yield the files; those that are to be sent again say so."""
    glob = compile_glob(again.glob)
    async with aclosing(files):
        async for file in files:
            if isinstance(file, SourceFile) and glob.matches(file.name):
                yield replace(file, again_before=again.since)
            else:
                yield file
