"""The pages that have a record, in the order of their names: where each one's last line is, and the line itself."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import StorageError
from pipeline.records import Record, State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.joined_lines import parse_first_record
from pipeline.workspace.lines import DamagedLineError
from pipeline.workspace.paths import RESULTS

_BATCH: Final = 4096
_FINISHED_PAGES: Final = """
SELECT source, page, state, added, in_doubt, id, offset FROM page
WHERE (source, page) > (?, ?) AND offset IS NOT NULL ORDER BY source, page LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class FinishedPage:
    """A page with a record.

    Attributes:
        source: The bytes of the source's name.
        page: 1-based.
        state: Done, duplicate or skipped.
        added: When its last record was added, RFC 3339.
        in_doubt: The service doubts its text.
        id: Identity of its content.
        offset: Of its last line in results.jsonl, in bytes.
    """

    source: bytes
    page: int
    state: State
    added: str
    in_doubt: bool
    id: str
    offset: int


def read_finished_pages(database: CacheDatabase, states: Sequence[State]) -> Iterator[FinishedPage]:
    """Yield the pages that are in one of these states, each once, although the index may change.

    Raises:
        StorageError: the index cannot be read.
    """
    wanted = {state.value: state for state in states}
    after: tuple[bytes, int] = (b"", 0)
    while batch := database.rows(_FINISHED_PAGES, (*after, _BATCH)):
        after = batch[-1][0], batch[-1][1]
        for source, page, state, added, in_doubt, page_id, offset in batch:
            if state in wanted:
                yield FinishedPage(source, page, wanted[state], added, bool(in_doubt), page_id, offset)


class ResultLines:
    """The lines of results.jsonl, which a run may append to meanwhile; a context manager.

    Args:
        workspace: The directory given to `-o`.

    Raises:
        StorageError: the file cannot be read.
    """

    def __init__(self, workspace: Path) -> None:
        self._path = workspace / RESULTS
        try:
            self._file = self._path.open("rb")  # not mapped: another program may truncate it
        except OSError as exc:
            raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc

    def __repr__(self) -> str:
        return f"<ResultLines {self._path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, page: FinishedPage) -> Record | None:
        """Return a page's record; None when another program has changed its line meanwhile.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            self._file.seek(page.offset)
            line = self._file.readline()
        except OSError as exc:
            raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc
        with suppress(DamagedLineError):
            record = parse_first_record(line.removesuffix(b"\n"))
            if record.id == page.id and record.page == page.page:
                return record
        return None
