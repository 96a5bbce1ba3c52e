"""Turns INPUTs (directories, globs, manifests, stdin, URLs) into a stream of files, in the same order every time.

The first file is yielded before the walk ends: `resolve_inputs` examines each INPUT once, `walk` lists and stats a
few hundred files per thread hop. When the walk is cancelled, a hop that hangs on a dead network mount is abandoned.
"""

import io
import os
import stat
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Final

from anyio import to_thread, wait_readable

from pipeline.config import InputConfig
from pipeline.errors import MissingFileError, PageError, UnreadableFileError, UsageError
from pipeline.inputs.directory import walk_directory
from pipeline.inputs.manifest import MANIFEST_SUFFIXES, ManifestEntry, ManifestReader, manifest_reader, path_reader
from pipeline.inputs.selection import Input, Inputs, Selection, absolute_path, parse_input, split_glob
from pipeline.records import FileStat, SourceFile
from pipeline.wire import is_url

__all__ = ["Inputs", "count", "resolve_inputs", "walk"]

BLOCK_BYTES: Final = 64 * 1024
STATS_PER_HOP: Final = 256
"""A thread hop takes 50 µs, a stat 1 µs on a local disk and 1 ms on a network filesystem, so a hop is below 0.3 s."""


def resolve_inputs(inputs: Sequence[str], *, cwd: Path) -> Inputs:
    """Return the kind and path of each INPUT, and their common root; list only globs, up to their first match.

    Args:
        inputs: As given on the command line; `-` is stdin.
        cwd: The absolute directory that relative INPUTs are relative to.

    Raises:
        UsageError: an INPUT does not exist, cannot be read, matches nothing or is not supported; the message names it.
    """
    if not inputs:
        raise UsageError("no INPUT given")
    items = tuple(parse_input(text, str(cwd)) or _locate(text, str(cwd)) for text in inputs)
    bases = [item.base for item in items if item.kind != "url"]
    return Inputs(root=Path(os.path.commonpath(bases or [str(cwd)])), items=items)


async def walk(
    inputs: Inputs, config: InputConfig, *, stdin: BinaryIO | None, null_separated: bool
) -> AsyncGenerator[SourceFile, None]:
    """Yield the files of the INPUTs; use `contextlib.aclosing` when leaving early.

    A file that cannot become a page has a `problem`: a broken row of a manifest, a file that is missing or not a
    regular file, a directory that cannot be listed.

    Args:
        inputs: From `resolve_inputs`.
        config: Which files of directories and globs are pages.
        stdin: The stream from which `-` reads paths; read by its file descriptor when it has one.
        null_separated: True when NUL instead of a newline ends each path.

    Raises:
        UsageError: a manifest became unreadable, or a table's header names no pages.
    """
    for item in inputs.items:
        to_file = partial(_to_source_file, item.base, inputs)
        async with aclosing(_list_input(item, inputs, config, stdin, null_separated=null_separated)) as batches:
            async for batch in batches:
                for start in range(0, len(batch), STATS_PER_HOP):
                    part = map(to_file, batch[start : start + STATS_PER_HOP])
                    for file in await to_thread.run_sync(list, part, abandon_on_cancel=True):
                        yield file


async def count(inputs: Inputs, config: InputConfig) -> int | None:
    """Return the number of files that `walk` would yield, without a stat of them; None when stdin is an INPUT."""
    if any(item.kind == "stdin" for item in inputs.items):
        return None
    total = 0
    for item in inputs.items:
        async with aclosing(_list_input(item, inputs, config, None, null_separated=False)) as batches:
            async for batch in batches:
                total += len(batch)
    return total


def _locate(text: str, cwd: str) -> Input:
    path = absolute_path(cwd, text)
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as exc:
        glob = split_glob(text)
        if glob is None:
            raise UsageError(f"{text}: no such file or directory") from exc
        return _locate_glob(text, absolute_path(cwd, glob[0]), glob[1])
    except OSError as exc:
        raise UsageError(f"{text}: {exc.strerror}") from exc
    if stat.S_ISDIR(mode):
        return Input(text, "directory", path, path)
    suffix = Path(path).suffix.lower()
    if suffix == ".parquet":
        raise UsageError(f"{text}: .parquet is not supported yet")
    if stat.S_ISREG(mode) and suffix in MANIFEST_SUFFIXES:
        _check_manifest(text, path)
        return Input(text, "manifest", str(Path(path).parent), path)
    return Input(text, "file", str(Path(path).parent), path)


