"""The pages of a workspace as the report shows them: those with a record and those that failed, in one order."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.records import Failure, State
from pipeline.workspace.finished_pages import FinishedPage, ResultLines
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import encode_name

_FINISHED: Final = (State.DONE, State.DUPLICATE, State.SKIPPED)


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page with its record, its failure, or neither when its line cannot be read.

    Attributes:
        source: The bytes of the source's name.
        page: 1-based.
        id: Identity of its content; None when the content could not be read.
        state: Any but pending.
        added: When its last line was added, RFC 3339.
        in_doubt: The service doubts its text, and no person has reviewed it.
        is_checked: A person marked its text as checked.
        is_corrected: A person wrote its text.
        line: Its record.
        failure: Why it failed.
    """

    source: bytes
    page: int
    id: str | None
    state: State
    added: str
    in_doubt: bool = False
    is_checked: bool = False
    is_corrected: bool = False
    line: ResultLine | None = None
    failure: Failure | None = None

    @property
    def text(self) -> str:
        """The text as it is now; "" for a page without a record."""
        return "" if self.line is None else self.line.text

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name, as lines do."""
        return self.source


def read_pages(workspace: Path, index: Index) -> Iterator[ReportPage]:
    """Yield the pages that have ended, in the order of the bytes of their sources, then of their numbers.

    Args:
        workspace: The directory.
        index: Of the workspace.

    Raises:
        StorageError: the workspace cannot be read.
    """
    failed = (_failed_page(each.failure) for each in index.worklist())
    yield from heapq.merge(_finished_pages(workspace, index), failed, key=lambda page: (page.source, page.page))


def _finished_pages(workspace: Path, index: Index) -> Iterator[ReportPage]:
    with ExitStack() as stack:
        lines: ResultLines | None = None
        for page in index.finished_pages(_FINISHED):
            if lines is None:  # without a record there may be no file
                lines = stack.enter_context(ResultLines(workspace))
            yield _finished_page(page, lines.read(page))


def _finished_page(page: FinishedPage, line: ResultLine | None) -> ReportPage:
    return ReportPage(
        page.source,
        page.page,
        page.id,
        page.state,
        page.added,
        page.in_doubt,
        page.is_checked,
        page.is_corrected,
        line=line,
    )


def _failed_page(failure: Failure) -> ReportPage:
    source = encode_name(failure.source)
    return ReportPage(source, failure.page, failure.id, failure.state, failure.added, failure=failure)
