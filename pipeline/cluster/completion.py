"""The end of a cluster run: the shards' workspaces become one, and its accounts close over all that was listed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.batch.listing import add_ignored
from pipeline.cluster.epoch_folders import find_newest
from pipeline.cluster.merge import merge
from pipeline.cluster.shard_folder import find_shards, shard_path
from pipeline.config import OutputConfig
from pipeline.inputs.shard_rows import read_shard
from pipeline.workspace.index import Index
from pipeline.workspace.page_counts import PageCounts
from pipeline.workspace.run_file import RunFile, read_run_file, require_workspace, write_run_file


@dataclass(frozen=True, slots=True)
class Completed:
    """The job's workspace at the end of a run.

    Attributes:
        run_file: Its run.json, as `write_end` takes it.
        counts: Its pages.
        ignored: Files that attempts have found to be no pages, by kind.
    """

    run_file: RunFile
    counts: PageCounts
    ignored: Mapping[str, int]


def complete(out: Path, run_file: RunFile, output: OutputConfig) -> Completed:
    """Merge what attempts have brought since the last merge, and count what is pending; blocks.

    Args:
        out: The job's workspace, whose lock is held.
        run_file: Its run.json of this run.
        output: Whether its records are compressed.

    Raises:
        StorageError: a workspace cannot be read, or the job's not be written.
        UsageError: a shard file is damaged.
    """
    known = {each.workspace_id: each.until for each in run_file.merged}
    parts: list[Path] = []
    unbegun: list[int] = []
    ignored = Counter[str]()
    for shard in find_shards(out):
        workspace = find_newest(out, shard)
        found = None if workspace is None else read_run_file(workspace)
        if workspace is None or found is None:
            unbegun.append(shard)
            continue
        for kind, number in found.ignored.items():
            add_ignored(ignored, kind, number)
        if run_file.is_merging or found.finished is None or known.get(found.workspace_id) != found.finished:
            parts.append(workspace)
    if parts:
        write_run_file(out, run_file)
        merge(parts, out, output, are_held=True)
        merged = require_workspace(out)
        run_file = msgspec.structs.replace(
            merged, started=run_file.started, settings=run_file.settings, run_id=run_file.run_id
        )
    with Index.open(out) as index:
        for shard in unbegun:
            index.inventory.mark_pending([file.name for file in read_shard(shard_path(out, shard)).files])
        index.commit()
        return Completed(run_file, index.count_pages(), ignored)
