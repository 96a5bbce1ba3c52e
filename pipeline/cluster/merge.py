"""Joins workspaces into one, in flat memory; merging again, also after a crash, loses nothing and adds what is new.

The lines of the merged workspace itself are joined as well, so each file is replaced by one that holds at least as
much. run.json names the merged workspaces first, and that the merge is under way: no run begins before it is repeated.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import msgspec

from pipeline.cluster.joined_results import JoinedResults
from pipeline.cluster.line_reader import LineReader
from pipeline.cluster.line_table import LineTable, Read
from pipeline.cluster.merged_parts import Part, open_parts, require_alike
from pipeline.cluster.merged_run import describe_merge, find_missing_shards
from pipeline.config import OutputConfig
from pipeline.errors import StorageError
from pipeline.exit_codes import EXIT_PRECEDENCE
from pipeline.records import State, rfc3339
from pipeline.storage.filesystems import make_directory, sync_directory
from pipeline.storage.sqlite import translate_errors
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, REPLIES, RESULTS
from pipeline.workspace.repair import repair_file
from pipeline.workspace.run_file import RunFile, read_run_file, write_run_file
from pipeline.workspace.segments import find_covered, find_segments
from pipeline.workspace.sink import open_sink

_BUFFER_BYTES: Final = 1024 * 1024

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge has made.

    Attributes:
        workspaces: Number of workspaces that were joined.
        totals: Pages of the merged workspace by state.
        left: Pages that shards have left to others which have not recognised them yet; they are pending.
        pending_is_at_least: True when more pages are pending, which a workspace has not listed.
        conflicts: Pages for which several workspaces have called, or whose contents differ.
        missing_shards: The shards that are not among the workspaces, such as "2/3"; their pages are not listed.
        damaged_lines: Lines of the workspaces that were left out.
    """

    workspaces: int
    totals: Mapping[State, int]
    left: int
    pending_is_at_least: bool
    conflicts: int
    missing_shards: Sequence[str]
    damaged_lines: int


def merge(paths: Sequence[Path], target: Path, output: OutputConfig, *, are_held: bool = False) -> Merged:
    """Join workspaces into one.

    Args:
        paths: The workspaces; only read.
        target: The directory of the merged workspace; made when it is missing.
        output: Whether its records are compressed.
        are_held: True when the caller holds the target, and no run fills the workspaces; thousands are merged then.

    Raises:
        UsageError: there is nothing to merge, or the workspaces do not fit together; nothing was written.
        WorkspaceLockedError: a run holds one of them; nothing was written.
        StorageError: a workspace cannot be read, has edited lines, or the target cannot be written.
    """
    with ExitStack() as stack:
        parts = open_parts(stack, paths, target, are_held=are_held)
        require_alike(parts, target)
        if not are_held:
            stack.enter_context(lock_workspace(target))
        for name in (RESULTS, FAILURES, PARTS, DEFERRED):
            repair_file(target / name)
        stack.enter_context(translate_errors(lambda exc: StorageError(f"{target}: {exc}")))
        return _merge(parts, target, output)


def _merge(parts: Sequence[Part], target: Path, output: OutputConfig) -> Merged:
    former = read_run_file(target)
    places = [target, *(part.path for part in parts)]
    with LineTable() as table, LineReader(places) as reader:
        reads = [table.add_workspace(number, path) for number, path in enumerate(places)]
        _require_readable(places, reads)
        table.finish()
        once = all(part.run_file.section("prepare").get("dedup", "content") != "off" for part in parts)
        joined = JoinedResults(table, reader, once=once)
        joined.resolve()
        run_file = describe_merge(parts, reads[1:], former, target)
        write_run_file(target, run_file)
        _write_lines(target, joined)
    _copy_replies(parts, target)
    if output.compression == "zstd":
        anyio.run(_compress, target, output)
    return _finish(parts, target, run_file, joined, sum(read.damaged for read in reads))


def _require_readable(places: Sequence[Path], reads: Sequence[Read]) -> None:
    for number, (place, read) in enumerate(zip(places, reads, strict=True)):
        if read.edited:
            raise StorageError(
                f"{place}: {read.edited} lines were edited by hand ({read.example}); accept them first:"
                f" pagemill correct {place} --reseal"
            )
        if read.damaged and number == 0:
            raise StorageError(f"{place}: {read.damaged} damaged lines ({read.example}); merge into a new workspace")
        if read.damaged:
            message = "%s: %d damaged lines are left out (%s); pagemill verify names each"
            logger.warning(message, place, read.damaged, read.example)


def _write_lines(target: Path, joined: JoinedResults) -> None:
    _replace(target / RESULTS, joined.results())
    for segment in reversed([*find_segments(target), *find_covered(target)]):  # a gap would count as a missing file
        (target / segment.name).unlink()
    sync_directory(target)
    _replace(target / FAILURES, joined.failures())
    _replace(target / PARTS, joined.parts())
    _replace(target / DEFERRED, joined.deferred())


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file by one with these lines: a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.merged")
    try:
        with temporary.open("wb", buffering=_BUFFER_BYTES) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _copy_replies(parts: Sequence[Part], target: Path) -> None:
    """Copy replies that were kept; each is named by its call."""
    for reply in _find_replies(parts):
        copy = target / REPLIES / reply.name
        if not copy.exists():
            make_directory(copy.parent)
            _replace(copy, [reply.read_bytes()])


def _find_replies(parts: Sequence[Part]) -> Iterator[Path]:
    for part in parts:
        with suppress(FileNotFoundError):
            yield from sorted((part.path / REPLIES).iterdir())


async def _compress(target: Path, output: OutputConfig) -> None:
    async with open_sink(target, output=output):
        pass


def _finish(parts: Sequence[Part], target: Path, run_file: RunFile, joined: JoinedResults, damaged: int) -> Merged:
    with Index.open(target) as index:
        for part in parts:
            try:
                with closing(Index.open_read_only(part.path)) as known:
                    index.inventory.adopt(known.inventory)
            except StorageError as exc:  # it can be derived anew
                logger.debug("%s: its index is not used: %s", part.path, exc)
        counts = index.count_pages()
    missing = find_missing_shards(run_file.merged)
    at_least = bool(missing) or any(each.pending_is_at_least for each in run_file.merged)
    failed = counts.totals[State.FAILED] + counts.totals[State.UNCERTAIN]
    ended = msgspec.structs.replace(
        run_file,
        totals={state.value: number for state, number in counts.totals.items()},
        pending_is_at_least=at_least,
        finished=rfc3339(datetime.now(UTC)),
        exit_code=min([0, *([3] if failed else [])], key=EXIT_PRECEDENCE.index),
        is_merging=False,
    )
    write_run_file(target, ended)
    conflicts = joined.conflicts
    if conflicts.number:
        message = "%d pages were sent, or have other contents, in several workspaces; the last record counts (%s)"
        logger.warning(message, conflicts.number, ", ".join(conflicts.examples))
    return Merged(
        workspaces=len(parts),
        totals=counts.totals,
        left=counts.left_to_shards,
        pending_is_at_least=at_least,
        conflicts=conflicts.number,
        missing_shards=missing,
        damaged_lines=damaged,
    )
