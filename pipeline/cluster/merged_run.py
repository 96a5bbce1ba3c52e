"""The run.json of a merged workspace: whose calls its texts are of, and where those were counted."""

import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from pipeline.cluster.line_table import Read
from pipeline.cluster.merged_parts import Part
from pipeline.inputs.kinds import OTHER_SHARD
from pipeline.records import rfc3339
from pipeline.wire import replace_surrogates
from pipeline.workspace.run_file import MergedWorkspace, RunFile


def describe_merge(parts: Sequence[Part], reads: Sequence[Read], former: RunFile | None, target: Path) -> RunFile:
    """Return the run.json of a merge that is under way."""
    merged = {each.workspace_id: each for each in (() if former is None else former.merged)}
    for part, read in zip(parts, reads, strict=True):
        run_file = part.run_file
        merged |= {each.workspace_id: each for each in run_file.merged}
        merged[run_file.workspace_id] = MergedWorkspace(
            workspace_id=run_file.workspace_id,
            shard=run_file.shard,
            place=replace_surrogates(os.path.realpath(part.path)),
            until=run_file.finished or read.last_added,
            texts=max(0, read.texts - sum(each.texts for each in run_file.merged)),
            was_cut_off=run_file.finished is None or run_file.exit_code == 1,
            pending_is_at_least=run_file.finished is None or run_file.pending_is_at_least,
        )
    sources = [part.run_file for part in parts] + ([] if former is None else [former])
    newest = max((part.run_file for part in parts), key=lambda each: each.started or "")
    counted = [each for each in sources if each.metered is not None and each.ledger == newest.ledger]
    metered = max(counted, key=lambda each: 0 if each.metered is None else each.metered.reserved, default=newest)
    ledgers = dict.fromkeys(path for each in sources for path in each.ledgers)
    base = former if former is not None else newest
    return msgspec.structs.replace(
        base,
        workspace_id=secrets.token_hex(8) if former is None else former.workspace_id,
        version=version("pagemill"),
        root=parts[0].run_file.root if former is None else former.root,
        ledger=newest.ledger if former is None or former.ledger is None else former.ledger,
        ledgers=tuple(ledgers),
        settings=_settings(base),
        finished=None,
        exit_code=None,
        reason=None,
        run_id=None if former is None else former.run_id,
        started=rfc3339(datetime.now(UTC)),
        place=replace_surrogates(os.path.realpath(target)),
        copied_from=tuple(dict.fromkeys(old for each in sources for old in each.copied_from)),
        metered=metered.metered,
        ignored=_sum_ignored(parts),
        files={},
        calls=0,
        sent=0,
        refused=0,
        shard=None,
        merged=tuple(sorted(merged.values(), key=lambda each: (each.place or "", each.workspace_id))),
        is_merging=True,
        resealed=max((each.resealed for each in sources if each.resealed is not None), default=None),
    )


def _settings(base: RunFile) -> Mapping[str, object]:
    """Return the settings without the shard."""
    return {**base.settings, "input": {**base.section("input"), "shard": None}}


def _sum_ignored(parts: Sequence[Part]) -> dict[str, int]:
    ignored = Counter[str]()
    for part in parts:
        ignored.update({kind: number for kind, number in part.run_file.ignored.items() if kind != OTHER_SHARD})
    return dict(ignored)


def find_missing_shards(merged: Sequence[MergedWorkspace]) -> list[str]:
    """Return the shards that no workspace is, such as "2/3"; none when all shards of one number are there."""
    found: dict[int, set[int]] = {}
    for each in merged:
        if each.shard is not None:
            number, of = map(int, each.shard.split("/"))
            found.setdefault(of, set()).add(number)
    if any(len(numbers) == of for of, numbers in found.items()):
        return []
    return [f"{number}/{of}" for of in sorted(found) for number in range(1, of + 1) if number not in found[of]]
