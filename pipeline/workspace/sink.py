"""Appends records and failures to the JSONL files; an append returns once its line is synced.

Lines are written through one descriptor per file, in groups, each group followed by fdatasync. On a full disk the
ballast is freed. After any other error the descriptor is not used again, because later syncs may succeed although the
kernel has dropped lines; this line and all later ones go to a rescue file, which the next run merges (`repair`). The
same happens when another program replaces the file (`replacement`).
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
from pipeline.records import Failure, Record
from pipeline.storage.filesystems import sync_directory
from pipeline.storage.group_commit import GroupCommit
from pipeline.workspace.ballast import Ballast, is_disk_full
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.part_lines import Part, encode_part
from pipeline.workspace.paths import FAILURES, PARTS, RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.repair import new_rescue_path
from pipeline.workspace.replacement import ReplacedFileError, check_replacement, find_unsaved_lines, locate
from pipeline.workspace.replies import keep_reply
from pipeline.workspace.result_lines import encode_record

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class RescueFile:
    """The file that receives lines when their own file can no longer be written.

    Args:
        path: The lines' own file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rescue: Path | None = None

    def __repr__(self) -> str:
        return f"<RescueFile {self._rescue}>"

    def append(self, lines: bytes, start: int) -> Path:
        """Write and sync lines through a new descriptor; return the rescue file.

        Args:
            lines: Whole lines.
            start: Where the durable part of the own file ends, in bytes.

        Raises:
            OSError: the rescue file cannot be written either; the next call tries another one.
        """
        rescue = self._rescue if self._rescue is not None else new_rescue_path(self._path, start)
        self._rescue = None
        with rescue.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(rescue.parent)
        self._rescue = rescue
        return rescue


class SyncError(OSError):
    """Bytes were written and could not be synced; they may not be on disk."""


class SyncedFile:
    """A file opened for appending; a write returns once its bytes are synced.

    Args:
        descriptor: The open file's descriptor.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __repr__(self) -> str:
        return f"<SyncedFile {self._descriptor}>"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write and return the number of bytes written; sync when that is all of them.

        Raises:
            SyncError: the bytes were written and could not be synced.
            OSError: nothing was written.
        """
        written = os.write(self._descriptor, data)
        if written == memoryview(data).nbytes:
            try:
                os.fdatasync(self._descriptor)
            except OSError as exc:
                raise SyncError(*exc.args) from exc
        return written


class JsonlFile:
    """One append-only JSONL file.

    Args:
        path: The file; it ends with a newline, or is empty.
        file: The same file, opened; used by one thread at a time.
        size_bytes: Its size when it was opened.
        ballast: Freed when the disk is full.
    """

    def __init__(self, path: Path, file: SyncedFile, size_bytes: int, *, ballast: Ballast | None = None) -> None:
        self._path = path
        self._file = file
        self._begin_bytes = self._size_bytes = size_bytes
        self._ballast = ballast
        self._error: OSError | None = None
        """The first error; from then on all lines go to the rescue file."""
        self._rescue = RescueFile(path)
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, path.name)
        self._group: GroupCommit[bytes, Span] = GroupCommit(self._commit)

    def __repr__(self) -> str:
        return f"<JsonlFile {self._path.name} {self._size_bytes} bytes>"

    def close(self) -> None:
        """End the thread; the descriptor stays open."""
        self._thread.shutdown(wait=False)

    async def append(self, line: bytes) -> Span:
        """Append a line, and return its place in the file once it is synced.

        Raises:
            StorageError: the line could not be written or synced here; the message names its rescue file.
        """
        return await self._group.submit(line)

    def _commit(self, lines: Sequence[bytes]) -> Awaitable[list[Span]]:
        return self._loop.run_in_executor(self._thread, self._write_group, lines)

    def _write_group(self, lines: Sequence[bytes]) -> list[Span]:
        if self._error is None:
            try:
                self._write(b"".join(lines))
                check_replacement(self._path, self._file.fileno(), self._size_bytes + sum(map(len, lines)))
            except ReplacedFileError as exc:
                self._error = exc
                raise self._rescue_run(exc) from exc
            except OSError as exc:
                self._error = exc
        if self._error is not None:
            raise self._rescue_lines(lines, self._error) from self._error
        spans = []
        for line in lines:
            spans.append(Span(self._size_bytes, self._size_bytes + len(line)))
            self._size_bytes += len(line)
        return spans

    def _write(self, data: bytes) -> None:
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

    def _rescue_lines(self, lines: Sequence[bytes], problem: OSError) -> StorageError:
        """Write lines to the rescue file; return the error that names it."""
        if is_disk_full(problem):
            with suppress(OSError):  # the first half of a line is useless, and occupies space
                os.ftruncate(self._file.fileno(), self._size_bytes)
        message = f"{self._path}: {problem.strerror or problem}"
        try:
            rescue = self._rescue.append(b"".join(lines), self._size_bytes)
        except OSError as exc:
            no_rescue = f"{message}; no other file can be written ({exc.strerror or exc})"
            if (place := self._append_where_moved(lines, problem)) is not None:
                return StorageError(f"{no_rescue}: its lines are in {place}")
            return StorageError(f"{no_rescue}: {len(lines)} lines may be lost, the ledger counts their calls")
        return StorageError(f"{message}; this line and later ones are saved in {rescue}; the next run merges them")

    def _append_where_moved(self, lines: Sequence[bytes], problem: OSError) -> Path | None:
        """Append lines to the file where it was moved to with its directory, and return that place; None elsewhere."""
        place = locate(self._file.fileno()) if isinstance(problem, ReplacedFileError) else None
        if place is not None:
            try:
                self._write(b"".join(lines))
            except OSError:
                return None
        return place

    def _rescue_run(self, problem: ReplacedFileError) -> StorageError:
        """Save the lines that the file at the run's path lacks; return the error that says where all lines are."""
        descriptor, message = self._file.fileno(), f"{self._path}: {problem.strerror}"
        is_cut = os.fstat(descriptor).st_size < self._size_bytes
        try:
            lines, self._size_bytes = find_unsaved_lines(self._path, descriptor, self._begin_bytes)
            if not lines and is_cut:
                return StorageError(f"{message}; earlier lines are gone: restore them from a copy before the next run")
            if not lines:
                return StorageError(f"{message}; all lines are there; run again to resume")
            rescue = self._rescue.append(lines, self._size_bytes)
        except OSError as exc:
            place = locate(descriptor)
            where = (
                "its lines are lost, the ledger counts their calls" if place is None else f"its lines are in {place}"
            )
            return StorageError(f"{message}; no other file can be written ({exc.strerror or exc}): {where}")
        return StorageError(f"{message}; its lines are saved in {rescue}; the next run merges them")


