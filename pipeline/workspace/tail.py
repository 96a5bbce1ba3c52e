"""How far a JSONL file has been read, so that only what came after need be read again."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.records import Span

_FINGERPRINT_BYTES: Final = 4096


class Mark:
    """How far a file has been read without a gap; lines that are noted out of order wait for those before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        """Offset in bytes behind the last line that was read."""
        self._ahead: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Mark {self.path.name} at {self.end}, {len(self._ahead)} lines ahead>"

    def add(self, span: Span) -> None:
        """Note a line that was read."""
        self._ahead[span.start] = span.end
        while self.end in self._ahead:
            self.end = self._ahead.pop(self.end)

    def fingerprint(self) -> int:
        """Return a checksum of the file's last bytes before the mark; that of nothing when they are not there."""
        start = max(0, self.end - _FINGERPRINT_BYTES)
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(self.end - start))
        return 0

    def is_at_end(self) -> bool:
        """Return True when there is nothing behind the mark."""
        with suppress(FileNotFoundError):
            return self.path.stat().st_size == self.end
        return self.end == 0

    def unread_lines(self) -> Iterator[tuple[Span, bytes]]:
        """Yield the whole lines behind the mark, without their newlines."""
        for _, span, line in read_lines(self.path, start=self.end):
            if not line.endswith(b"\n"):
                return  # somebody may be writing it: what comes next is the rest of it
            yield span, line[:-1]


def read_lines(path: Path, *, start: int = 0) -> Iterator[tuple[int, Span, bytes]]:
    """Yield (number from 1, where it stands, bytes) of each line of a file, which may be missing.

    Only the last line may lack its newline.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        begin = file.seek(start)
        for number, line in enumerate(file, 1):
            yield number, Span(begin, begin + len(line)), line
            begin += len(line)
