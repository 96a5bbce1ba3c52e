"""Appends finished pages to the JSONL files: a page counts as finished once its line is synced.

Lines go through one descriptor a file, in groups, each group followed by fdatasync. On a full disk the reserve gives
way. After any other error the descriptor is not used again: later syncs might report success for lines that the
kernel has dropped. What comes in from then on goes to a new file, which the next run takes in (`repair`).
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles
import anyio
import anyio.to_thread

from pipeline.errors import StorageError
from pipeline.records import Failure, Record, Span
from pipeline.storage.filesystems import sync_directory
from pipeline.storage.group_commit import GroupCommit
from pipeline.workspace.ballast import Ballast, is_disk_full
from pipeline.workspace.lines import encode_failure, encode_record
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.repair import name_rescue

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Rescue:
    """Where the lines of a file go that can no longer be written.

    Args:
        path: Their own file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._target: Path | None = None

    def __repr__(self) -> str:
        return f"<Rescue {self._target}>"

    def add(self, lines: bytes, start: int) -> Path:
        """Put lines on disk, each time through a new descriptor; return their file.

        Args:
            lines: Whole ones.
            start: How far their own file can be trusted, in bytes.

        Raises:
            OSError: this file cannot be written either; the next lines try another.
        """
        target = self._target if self._target is not None else name_rescue(self._path, start)
        self._target = None
        with target.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(target.parent)
        self._target = target
        return target


class SyncError(OSError):
    """What was written may not be on disk."""


class SyncedFile:
    """A file opened for appending, each write of which is on disk when it returns.

    Args:
        descriptor: Of the open file.
        fsync: False leaves durability to the operating system.
    """

    def __init__(self, descriptor: int, *, fsync: bool) -> None:
        self._descriptor = descriptor
        self._fsync = fsync

    def __repr__(self) -> str:
        return f"<SyncedFile {self._descriptor}>"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, data: "ReadableBuffer", /) -> int:
        """Return how many bytes were written; they are synced when these are all.

        Raises:
            SyncError: they were written and could not be synced.
            OSError: nothing was written.
        """
        written = os.write(self._descriptor, data)
        if self._fsync and written == memoryview(data).nbytes:
            try:
                os.fdatasync(self._descriptor)
            except OSError as exc:
                raise SyncError(*exc.args) from exc
        return written


class JsonlFile:
    """One append-only JSONL file.

    Args:
        path: The file, whole up to its last newline.
        file: It, opened; used in one thread at a time.
        size_bytes: Its length when it was opened.
        reserve: Gives way when the disk is full; None is none.
    """

    def __init__(self, path: Path, file: SyncedFile, size_bytes: int, *, ballast: Ballast | None = None) -> None:
        self._path = path
        self._file = file
        self._size_bytes = size_bytes
        self._ballast = ballast
        self._problem: OSError | None = None
        self._rescue = Rescue(path)
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, path.name)
        self._group: GroupCommit[bytes, Span] = GroupCommit(self._commit)

    def __repr__(self) -> str:
        return f"<JsonlFile {self._path.name} {self._size_bytes} bytes>"

    def close(self) -> None:
        """End the thread; the file stays open."""
        self._thread.shutdown(wait=False)

    async def append(self, line: bytes) -> Span:
        """Return where the line stands once it is on disk.

        Raises:
            StorageError: it could not be written or synced here; the message says where it is instead.
        """
        return await self._group.submit(line)

    def _commit(self, lines: Sequence[bytes]) -> Awaitable[list[Span]]:
        return self._loop.run_in_executor(self._thread, self._write, lines)

    def _write(self, lines: Sequence[bytes]) -> list[Span]:
        if self._problem is None:
            try:
                self._put(b"".join(lines))
            except OSError as exc:
                self._problem = exc
        if self._problem is not None:
            raise self._save(lines, self._problem) from self._problem
        spans = []
        for line in lines:
            spans.append(Span(self._size_bytes, self._size_bytes + len(line)))
            self._size_bytes += len(line)
        return spans

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except SyncError:
                raise
            except OSError as exc:
                if not self._make_room(exc, len(rest)):
                    raise

    def _make_room(self, problem: OSError, needed_bytes: int) -> bool:
        if self._ballast is None or not is_disk_full(problem):
            return False
        self._loop.call_soon_threadsafe(self._ballast.report_full, problem)
        return self._ballast.make_room(needed_bytes)

    def _save(self, lines: Sequence[bytes], problem: OSError) -> StorageError:
        """Put lines elsewhere, and return what to say of it."""
        if is_disk_full(problem):
            with suppress(OSError):  # half a line is of no use, and takes room
                os.ftruncate(self._file.fileno(), self._size_bytes)
        message = f"{self._path}: {problem.strerror or problem}"
        try:
            rescued = self._rescue.add(b"".join(lines), self._size_bytes)
        except OSError as exc:
            lost = f"{len(lines)} lines may be lost, the ledger counts their calls"
            return StorageError(f"{message}; no other file can be written ({exc.strerror or exc}): {lost}")
        return StorageError(f"{message}; what came in since is safe in {rescued}, the next run takes it in")


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
async def open_sink(workspace: Path, ballast: Ballast | None = None, *, fsync: bool = True) -> AsyncGenerator[Sink]:
    """Open the two files of a workspace, which are whole (`repair.mend`).

    Raises:
        StorageError: a file cannot be opened.
    """
    async with (
        _open_jsonl(workspace / RESULTS, ballast, fsync=fsync) as results,
        _open_jsonl(workspace / FAILURES, ballast, fsync=fsync) as failures,
    ):
        try:
            await anyio.to_thread.run_sync(sync_directory, workspace)
        except OSError as exc:
            raise StorageError(f"{workspace}: {exc.strerror or exc}") from exc
        yield Sink(results, failures)


@asynccontextmanager
async def _open_jsonl(path: Path, ballast: Ballast | None, *, fsync: bool) -> AsyncGenerator[JsonlFile]:
    try:
        file = await aiofiles.open(path, "ab", buffering=0)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    try:
        synced = SyncedFile(file.fileno(), fsync=fsync)
        with closing(JsonlFile(path, synced, os.fstat(synced.fileno()).st_size, ballast=ballast)) as jsonl:
            yield jsonl
    finally:
        with anyio.CancelScope(shield=True):
            await file.close()
