"""Reads the lines of closed segments: plain, in zstd's seekable format, or compressed by another program."""

import errno
import os
from bisect import bisect_right
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final, NamedTuple

from pipeline.storage.zstd_frames import (
    DamagedFrameError,
    ForeignFrameError,
    FrameReader,
    FrameTable,
    decompress_blocks,
    read_table,
    require_zstd,
)
from pipeline.workspace.checksums import lost_line
from pipeline.workspace.segments import Segment

_OPEN_FILES: Final = 16
_CACHED_FRAMES: Final = 16
_TABLES: Final = 4096


class SegmentStat(NamedTuple):
    """What is known of a segment before its lines are read.

    Attributes:
        size_bytes: Of its lines.
        mtime_ns: When it was last written.
    """

    size_bytes: int
    mtime_ns: int


class SegmentReader:
    """Reads segments by their files' names; keeps the files and frames that were read last.

    Args:
        workspace: The directory.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._files: OrderedDict[str, int] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._frame_reader = FrameReader()

    def __repr__(self) -> str:
        return f"<SegmentReader {len(self._files)} files, {len(self._frames)} frames>"

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def inspect(self, segment: Segment) -> SegmentStat:
        """Return the size of a segment's lines.

        Raises:
            FileNotFoundError: a run has compressed it meanwhile.
            OSError: it cannot be read.
            UsageError: it is compressed, and the package for that is not installed.
        """
        path = self._workspace / segment.name
        status = path.stat()
        if not segment.is_compressed:
            return SegmentStat(status.st_size, status.st_mtime_ns)
        require_zstd(f"{path}")
        table = find_table(path)
        if table is not None:
            return SegmentStat(table.size_bytes, status.st_mtime_ns)
        return SegmentStat(os.fstat(self._descriptor_of(segment.name)).st_size, status.st_mtime_ns)

    def read(self, name: str, size: int, offset: int) -> bytes:
        """Return at least one and at most `size` bytes of a segment's lines; a line says that a frame is damaged.

        Raises:
            FileNotFoundError: a run has compressed it meanwhile.
            OSError: it cannot be read, or is shorter than it was.
        """
        path = self._workspace / name
        table = find_table(path) if name.endswith(".zst") else None
        if table is None:
            block = os.pread(self._descriptor_of(name), size, offset)
        else:
            number = bisect_right(table.starts, offset) - 1
            begin = offset - table.starts[number]
            block = self._read_frame(name, table, number)[begin : begin + size] if number < len(table) else b""
        if not block:
            raise OSError(errno.EIO, "it was cut while it was read", str(path))
        return block

    def _read_frame(self, name: str, table: FrameTable, number: int) -> bytes:
        content = self._frames.pop((name, number), None)
        if content is None:
            try:
                content = self._frame_reader.read(self._descriptor_of(name), table, number)
            except DamagedFrameError:
                size_bytes = table.starts[number + 1] - table.starts[number]
                content = lost_line(f"a zstd frame of {size_bytes} bytes is damaged, with all of its lines", size_bytes)
        self._frames[name, number] = content
        if len(self._frames) > _CACHED_FRAMES:
            self._frames.popitem(last=False)
        return content

    def _descriptor_of(self, name: str) -> int:
        """Return the descriptor of a file; of one that another program has compressed, that of its lines."""
        descriptor = self._files.pop(name, None)
        if descriptor is None:
            path = self._workspace / name
            is_foreign = name.endswith(".zst") and find_table(path) is None
            descriptor = _decompress(path) if is_foreign else os.open(path, os.O_RDONLY)
        self._files[name] = descriptor
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return descriptor


def find_table(path: Path) -> FrameTable | None:
    """Return the places of the frames of a compressed segment; None when it is not in the seekable format.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    return _read_table(path, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(_TABLES)
def _read_table(path: Path, _inode: int, _mtime_ns: int, _size_bytes: int) -> FrameTable | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_table(descriptor)
    except ForeignFrameError:
        return None
    finally:
        os.close(descriptor)


def _decompress(path: Path) -> int:
    """Decompress a file into a temporary one, and return its descriptor."""
    with path.open("rb") as file, TemporaryFile() as lines:
        decompress_all(file, lines)
        lines.flush()
        return os.dup(lines.fileno())


def decompress_all(file: BinaryIO, lines: BinaryIO) -> None:
    """Write the lines of a zstd file of any kind; the last line says when the file is damaged or torn.

    Raises:
        OSError: a file cannot be read or written.
    """
    torn = b""
    try:
        for block in decompress_blocks(file):
            whole, newline, torn = (torn + block).rpartition(b"\n")
            lines.write(whole + newline)
    except DamagedFrameError:
        lines.write(lost_line("the zstd stream is damaged or cut, with all further lines"))
    else:
        lines.write(torn)