class Sink:
    """Appends to the JSONL files of a workspace, and keeps replies beside them."""

    def __init__(self, workspace: Path, results: JsonlFile, failures: JsonlFile, parts: JsonlFile) -> None:
        self._workspace = workspace
        self._results = results
        self._failures = failures
        self._parts = parts

    def __repr__(self) -> str:
        return f"<Sink {self._results!r} {self._failures!r}>"

    async def append_record(self, record: Record) -> Span:
        """Append a record to results.jsonl; return its line's place once it is synced."""
        return await self._results.append(encode_record(record))

    async def append_failure(self, failure: Failure) -> Span:
        """Append a failure to failures.jsonl; return its line's place once it is synced."""
        return await self._failures.append(encode_failure(failure))

    async def append_part(self, part: Part) -> Span:
        """Append a tile to parts.jsonl; return its line's place once it is synced."""
        return await self._parts.append(encode_part(part))

    async def keep_reply(self, attempt: str, body: bytes) -> str | None:
        """Keep a paid reply that could not be understood; return its file's name in the workspace once it is synced.

        Returns:
            None when too many replies are kept already.

        Raises:
            StorageError: it cannot be written.
        """
        path = await anyio.to_thread.run_sync(keep_reply, self._workspace, attempt, body)
        return None if path is None else str(path.relative_to(self._workspace))


@asynccontextmanager
async def open_sink(workspace: Path, ballast: Ballast | None = None) -> AsyncGenerator[Sink]:
    """Open the JSONL files of a workspace, which `repair.repair_file` has made whole.

    Raises:
        StorageError: a file cannot be opened.
    """
    async with (
        _open_jsonl(workspace / RESULTS, ballast) as results,
        _open_jsonl(workspace / FAILURES, ballast) as failures,
        _open_jsonl(workspace / PARTS, ballast) as parts,
    ):
        try:
            await anyio.to_thread.run_sync(sync_directory, workspace)
        except OSError as exc:
            raise StorageError(f"{workspace}: {exc.strerror or exc}") from exc
        yield Sink(workspace, results, failures, parts)


@asynccontextmanager
async def _open_jsonl(path: Path, ballast: Ballast | None) -> AsyncGenerator[JsonlFile]:
    try:
        file = await aiofiles.open(path, "ab+", buffering=0)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    try:
        synced = SyncedFile(file.fileno())
        with closing(JsonlFile(path, synced, os.fstat(synced.fileno()).st_size, ballast=ballast)) as jsonl:
            yield jsonl
    finally:
        with anyio.CancelScope(shield=True):
            await file.close()
