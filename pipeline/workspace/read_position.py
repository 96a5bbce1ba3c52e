"""Read positions in JSONL files: later reads begin at the first line not read yet."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.records import Span

_FINGERPRINT_BYTES: Final = 4096


class ReadPosition:
    """How far a file has been read without a gap; lines added out of order count once the lines before are added.

    Attributes:
        path: The file.
        end: Offset in bytes after the last line read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
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
        """Return a checksum of the last 4 KiB before the position; 0 for a missing file, -1 for one that is shorter."""
        start = max(0, self.end - _FINGERPRINT_BYTES)
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(start)
            last = file.read(self.end - start)
            return zlib.crc32(last) if len(last) == self.end - start else -1
        return 0

    def is_at_end(self) -> bool:
        """Return True when the whole file has been read."""
        with suppress(FileNotFoundError):
            return self.path.stat().st_size == self.end
        return self.end == 0

    def unread_lines(self) -> Iterator[tuple[Span, bytes]]:
        """Yield the whole lines after the position, without their newlines."""
        for _, span, line in read_lines(self.path, start=self.end):
            if not line.endswith(b"\n"):
                return  # a run may be writing this line, and a further read would return its second half
            yield span, line[:-1]


def read_lines(path: Path, *, start: int = 0) -> Iterator[tuple[int, Span, bytes]]:
    """Yield (number from 1, place, bytes) of each line from an offset on; nothing for a missing file.

    The last line may lack its newline.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        begin = file.seek(start)
        for number, line in enumerate(file, 1):
            yield number, Span(begin, begin + len(line)), line
            begin += len(line)
