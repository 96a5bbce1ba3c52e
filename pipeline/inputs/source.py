"""Turns INPUTs (directories, globs, manifests, stdin, URLs) into a stream of files, in the same order every time.

The first file is yielded before the walk ends: `walk` lists and stats a few hundred files per thread hop. When the
walk is cancelled, a hop that hangs on a dead network mount is abandoned.
"""

import io
import logging
import os
import stat
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Final

from anyio import to_thread, wait_readable

from pipeline.config import InputConfig
from pipeline.errors import UnreadableFileError, UsageError
from pipeline.inputs.directory import walk_directory
from pipeline.inputs.entries import name_entry, since_ns_of, skip_older, to_source_file
from pipeline.inputs.kinds import OTHER_SHARD, suffix_of
from pipeline.inputs.listings import Listing
from pipeline.inputs.manifest import ManifestReader, manifest_reader, path_reader
from pipeline.inputs.resolve import BLOCK_BYTES
from pipeline.inputs.rows import ManifestEntry
from pipeline.inputs.selection import Input, Inputs, Selection
from pipeline.inputs.shard_rows import ShardFile, read_shard
from pipeline.records import IgnoredFiles, SourceFile
from pipeline.storage.files import require_descriptor

logger = logging.getLogger("pagemill")

STATS_PER_HOP: Final = 256
"""A thread hop takes 50 µs, a stat 1 µs on a local disk and 1 ms on a network filesystem, so a hop is below 0.3 s."""