def _locate_glob(text: str, prefix: str, pattern: str) -> Input:
    # Follow links and ignore the configuration: only a glob that matches nothing in any case is a mistake.
    listings = walk_directory(prefix, Inputs(Path(prefix), ()), Selection.from_globs(pattern=pattern), follow=True)
    if not any(listing.files for listing in listings):
        raise UsageError(f"{text}: no such file, and as a pattern it matches no image")
    return Input(text, "glob", prefix, prefix, pattern)


def _check_manifest(text: str, path: str) -> None:
    """Raise UsageError, before any call, when the manifest cannot be read or its header names no pages."""
    reader = manifest_reader(Path(path).suffix.lower(), text)
    try:
        with Path(path).open("rb") as file:
            block = file.read(BLOCK_BYTES)
    except OSError as exc:
        raise UsageError(f"{text}: {exc.strerror}") from exc
    reader.feed(block)
    if len(block) < BLOCK_BYTES:
        reader.close()


# --- INPUT -> entries ------------------------------------------------------------------------------------------------


async def _list_input(
    item: Input, inputs: Inputs, config: InputConfig, stdin: BinaryIO | None, *, null_separated: bool
) -> AsyncGenerator[Sequence[ManifestEntry], None]:
    if item.kind in {"file", "url"}:
        yield [ManifestEntry(item.path)]
        return
    if item.kind in {"directory", "glob"}:
        batches = _list_directory(item, inputs, config)
    elif item.kind == "stdin":
        if stdin is None:
            raise UsageError("-: there is no standard input")
        batches = _parse_blocks(_read_stdin(stdin), path_reader("-", null_separated=null_separated))
    else:
        reader = manifest_reader(Path(item.path).suffix.lower(), inputs.source_name(item.path))
        batches = _parse_blocks(_read_manifest(item), reader)
    async with aclosing(batches):
        async for batch in batches:
            yield batch


async def _list_directory(
    item: Input, inputs: Inputs, config: InputConfig
) -> AsyncGenerator[Sequence[ManifestEntry], None]:
    selection = Selection.from_globs(config.include, config.exclude, item.pattern)
    listings = walk_directory(item.path, inputs, selection, follow=config.follow_symlinks)
    while (listing := await to_thread.run_sync(next, listings, None, abandon_on_cancel=True)) is not None:
        # A directory may have a million files: build their paths in batches.
        for start in range(0, len(listing.files), STATS_PER_HOP):
            yield [ManifestEntry(f"{listing.path}/{name}") for name in listing.files[start : start + STATS_PER_HOP]]
        if listing.fault:
            yield [
                ManifestEntry(listing.path, problem=UnreadableFileError(f"cannot list the directory: {listing.fault}"))
            ]


async def _parse_blocks(
    blocks: AsyncGenerator[bytes, None], reader: ManifestReader
) -> AsyncGenerator[Sequence[ManifestEntry], None]:
    async with aclosing(blocks):
        async for block in blocks:
            yield reader.feed(block)
    yield reader.close()


async def _read_manifest(item: Input) -> AsyncGenerator[bytes, None]:
    blocks = _read_blocks(item.path)
    try:
        while (block := await to_thread.run_sync(next, blocks, None, abandon_on_cancel=True)) is not None:
            yield block
    except OSError as exc:
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


def _to_source_file(base: str, inputs: Inputs, entry: ManifestEntry) -> SourceFile:
    if entry.target is None or is_url(entry.target):
        return SourceFile(entry.target or entry.label, None, meta=entry.meta, problem=entry.problem)
    path = Path(full := absolute_path(base, entry.target))
    found = entry.problem or _stat_file(path)
    if isinstance(found, FileStat):
        return SourceFile(inputs.source_name(full), path, found, entry.meta)
    return SourceFile(inputs.source_name(full), path, None, entry.meta, found)


def _stat_file(path: Path) -> FileStat | PageError:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return MissingFileError("no such file")
    except OSError as exc:
        return UnreadableFileError(exc.strerror or str(exc))
    if stat.S_ISDIR(status.st_mode):
        return UnreadableFileError("a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        return UnreadableFileError("not a regular file")
    return FileStat(status.st_size, status.st_mtime_ns)
