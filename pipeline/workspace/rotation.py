"""Closes results.jsonl as a segment, and compresses segments beside the run.

    results.jsonl  --rename-->  results-000007.jsonl  --compress, sync, rename-->  results-000007.jsonl.zst, then unlink

Every step is synced before the next one, and each file is complete when it has its name: a crash leaves all lines, some
of them perhaps in two files, of which the second is not read (`segments`) and removed by the next run.
"""

import asyncio
import errno
import logging
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from pipeline.config import OutputConfig
from pipeline.errors import StorageError
from pipeline.storage.filesystems import sync_directory
from pipeline.workspace.compression import compress_segments
from pipeline.workspace.line_stream import LineStream
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.segments import next_number, segment_name

_NEXT: Final = ".results.jsonl.next"

logger = logging.getLogger("pagemill")


class Rotation:
    """Closes and compresses the segments of a workspace that a run holds.

    Args:
        workspace: The directory.
        output: When a segment is closed, and whether it is compressed.
        closed_bytes: Of the lines in the segments so far.

    Attributes:
        closed_bytes: Of the lines in the segments.
        compresses: Whether segments are compressed, the last one at the end of the run.
    """

    def __init__(self, workspace: Path, output: OutputConfig, closed_bytes: int) -> None:
        self._workspace = workspace
        self._limit_bytes = output.segment_bytes
        self._joined_bytes = output.joined_bytes
        self.closed_bytes = closed_bytes
        self.compresses = output.compression == "zstd"
        self._ends = threading.Event()
        self._thread = ThreadPoolExecutor(1, "compression")

    def __repr__(self) -> str:
        return f"<Rotation {self.closed_bytes} bytes closed>"

    def is_due(self, size_bytes: int) -> bool:
        """Return whether a file of this size is to be closed."""
        return self._limit_bytes is not None and size_bytes >= self._limit_bytes

    def close_segment(self, descriptor: int, size_bytes: int) -> bool:
        """Rename results.jsonl to the next segment, and let its descriptor lead to a new results.jsonl.

        Args:
            descriptor: Opened for appending; all lines are synced.
            size_bytes: Of the file.

        Returns:
            False when the file stays as it is, because the disk refuses it; it is not tried again.
        """
        try:
            self._swap(descriptor)
        except OSError as exc:
            logger.warning("%s: it grows on, not closed as a segment: %s", RESULTS, exc.strerror or exc)
            self._limit_bytes = None
            return False
        self.closed_bytes += size_bytes
        self.start_compression()
        return True

    def _swap(self, descriptor: int) -> None:
        results, new = self._workspace / RESULTS, self._workspace / _NEXT
        segment = self._workspace / segment_name(number := next_number(self._workspace), number, compressed=False)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        following = os.open(new, flags, os.fstat(descriptor).st_mode & 0o777)
        try:
            results.rename(segment)
            try:
                _require_same(segment, descriptor)
                sync_directory(self._workspace)  # else a power loss could leave the second name without the first
                new.rename(results)
                sync_directory(self._workspace)
            except OSError:
                segment.rename(results)
                raise
            os.dup2(following, descriptor, inheritable=False)
        finally:
            os.close(following)
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def start_compression(self) -> None:
        """Let the closed segments be compressed, in another thread."""
        if self.compresses:
            self._thread.submit(compress_segments, self._workspace, self._joined_bytes, self._ends)

    async def wait(self) -> None:
        """Return once all closed segments are compressed."""
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)

    def close(self) -> None:
        """Give up what is being compressed; the next run begins it anew."""
        self._ends.set()
        self._thread.shutdown()


def _require_same(path: Path, descriptor: int) -> None:
    named, opened = path.stat(), os.fstat(descriptor)
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
        raise OSError(errno.ESTALE, "another program has replaced it")


@asynccontextmanager
async def open_rotation(workspace: Path, output: OutputConfig) -> AsyncGenerator[Rotation]:
    """Yield the rotation of a workspace; plain segments of earlier runs begin to be compressed, if any are."""

    def measure() -> int:
        (workspace / _NEXT).unlink(missing_ok=True)
        with suppress(FileNotFoundError), closing(LineStream(workspace / RESULTS)) as stream:
            return stream.closed_bytes
        return 0

    try:
        rotation = Rotation(workspace, output, await anyio.to_thread.run_sync(measure))
    except OSError as exc:
        raise StorageError(f"{workspace / RESULTS}: {exc.strerror or exc}") from exc
    try:
        rotation.start_compression()
        yield rotation
    finally:
        rotation.close()
