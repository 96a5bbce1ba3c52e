"""Appends records, failures and tiles to the JSONL files of a workspace, and keeps replies beside them."""

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import aiofiles
import anyio
import anyio.to_thread

from pipeline.config import OutputConfig
from pipeline.errors import StorageError
from pipeline.records import Failure, Record
from pipeline.storage.filesystems import sync_directory
from pipeline.workspace.ballast import Ballast
from pipeline.workspace.deferred_lines import Deferred, encode_deferred
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.jsonl_file import JsonlFile, SyncedFile
from pipeline.workspace.part_lines import Part, encode_part
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.replies import keep_reply
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.rotation import Rotation, open_rotation


class Sink:
    """Appends to the JSONL files of a workspace, and keeps replies beside them."""

    def __init__(
        self, workspace: Path, results: JsonlFile, failures: JsonlFile, parts: JsonlFile, deferred: JsonlFile | None
    ) -> None:
        self._workspace = workspace
        self._results = results
        self._failures = failures
        self._parts = parts
        self._deferred = deferred

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

    async def append_deferred(self, page: Deferred) -> Span:
        """Append a page to deferred.jsonl; return its line's place once it is synced."""
        assert self._deferred is not None
        return await self._deferred.append(encode_deferred(page))

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
async def open_sink(
    workspace: Path, ballast: Ballast | None = None, output: OutputConfig | None = None, *, defers: bool = False
) -> AsyncGenerator[Sink]:
    """Open the JSONL files of a workspace, which `repair.repair_file` has made whole; deferred.jsonl for a shard only.

    Raises:
        StorageError: a file cannot be opened.
    """
    async with (
        open_rotation(workspace, output if output is not None else OutputConfig()) as rotation,
        _open_jsonl(workspace / RESULTS, ballast, rotation) as results,
        _open_jsonl(workspace / FAILURES, ballast) as failures,
        _open_jsonl(workspace / PARTS, ballast) as parts,
        AsyncExitStack() as stack,
    ):
        deferred = await stack.enter_async_context(_open_jsonl(workspace / DEFERRED, ballast)) if defers else None
        try:
            await anyio.to_thread.run_sync(sync_directory, workspace)
        except OSError as exc:
            raise StorageError(f"{workspace}: {exc.strerror or exc}") from exc
        yield Sink(workspace, results, failures, parts, deferred)
        await results.finish()


@asynccontextmanager
async def _open_jsonl(
    path: Path, ballast: Ballast | None, rotation: Rotation | None = None
) -> AsyncGenerator[JsonlFile]:
    try:
        file = await aiofiles.open(path, "ab+", buffering=0)
    except OSError as exc:
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc
    try:
        synced = SyncedFile(file.fileno())
        size_bytes = os.fstat(synced.fileno()).st_size
        with closing(JsonlFile(path, synced, size_bytes, ballast=ballast, rotation=rotation)) as jsonl:
            yield jsonl
    finally:
        with anyio.CancelScope(shield=True):
            await file.close()
