"""Compresses closed segments; small neighbours become one file."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from pipeline.storage.filesystems import sync_directory
from pipeline.storage.zstd_frames import FRAME_BYTES, DamagedFrameError, FrameWriter, read_blocks
from pipeline.workspace.segment_reader import SegmentReader, find_table
from pipeline.workspace.segments import Segment, find_covered, find_segments, segment_name

_NEW: Final = ".results.jsonl.zst.new"
_SPARE_BYTES: Final = 64 << 20
"""Left on the disk for records: compression is no reason for a run to end."""

logger = logging.getLogger("pagemill")


class _EndedError(Exception):
    """The run ends."""


def compress_segments(workspace: Path, joined_bytes: int, ends: threading.Event) -> None:
    """Compress the plain segments of a workspace, and remove what a crash left; log a warning for what fails.

    Args:
        workspace: A run holds it.
        joined_bytes: Neighbours of so many bytes of lines together become one file.
        ends: Set when the run ends before this is done.
    """
    try:
        (workspace / _NEW).unlink(missing_ok=True)
        _remove_covered(workspace)
        for group in list(_group(workspace, joined_bytes)):
            _compress(workspace, group, ends)
    except _EndedError:
        pass
    except (OSError, DamagedFrameError) as exc:
        problem = (exc.strerror if isinstance(exc, OSError) else None) or "the compressed lines differ"
        logger.warning("%s: segments are left uncompressed: %s", workspace, problem)
    finally:
        with suppress(OSError):
            (workspace / _NEW).unlink(missing_ok=True)


def _group(workspace: Path, joined_bytes: int) -> Iterator[Sequence[Segment]]:
    """Yield the segments that become one file each: plain ones, and the compressed one before them if that is small."""
    group: list[Segment] = []
    group_bytes = 0
    for segment in find_segments(workspace):
        path = workspace / segment.name
        table = find_table(path) if segment.is_compressed else None
        size_bytes = path.stat().st_size if table is None else table.size_bytes
        is_next = bool(group) and group[-1].last + 1 == segment.first
        if segment.is_compressed or not is_next or group_bytes + size_bytes > joined_bytes:
            yield from [group] if _needs_work(group) else []
            group, group_bytes = [], 0
        if not segment.is_compressed or (table is not None and table.is_seekable):
            group.append(segment)
            group_bytes += size_bytes
    yield from [group] if _needs_work(group) else []


def _needs_work(group: Sequence[Segment]) -> bool:
    return any(not segment.is_compressed for segment in group)


def _compress(workspace: Path, group: Sequence[Segment], ends: threading.Event) -> None:
    paths = [workspace / segment.name for segment in group]
    needed_bytes = sum(path.stat().st_size for path in paths)
    disk = os.statvfs(workspace)
    if disk.f_bavail * disk.f_frsize < needed_bytes + _SPARE_BYTES:
        message = "%s: not compressed: the disk has less than %d bytes left; it stays as it is"
        logger.warning(message, paths[-1], needed_bytes + _SPARE_BYTES)
        return
    last = paths[-1].stat()
    new = workspace / _NEW
    with new.open("wb") as file:
        os.fchmod(file.fileno(), last.st_mode & 0o777)
        writer = FrameWriter(file)
        for path in paths:
            _write(path, writer, ends)
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
    os.utime(new, ns=(last.st_atime_ns, last.st_mtime_ns))  # the lines were not edited
    new.rename(workspace / segment_name(group[0].first, group[-1].last, compressed=True))
    sync_directory(workspace)
    for path in paths:
        path.unlink()
    sync_directory(workspace)


def _write(path: Path, writer: FrameWriter, ends: threading.Event) -> None:
    """Write a segment's lines; compressed ones as they are."""
    with path.open("rb") as file:
        if path.suffix == ".zst":
            table = find_table(path)
            assert table is not None
            writer.copy(file.fileno(), table)
            return
        for block in read_blocks(file):
            if ends.is_set():
                raise _EndedError
            writer.write(block)


def _remove_covered(workspace: Path) -> None:
    """Remove the files whose lines are in others, too, after comparing them: one may be a restored or edited copy."""
    covered = find_covered(workspace)
    with closing(SegmentReader(workspace)) as reader:
        for whole in find_segments(workspace) if covered else ():
            end = reader.inspect(whole).size_bytes
            parts = [part for part in covered if whole.first <= part.first and part.last <= whole.last]
            for part in reversed(parts):  # a crash leaves the last ones
                size_bytes = reader.inspect(part).size_bytes
                end -= size_bytes
                if end < 0 or not _is_same(reader, part.name, whole.name, end, size_bytes):
                    logger.warning("%s: not removed: %s is read in its place, and differs", part.name, whole.name)
                    break
                (workspace / part.name).unlink()
    if covered:
        sync_directory(workspace)


def _is_same(reader: SegmentReader, part: str, whole: str, start: int, size_bytes: int) -> bool:
    """Return whether a segment has the same lines as a part of another one."""
    place = 0
    while place < size_bytes:
        block = reader.read(part, size_bytes - place, place)[:FRAME_BYTES]
        other = reader.read(whole, len(block), start + place)
        if not block.startswith(other):
            return False
        place += len(other)
    return True
