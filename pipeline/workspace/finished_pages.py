"""The pages that have a record, in the order of their names: where each one's last line is, and the line itself."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from pipeline.errors import StorageError
from pipeline.records import State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.joined_lines import parse_first
from pipeline.workspace.line_stream import LineStream
from pipeline.workspace.page_texts import PageText, parse_text
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.result_lines import ResultLine, parse_whole_result

_Line = TypeVar("_Line", ResultLine, PageText)
_BATCH: Final = 4096
_BLOCK_BYTES: Final = 64 * 1024
_FINISHED_PAGES: Final = """
SELECT source, page, state, added, in_doubt, id, offset, is_checked, is_corrected FROM page
WHERE (source, page) > (?, ?) AND offset IS NOT NULL ORDER BY source, page LIMIT ?
"""


class FinishedPage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A page with a record; exports keep millions, and encode them.

    Attributes:
        source: The bytes of the source's name.
        page: 1-based.
        state: Done, duplicate or skipped.
        added: When its last record was added, RFC 3339.
        in_doubt: The service doubts its text.
        id: Identity of its content.
        offset: Of its last line in the stream of records, in bytes.
        is_checked: A person marked its text as checked.
        is_corrected: A person wrote its text.
    """

    source: bytes
    page: int
    state: State
    added: str
    in_doubt: bool
    id: str
    offset: int
    is_checked: bool = False
    is_corrected: bool = False


def read_finished_pages(database: CacheDatabase, states: Sequence[State]) -> Iterator[FinishedPage]:
    """Yield the pages that are in one of these states, each once, although the index may change.

    Raises:
        StorageError: the index cannot be read.
    """
    wanted = {state.value: state for state in states}
    after: tuple[bytes, int] = (b"", 0)
    while batch := database.rows(_FINISHED_PAGES, (*after, _BATCH)):
        after = batch[-1][0], batch[-1][1]
        for source, page, state, added, in_doubt, page_id, offset, checked, corrected in batch:
            if state in wanted:
                yield FinishedPage(
                    source, page, wanted[state], added, bool(in_doubt), page_id, offset, bool(checked), bool(corrected)
                )


class ResultLines:
    """The lines of results.jsonl and its segments, to which a run may append meanwhile; a context manager.

    Args:
        workspace: The directory given to `-o`.

    Raises:
        StorageError: the file cannot be read.
    """

    def __init__(self, workspace: Path) -> None:
        self._path = workspace / RESULTS
        self._block, self._begin = b"", 0
        """A part of the file, and its offset: neighbours in the order of names are mostly neighbours in the file."""
        try:
            self._stream = LineStream(self._path)
        except OSError as exc:
            raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc

    def __repr__(self) -> str:
        return f"<ResultLines {self._path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def read(self, page: FinishedPage) -> ResultLine | None:
        """Return the line of a page's last record; None when another program has changed it meanwhile.

        Raises:
            StorageError: the file cannot be read.
        """
        return self._parse(page, parse_whole_result)

    def read_text(self, page: FinishedPage) -> PageText | None:
        """Return the text of a page's last record, as `read` does."""
        return self._parse(page, parse_text)

    def _parse(self, page: FinishedPage, parse: Callable[[bytes], _Line]) -> _Line | None:
        try:
            line = parse_first(self._read_line(page.offset), parse)
        except DamagedLineError:
            return None
        return line if line.id == page.id and line.page == page.page else None

    def _read_line(self, offset: int) -> bytes:
        """Return the line that begins at an offset, without its newline."""
        end = -1
        if self._begin <= offset < self._begin + len(self._block):
            end = self._block.find(b"\n", offset - self._begin)
        size = _BLOCK_BYTES
        while end < 0:
            try:
                self._block, self._begin = self._stream.pread(size, offset), offset
            except OSError as exc:
                raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc
            end = self._block.find(b"\n")
            if len(self._block) < size:  # the end of the file
                end = end if end >= 0 else len(self._block)
            size *= 8
        return self._block[offset - self._begin : end]
