"""Read positions in JSONL files: later reads begin at the first line not read yet."""

import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.workspace.checksums import is_intact
from pipeline.workspace.line_stream import LineStream, open_lines

if TYPE_CHECKING:
    from io import BufferedReader

_FINGERPRINT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Span:
    """A line's place in its stream: offsets in bytes of its first byte and of the byte after its newline."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that the index skipped.

    Attributes:
        file: The file's name.
        offset_bytes: Offset of the line's first byte in the stream.
        problem: Why it was skipped.
    """

    file: str
    offset_bytes: int
    problem: str


class ReadPosition:
    """How far a file has been read without a gap; lines added out of order count once the lines before are added.

    Attributes:
        path: The file.
        end: Offset in bytes after the last line read.
        mtime_ns: When the file was last written, as of the last commit; 0 when lines were unread then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        self.mtime_ns = 0
        self._ahead: dict[int, int] = {}
        """Ends of lines added before a gap was filled, by start."""

    def __repr__(self) -> str:
        return f"<ReadPosition {self.path.name} at {self.end}, {len(self._ahead)} lines ahead>"

    def add(self, span: Span) -> None:
        """Count a line as read."""
        self._ahead[span.start] = span.end
        while self.end in self._ahead:
            self.end = self._ahead.pop(self.end)

    def fingerprint(self) -> int:
        """Return a checksum of the last 4 KiB before the position; 0 for a missing file, -1 when no line ends there."""
        start = max(0, self.end - _FINGERPRINT_BYTES)
        with suppress(FileNotFoundError), open_lines(self.path) as file:
            file.seek(start)
            last = file.read(self.end - start)
            is_whole = len(last) == self.end - start and (not last or last.endswith(b"\n"))
            return zlib.crc32(last) if is_whole else -1
        return 0

    def read_mtime_ns(self) -> int:
        """Return when the file was last written; 0 when it has unread lines or does not exist."""
        with suppress(FileNotFoundError), closing(LineStream(self.path)) as stream:
            return stream.mtime_ns if stream.size_bytes == self.end else 0
        return 0

    def is_touched(self) -> bool:
        """Return True when a file that was read to its end was written later and has nothing to read."""
        return self.mtime_ns != 0 and self.read_mtime_ns() not in {0, self.mtime_ns}

    def is_at_end(self) -> bool:
        """Return True when the whole file has been read."""
        with suppress(FileNotFoundError), closing(LineStream(self.path)) as stream:
            return stream.size_bytes == self.end
        return self.end == 0

    def unread_lines(self) -> Iterator[tuple[Span, bytes]]:
        """Yield the whole lines after the position, without their newlines; the last one may lack its newline."""
        for _, _, span, line in read_lines(self.path, start=self.end):
            if not line.endswith(b"\n") and not is_intact(line):
                return  # a run may be writing this line, and a further read would return its second half
            yield span, line.removesuffix(b"\n")
            if not line.endswith(b"\n"):
                return


class ReadLine(NamedTuple):
    """A line of a stream.

    Attributes:
        file: The name of the file in which it begins.
        number: Its number in that file, from 1; a damaged frame counts as one line.
        span: Its place in the stream.
        line: Its bytes; the last one may lack its newline.
    """

    file: str
    number: int
    span: Span
    line: bytes


def read_lines(path: Path, *, start: int = 0) -> Iterator[ReadLine]:
    """Yield each line of a file, or of results.jsonl and its segments, from an offset on; nothing for a missing file.

    Of the file with the offset, lines are numbered from there.
    """
    with suppress(FileNotFoundError), open_lines(path) as file:
        yield from number_lines(file, start=start)


def number_lines(file: "BufferedReader[LineStream]", *, start: int = 0) -> Iterator[ReadLine]:
    """Yield the lines of an open stream; see `read_lines`."""
    begin, number = file.seek(start), 0
    name, _, following = file.raw.find_file(begin)
    for line in file:
        if following is not None and begin >= following:
            name, _, following = file.raw.find_file(begin)
            number = 0
        number += 1
        yield ReadLine(name, number, Span(begin, begin + len(line)), line)
        begin += len(line)