@dataclass(frozen=True, slots=True)
class NameBatch:
    """A part of the INPUTs, listed without opening or examining a file where its name decides.

    Attributes:
        names: Source names of pages.
        files: Files that only the filesystem or their first bytes can decide about.
        ignored: Number of ignored files by kind.
    """

    names: Sequence[str]
    files: Sequence[SourceFile] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries of an INPUT, in their order, the number of its ignored files by kind, and lines for a person."""

    entries: Sequence[ManifestEntry]
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


async def walk(
    inputs: Inputs, config: InputConfig, *, stdin: BinaryIO | None, null_separated: bool
) -> AsyncGenerator[SourceFile | IgnoredFiles, None]:
    """Yield the files of the INPUTs; use `contextlib.aclosing` when leaving early.

    A file that cannot become a page has a `problem`: a broken row of a manifest, a file that is missing or not a
    regular file, a directory that cannot be listed. Files that hold no page are counted by kind.

    Args:
        inputs: From `resolve_inputs`.
        config: Which files of directories and globs are pages.
        stdin: The stream from which `-` reads paths; read by its file descriptor when it has one.
        null_separated: True when NUL instead of a newline ends each path.

    Raises:
        UsageError: a manifest became unreadable, or a table's header names no pages.
        NoDescriptorsError: the process has no file descriptor left.
    """
    since_ns = since_ns_of(config)
    for kind, number in _count_set_aside(inputs).items():
        yield IgnoredFiles(kind, number)
    for item in inputs.items:
        if item.kind == "shard":
            for listed in (await to_thread.run_sync(read_shard, Path(item.path), abandon_on_cancel=True)).files:
                yield listed
            continue
        to_file = partial(to_source_file, item.base, inputs)
        async with aclosing(_list_input(item, inputs, config, stdin, null_separated=null_separated)) as batches:
            async for batch in batches:
                for note in batch.notes:
                    logger.warning("%s", note)
                for kind, number in batch.ignored.items():
                    yield IgnoredFiles(kind, number)
                for start in range(0, len(batch.entries), STATS_PER_HOP):
                    part = map(to_file, batch.entries[start : start + STATS_PER_HOP])
                    for file in await to_thread.run_sync(list, part, abandon_on_cancel=True):
                        yield file if since_ns is None else skip_older(file, since_ns)


async def list_names(inputs: Inputs, config: InputConfig) -> AsyncGenerator[NameBatch, None]:
    """Yield what `walk` would yield, except what comes from stdin: by name only, which takes no stat of a page.

    Raises:
        UsageError: a manifest became unreadable, or a table's header names no pages.
        NoDescriptorsError: the process has no file descriptor left.
    """
    yield NameBatch((), ignored=_count_set_aside(inputs))
    has_kinds = bool(config.exclude_kinds)
    for item in inputs.items:
        if item.kind == "shard":
            yield _name_files(await to_thread.run_sync(read_shard, Path(item.path)), has_kinds=has_kinds)
        elif item.kind != "stdin":
            to_names = partial(_to_names, item.base, inputs, since_ns=since_ns_of(config), has_kinds=has_kinds)
            async with aclosing(_list_input(item, inputs, config, None, null_separated=False)) as batches:
                async for batch in batches:
                    yield await to_thread.run_sync(to_names, batch, abandon_on_cancel=True)


def _count_set_aside(inputs: Inputs) -> Mapping[str, int]:
    """Count the INPUTs that are not read; each is counted by one shard."""
    return Counter(item.kind for item in inputs.set_aside if item.kind is not None and inputs.takes(item.text))


async def _list_input(
    item: Input, inputs: Inputs, config: InputConfig, stdin: BinaryIO | None, *, null_separated: bool
) -> AsyncGenerator[_Batch, None]:
    if item.kind in {"file", "url"}:
        yield _take_shard(item.base, inputs, _Batch([ManifestEntry(item.path)]))
        return
    if item.kind in {"directory", "glob"}:
        batches = _list_directory(item, inputs, config)
    elif item.kind == "stdin":
        if stdin is None:
            raise UsageError("-: there is no standard input")
        batches = _parse_blocks(_read_stdin(stdin), path_reader("-", null_separated=null_separated))
    else:
        reader = manifest_reader(suffix_of(item.path), inputs.source_name(item.path), config.column)
        batches = _parse_blocks(_read_manifest(item), reader)
    async with aclosing(batches):
        async for batch in batches:
            yield batch if item.kind in {"directory", "glob"} else _take_shard(item.base, inputs, batch)


def _take_shard(base: str, inputs: Inputs, batch: _Batch) -> _Batch:
    """Return what the run takes of the entries of a list: nothing is known of the others but their names."""
    if inputs.shard is None:
        return batch
    taken = [entry for entry in batch.entries if inputs.takes(name_entry(base, inputs, entry))]
    left = len(batch.entries) - len(taken)
    return _Batch(taken, {OTHER_SHARD: left} if left else {}, batch.notes)


async def _list_directory(item: Input, inputs: Inputs, config: InputConfig) -> AsyncGenerator[_Batch, None]:
    selection = Selection.from_globs(config.include, config.exclude, item.pattern)
    listings = walk_directory(item.path, inputs, selection, follow=config.follow_symlinks)
    while (listing := await to_thread.run_sync(next, listings, None, abandon_on_cancel=True)) is not None:
        if listing.ignored or listing.notes:
            yield _Batch((), listing.ignored, listing.notes)
        # A directory may have a million files: build their paths in batches.
        for start in range(0, len(listing.files), STATS_PER_HOP):
            yield _Batch(_make_entries(listing, range(start, min(start + STATS_PER_HOP, len(listing.files)))))
        if listing.fault:
            problem = UnreadableFileError(f"{listing.subject}: {listing.fault}")
            yield _Batch([ManifestEntry(listing.path, problem=problem)])


def _make_entries(listing: Listing, positions: range) -> list[ManifestEntry]:
    names = ((position, listing.files[position]) for position in positions)
    return [
        ManifestEntry(
            f"{listing.path}/{name}",
            undecided=name in listing.undecided,
            listed=True,
            member=listing.members[position] if listing.members else None,
        )
        for position, name in names
    ]


async def _parse_blocks(blocks: AsyncGenerator[bytes, None], reader: ManifestReader) -> AsyncGenerator[_Batch, None]:
    async with aclosing(blocks):
        async for block in blocks:
            yield _Batch(reader.feed(block))
    yield _Batch(reader.close())


async def _read_manifest(item: Input) -> AsyncGenerator[bytes, None]:
    blocks = _read_blocks(item.path)
    try:
        while (block := await to_thread.run_sync(next, blocks, None, abandon_on_cancel=True)) is not None:
            yield block
    except OSError as exc:
        require_descriptor(exc)
        raise UsageError(f"{item.text}: {exc.strerror}") from exc
    finally:  # on a dead mount close() may never return
        Thread(target=_close, args=[blocks], daemon=True).start()


def _read_blocks(path: str) -> Generator[bytes, None, None]:
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _close(blocks: Generator[bytes, None, None]) -> None:
    with suppress(ValueError, OSError):  # a file that another thread still reads is closed when that read returns
        blocks.close()


async def _read_stdin(stdin: BinaryIO) -> AsyncGenerator[bytes, None]:
    try:
        fd = stdin.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        while block := stdin.read(BLOCK_BYTES):
            yield block
        return
    mode = os.fstat(fd).st_mode
    # A thread blocked in read() could not be cancelled, so the event loop waits; a regular file never blocks.
    may_block = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
    while True:
        if may_block:
            await wait_readable(fd)
        block = await to_thread.run_sync(os.read, fd, BLOCK_BYTES, abandon_on_cancel=True)
        if not block:
            return
        yield block


def _name_files(shard: ShardFile, *, has_kinds: bool) -> NameBatch:
    examined = [file for file in shard.files if file.undecided or (has_kinds and file.listed)]
    names = [file.name for file in shard.files if not (file.undecided or (has_kinds and file.listed))]
    return NameBatch(names, examined)


def _must_examine(entry: ManifestEntry, has_kinds: bool) -> bool:  # noqa: FBT001
    return entry.needs_stat or (has_kinds and entry.listed)


def _to_names(base: str, inputs: Inputs, batch: _Batch, *, since_ns: int | None, has_kinds: bool) -> NameBatch:
    """Return what a batch names; `has_kinds` when the first bytes of each file that was listed decide about it."""
    if since_ns is not None:
        examined = [skip_older(to_source_file(base, inputs, entry), since_ns) for entry in batch.entries]
        batch = _Batch((), batch.ignored)
    else:
        examined = [to_source_file(base, inputs, entry) for entry in batch.entries if _must_examine(entry, has_kinds)]
    ignored = Counter(batch.ignored)
    for found in examined:
        if isinstance(found, IgnoredFiles):
            ignored[found.kind] += found.number
    names = [name_entry(base, inputs, entry) for entry in batch.entries if not _must_examine(entry, has_kinds)]
    return NameBatch(names, [found for found in examined if isinstance(found, SourceFile)], ignored)
