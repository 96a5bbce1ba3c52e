"""Appends finished pages to the JSONL files: a page counts as finished once its line is synced.

Lines go through one descriptor a file, in groups, each group followed by fdatasync. What a crash leaves after the
last newline is moved aside before the file is used again.
"""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiofiles
import anyio
import anyio.to_thread
from aiofiles.threadpool.binary import AsyncFileIO

from pipeline.errors import StorageError
from pipeline.files import sync_directory
from pipeline.grouping import GroupCommit
from pipeline.records import Failure, Record, Span
from pipeline.rules.resume import encode_failure, encode_record

RESULTS: Final = "results.jsonl"
FAILURES: Final = "failures.jsonl"
_TAIL_BLOCK_BYTES: Final = 1 << 20


class JsonlFile:
    """One append-only JSONL file.

    Args:
        path: The file, whole up to its last newline.
        raw: Its descriptor, opened for appending, unbuffered.
        size_bytes: Its length when it was opened.
        fsync: False leaves durability to the operating system.
    """

    def __init__(self, path: Path, raw: AsyncFileIO, size_bytes: int, *, fsync: bool) -> None:
        self._path = path
        self._raw = raw
        self._size_bytes = size_bytes
        self._fsync = fsync
        self._broken = False
        self._group: GroupCommit[bytes, Span] = GroupCommit(self._write)

    def __repr__(self) -> str:
        return f"<JsonlFile {self._path.name} {self._size_bytes} bytes>"

    async def append(self, line: bytes) -> Span:
        """Return where the line stands once it is on disk.

        Raises:
            StorageError: it could not be written or synced; nothing is appended after that, since a descriptor that
                failed to sync once may report success for lost data later.
        """
        return await self._group.submit(line)

    async def _write(self, lines: Sequence[bytes]) -> list[Span]:
        if self._broken:
            raise StorageError(f"{self._path}: an earlier write failed")
        rest = memoryview(b"".join(lines))
        try:
            while rest:
                rest = rest[await self._raw.write(rest) :]
            if self._fsync:
                await anyio.to_thread.run_sync(os.fdatasync, self._raw.fileno())
        except OSError as exc:
            self._broken = True
            raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc
        spans = []
        for line in lines:
            spans.append(Span(self._size_bytes, self._size_bytes + len(line)))
            self._size_bytes += len(line)
        return spans


class Sink:
    """The workspace's two files of finished pages."""

    def __init__(self, results: JsonlFile, failures: JsonlFile) -> None:
        self._results = results
        self._failures = failures

    def __repr__(self) -> str:
        return f"<Sink {self._results!r} {self._failures!r}>"

    async def append_record(self, record: Record) -> Span:
        """Return where the record's line stands in results.jsonl once it is on disk."""
        return await self._results.append(encode_record(record))

    async def append_failure(self, failure: Failure) -> Span:
        """Return where the failure's line stands in failures.jsonl once it is on disk."""
        return await self._failures.append(encode_failure(failure))


@asynccontextmanager
async def open_sink(workspace: Path, *, fsync: bool = True) -> AsyncGenerator[Sink]:
    """Open the two files of a workspace whose torn tails are repaired (`repair_tail`).

    Raises:
        StorageError: a file cannot be opened.
    """
    async with (
        _open_jsonl(workspace / RESULTS, fsync=fsync) as results,
        _open_jsonl(workspace / FAILURES, fsync=fsync) as failures,
    ):
        await anyio.to_thread.run_sync(sync_directory, workspace)
        yield Sink(results, failures)


def repair_tail(path: Path) -> Path | None:
    """Move what stands after the last newline to `<name>.broken-<time>` and cut it off; the paid lines stay.

    Returns:
        The file with the torn tail; None when there was none.

    Raises:
        StorageError: the file cannot be read or cut.
    """
    try:
        with path.open("rb+") as file:
            end, kept = file.seek(0, os.SEEK_END), _end_of_last_line(file.fileno())
            if kept == end:
                return None
            torn = path.with_name(f"{path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
            file.seek(kept)
            with torn.open("xb") as copy:
                copy.write(file.read())
                copy.flush()
                os.fsync(copy.fileno())
            sync_directory(path.parent)  # the evidence is safe before the tail goes
            file.truncate(kept)
            os.fsync(file.fileno())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    return torn


@asynccontextmanager
async def _open_jsonl(path: Path, *, fsync: bool) -> AsyncGenerator[JsonlFile]:
    try:
        raw = await aiofiles.open(path, "ab", buffering=0)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    try:
        yield JsonlFile(path, raw, os.fstat(raw.fileno()).st_size, fsync=fsync)
    finally:
        with anyio.CancelScope(shield=True):
            await raw.close()


def _end_of_last_line(descriptor: int) -> int:
    position = os.fstat(descriptor).st_size
    while position > 0:
        start = max(0, position - _TAIL_BLOCK_BYTES)
        newline = os.pread(descriptor, position - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0
