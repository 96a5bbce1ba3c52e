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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Final

from anyio import to_thread, wait_readable

from pipeline.config import InputConfig
from pipeline.errors import MissingFileError, NotAnImageError, PageError, UnreadableFileError, UsageError
from pipeline.inputs.archives.lookup import find_member, is_archive
from pipeline.inputs.directory import walk_directory
from pipeline.inputs.kinds import COMMENT, UNREADABLE, is_archive_name, suffix_of
from pipeline.inputs.listings import Listing
from pipeline.inputs.manifest import ManifestReader, manifest_reader, path_reader
from pipeline.inputs.resolve import BLOCK_BYTES
from pipeline.inputs.rows import ManifestEntry
from pipeline.inputs.selection import Input, Inputs, Selection, absolute_path
from pipeline.members import Member
from pipeline.records import FileStat, IgnoredFiles, Meta, SourceFile
from pipeline.storage.files import require_descriptor
from pipeline.wire import is_url

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
    for kind, number in _count_set_aside(inputs).items():
        yield IgnoredFiles(kind, number)
    for item in inputs.items:
        to_file = partial(_to_source_file, item.base, inputs)
        async with aclosing(_list_input(item, inputs, config, stdin, null_separated=null_separated)) as batches:
            async for batch in batches:
                for note in batch.notes:
                    logger.warning("%s", note)
                for kind, number in batch.ignored.items():
                    yield IgnoredFiles(kind, number)
                for start in range(0, len(batch.entries), STATS_PER_HOP):
                    part = map(to_file, batch.entries[start : start + STATS_PER_HOP])
                    for file in await to_thread.run_sync(list, part, abandon_on_cancel=True):
                        yield file


async def list_names(inputs: Inputs, config: InputConfig) -> AsyncGenerator[NameBatch, None]:
    """Yield what `walk` would yield, except what comes from stdin: by name only, which takes no stat of a page.

    Raises:
        UsageError: a manifest became unreadable, or a table's header names no pages.
        NoDescriptorsError: the process has no file descriptor left.
    """
    yield NameBatch((), ignored=_count_set_aside(inputs))
    for item in inputs.items:
        if item.kind != "stdin":
            to_names = partial(_to_names, item.base, inputs)
            async with aclosing(_list_input(item, inputs, config, None, null_separated=False)) as batches:
                async for batch in batches:
                    yield await to_thread.run_sync(to_names, batch, abandon_on_cancel=True)


def _count_set_aside(inputs: Inputs) -> Mapping[str, int]:
    return Counter(item.kind for item in inputs.set_aside if item.kind is not None)


# --- INPUT -> entries ------------------------------------------------------------------------------------------------


async def _list_input(
    item: Input, inputs: Inputs, config: InputConfig, stdin: BinaryIO | None, *, null_separated: bool
) -> AsyncGenerator[_Batch, None]:
    if item.kind in {"file", "url"}:
        yield _Batch([ManifestEntry(item.path)])
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
            yield batch


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


# --- entries -> files ------------------------------------------------------------------------------------------------


def find_file(inputs: Inputs, name: str, *, meta: Meta | None, pages: frozenset[int] | None) -> SourceFile:
    """Return the file or URL of a source name in a record, as it is now.

    Args:
        inputs: Its root is the one that source names are relative to.
        name: The source name.
        meta: Further fields of its manifest row.
        pages: Numbers of the pages to recognise, 1-based; None for all.
    """
    root = str(inputs.names_root or inputs.root)
    found = _to_source_file(root, inputs, ManifestEntry(name, meta=meta))
    assert isinstance(found, SourceFile)  # it is neither a comment nor a file of a directory
    return replace(found, pages=pages)


def _to_names(base: str, inputs: Inputs, batch: _Batch) -> NameBatch:
    examined = [_to_source_file(base, inputs, entry) for entry in batch.entries if entry.needs_stat]
    ignored = Counter(batch.ignored)
    for found in examined:
        if isinstance(found, IgnoredFiles):
            ignored[found.kind] += found.number
    names = [_name_entry(base, inputs, entry) for entry in batch.entries if not entry.needs_stat]
    return NameBatch(names, [found for found in examined if isinstance(found, SourceFile)], ignored)


def _name_entry(base: str, inputs: Inputs, entry: ManifestEntry) -> str:
    if entry.target is None or is_url(entry.target):
        return entry.target or entry.label
    return inputs.source_name(absolute_path(base, entry.target))


def _to_source_file(base: str, inputs: Inputs, entry: ManifestEntry) -> SourceFile | IgnoredFiles:
    if entry.target is None or is_url(entry.target):
        return SourceFile(entry.target or entry.label, None, meta=entry.meta, problem=entry.problem)
    path = Path(full := absolute_path(base, entry.target))
    found, member = _find(path, entry)
    if isinstance(found, MissingFileError):
        # A table with spaces after its commas names " a.png"; a file that has this name precedes.
        if (stripped := entry.target.strip()) not in {entry.target, ""}:
            bare = Path(absolute_path(base, stripped))
            status, member = _find(bare, replace(entry, problem=None))
            if isinstance(status, FileStat):
                return SourceFile(inputs.source_name(str(bare)), bare, status, entry.meta, member=member)
        if entry.may_be_comment:
            return IgnoredFiles(COMMENT, 1)
    if entry.undecided and isinstance(found, PageError):  # nothing says that it was a page
        return IgnoredFiles(UNREADABLE, 1)
    if isinstance(found, FileStat):
        name = inputs.source_name(full)
        return SourceFile(name, path, found, entry.meta, undecided=entry.undecided, member=member)
    return SourceFile(inputs.source_name(full), path, None, entry.meta, found)


def _find(path: Path, entry: ManifestEntry) -> tuple[FileStat | PageError, Member | None]:
    """Return size and time of an entry, or why it has none, and its place when it is in an archive."""
    found: FileStat | Member | PageError = entry.problem or entry.member or stat_file(path)
    if isinstance(found, Member):
        return FileStat(found.size_bytes, found.mtime_ns), found
    return found, None


def stat_file(path: Path) -> FileStat | Member | PageError:
    """Return size and time of a file, or its place when it is in an archive, or why it is no file."""
    try:
        status = path.stat()
    except NotADirectoryError:
        return find_member(str(path))
    except FileNotFoundError:
        return MissingFileError("no such file")
    except OSError as exc:
        return UnreadableFileError(exc.strerror or str(exc))
    if not stat.S_ISREG(status.st_mode):
        is_directory = stat.S_ISDIR(status.st_mode)
        return UnreadableFileError("a directory, not a file" if is_directory else "not a regular file")
    if is_archive_name(path.name) and is_archive(str(path)):
        return NotAnImageError("an archive; give it to run as an INPUT, or name its members")
    return FileStat(status.st_size, status.st_mtime_ns)
