"""The records of a workspace as one stream of lines: its segments in order, then results.jsonl.

Offsets count in this stream. Closing, compressing and joining segments change none of them. What cannot be read, a
damaged frame or a missing segment, is one line in their place that says so and counts as damaged.
"""

import errno
import io
import os
from bisect import bisect_right
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.workspace.checksums import lost_line
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.segment_reader import SegmentReader
from pipeline.workspace.segments import find_segments, next_number, segment_name

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES: Final = 64 * 1024
_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of the stream, or a missing one.

    Attributes:
        name: The file's name.
        start: Offset of its first byte in the stream.
        size_bytes: Of its lines; of results.jsonl, when it was opened.
        mtime_ns: When it was last written.
        lost: Stands for the lines of a missing file.
    """

    name: str
    start: int
    size_bytes: int
    mtime_ns: int
    lost: bytes = b""


class LineStream(io.RawIOBase):
    """The lines of a JSONL file; of results.jsonl, with those of the segments. A run may append, close and compress.

    The lines that a run appends meanwhile are read as well, also those after a file that it has closed.

    Args:
        path: The JSONL file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        UsageError: a segment is compressed, and the package for that is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._has_segments = path.name == RESULTS
        self._next_number = 1
        self._place = 0
        self._descriptor: int | None = None
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._segments = SegmentReader(path.parent)
        self._open()

    def __repr__(self) -> str:
        return f"<LineStream {self._path.name}, {len(self._parts)} files>"

    @property
    def size_bytes(self) -> int:
        """Size of all lines when the stream was opened."""
        return _end(self._parts)

    @property
    def closed_bytes(self) -> int:
        """Size of the lines in segments."""
        return _end(self._parts) if self._descriptor is None else self._starts[-1]

    @property
    def mtime_ns(self) -> int:
        """A number that changes when another program writes a file: of a single file, the time of its last change."""
        times = [part.mtime_ns for part in self._parts if part.size_bytes]
        if len(times) <= 1:
            return times[0] if times else self._parts[-1].mtime_ns
        return int.from_bytes(blake2b(repr(times).encode(), digest_size=7).digest(), "big")

    @property
    def missing(self) -> list[str]:
        """The names of missing segments."""
        return [part.name for part in self._parts if part.lost]

    def find_file(self, offset: int) -> tuple[str, int, int | None]:
        """Return the name of the file with the byte at an offset, and where that file and the next one begin."""
        number = bisect_right(self._starts, offset) - 1
        following = self._starts[number + 1] if number + 1 < len(self._starts) else None
        return self._parts[number].name, self._starts[number], following

    def pread(self, size: int, offset: int) -> bytes:
        """Return so many bytes from an offset on; fewer only at the end."""
        blocks: list[bytes] = []
        while size > 0 and (block := self._read(size, offset)):
            blocks.append(block)
            size, offset = size - len(block), offset + len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size_bytes}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read the next bytes into a buffer, and return their number; 0 at the end."""
        view = memoryview(buffer)
        block = self._read(view.nbytes, self._place)
        view[: len(block)] = block
        self._place += len(block)
        return len(block)

    def close(self) -> None:
        """Close the files."""
        self._close_files()
        super().close()

    def _close_files(self) -> None:
        self._segments.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        """Open results.jsonl, and find the segments before it, as they are at one moment."""
        for _ in range(_TRIES):
            self._close_files()
            with suppress(FileNotFoundError):
                self._descriptor = os.open(self._path, os.O_RDONLY)
            try:
                is_consistent = self._find_parts()
            except FileNotFoundError:  # a segment was compressed meanwhile
                continue
            if is_consistent and not self._parts:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
            if is_consistent:
                return
        raise OSError(errno.EAGAIN, "its segments change too fast", str(self._path))

    def _find_parts(self) -> bool:
        """Find the files; return False when a run has closed or compressed a segment meanwhile."""
        segments = find_segments(self._path.parent) if self._has_segments else []
        parts = list[_Part]()
        number = 0
        for segment in segments:
            if segment.first > number + 1:
                name = segment_name(number + 1, segment.first - 1, compressed=False)
                lost = lost_line(f"{name} is missing, with all of its lines")
                parts.append(_Part(name, _end(parts), len(lost), 0, lost=lost))
            parts.append(_Part(segment.name, _end(parts), *self._segments.inspect(segment)))
            number = max(number, segment.last)
        if self._descriptor is not None:
            status = os.fstat(self._descriptor)
            parts.append(_Part(self._path.name, _end(parts), status.st_size, status.st_mtime_ns))
        if self._has_segments and not (self._is_named() and segments == find_segments(self._path.parent)):
            return False
        self._next_number = number + 1
        self._parts, self._starts = parts, [part.start for part in parts]
        return True

    def _is_named(self) -> bool:
        """Return whether the file's name leads to the open file, or to none when none is open."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return self._descriptor is None
        if self._descriptor is None:
            return False
        opened = os.fstat(self._descriptor)
        return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)

    def _goes_on(self) -> bool:
        """Return whether a run has closed results.jsonl meanwhile, so that its next lines are in a new one."""
        if not self._has_segments or self._is_named():
            return False
        return self._descriptor is None or next_number(self._path.parent) > self._next_number

    def _read(self, size: int, offset: int) -> bytes:
        """Return at least one and at most `size` bytes from an offset on; none at the end."""
        while True:
            try:
                block = self._read_part(size, offset)
            except FileNotFoundError:  # it was compressed meanwhile, alone or with others
                self._open()
                continue
            if block or not self._goes_on():
                return block
            self._open()

    def _read_part(self, size: int, offset: int) -> bytes:
        """Return bytes of the file with an offset, as `_read`; none after the last file's end."""
        number = bisect_right(self._starts, offset) - 1
        if number < 0:
            return b""
        part = self._parts[number]
        if self._descriptor is not None and number == len(self._parts) - 1:
            return os.pread(self._descriptor, size, offset - part.start)
        if (left_bytes := part.start + part.size_bytes - offset) <= 0:
            return b""
        if part.lost:
            return part.lost[-left_bytes:][:size]
        return self._segments.read(part.name, min(size, left_bytes), offset - part.start)


def open_lines(path: Path) -> "io.BufferedReader[LineStream]":
    """Open a JSONL file for reading; results.jsonl with its segments. See `LineStream`."""
    return io.BufferedReader(LineStream(path), _BUFFER_BYTES)


def find_place(workspace: Path, name: str, offset: int) -> tuple[str, int]:
    """Return the file with the byte at an offset of the stream of a JSONL file, and the byte's offset in its lines."""
    with suppress(OSError), closing(LineStream(workspace / name)) as stream:
        name, begin, _ = stream.find_file(offset)
        offset -= begin
    return name, offset


def find_missing(workspace: Path) -> list[str]:
    """Return the names of the missing segments of a workspace, those before others that are there."""
    with suppress(OSError), closing(LineStream(workspace / RESULTS)) as stream:
        return stream.missing
    return []


def _end(parts: list[_Part]) -> int:
    return parts[-1].start + parts[-1].size_bytes if parts else 0
