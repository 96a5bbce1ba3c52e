"""Which lines of corrections files count: of several lines of one page and person, the last one."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, Final, Self

from pipeline.correct.corrections_file import Correction, read_corrections
from pipeline.errors import UsageError

STDIN: Final = Path("-")
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
CREATE TABLE last (
  source BLOB, page INTEGER, person TEXT, file INTEGER, line INTEGER, PRIMARY KEY (source, page, person)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a corrections file.

    Attributes:
        file: Its path.
        number: From 1.
        content: The correction, or why it cannot be read.
    """

    file: Path
    number: int
    content: Correction | str


class CorrectionFiles:
    """Corrections files, which are read twice; a context manager.

    Memory does not grow with the lines: which ones are the last of their pages is in a temporary file.

    Args:
        paths: In the order in which they are applied; `STDIN` stands for `stdin`.
        stdin: Is copied to a temporary file.

    Raises:
        UsageError: a file cannot be read.
    """

    def __init__(self, paths: Sequence[Path], stdin: BinaryIO) -> None:
        self._stack = ExitStack()
        self._files: list[tuple[Path, BinaryIO]] = []
        self._db = self._stack.enter_context(closing(sqlite3.connect("")))
        self.superseded = 0
        """Number of lines that later ones replace, so far."""
        try:
            self._db.executescript(_SCHEMA)
            for path in paths:
                self._files.append((path, self._open(path, stdin)))
            for at, (_, file) in enumerate(self._files):
                self._db.executemany("INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?, ?)", _keys(at, file))
        except OSError as exc:
            self._stack.close()
            raise UsageError(f"{exc.filename or 'stdin'}: {exc.strerror or exc}") from exc
        except BaseException:
            self._stack.close()
            raise

    def __repr__(self) -> str:
        return f"<CorrectionFiles {[str(path) for path, _ in self._files]}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def lines(self) -> Iterator[Line]:
        """Yield the lines that count, and those that cannot be read, in their order."""
        for at, (path, file) in enumerate(self._files):
            file.seek(0)
            for number, content in read_corrections(file):
                if isinstance(content, Correction) and not self._is_last(content, at, number):
                    self.superseded += 1
                else:
                    yield Line(path, number, content)

    def names(self, source: bytes, page: int) -> bool:
        """Return whether a line is about this page."""
        return bool(self._db.execute("SELECT 1 FROM last WHERE source = ? AND page = ?", (source, page)).fetchone())

    def _open(self, path: Path, stdin: BinaryIO) -> BinaryIO:
        if path != STDIN:
            return self._stack.enter_context(path.open("rb"))
        copy = self._stack.enter_context(TemporaryFile())  # noqa: SIM115 - the stack closes it
        shutil.copyfileobj(stdin, copy)
        copy.seek(0)
        return copy

    def _is_last(self, correction: Correction, file: int, number: int) -> bool:
        key = correction.source, correction.page, correction.person
        found = self._db.execute("SELECT file, line FROM last WHERE source = ? AND page = ? AND person = ?", key)
        return bool(found.fetchone() == (file, number))


def _keys(at: int, file: BinaryIO) -> Iterator[tuple[bytes, int, str, int, int]]:
    for number, content in read_corrections(file):
        if isinstance(content, Correction):
            yield content.source, content.page, content.person, at, number
