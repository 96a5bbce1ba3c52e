"""The worklist: pages whose last state is failed or uncertain, each with its line of failures.jsonl."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.records import Failure, PageId
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.failure_lines import parse_whole_failure

_BATCH: Final = 256
_FAILED_PAGES: Final = """
SELECT source, page, retryable, failed_page.offset FROM page JOIN failed_page USING (source, page, added)
WHERE state IN ('failed', 'uncertain') AND (source, page) > (?, ?) ORDER BY source, page LIMIT ?
"""

_FAILED_PAGE: Final = """
SELECT failed_page.offset FROM page JOIN failed_page USING (source, page, added)
WHERE source = ? AND page = ? AND state IN ('failed', 'uncertain')
"""
_LEFT_PAGES: Final = """
SELECT failed_page.offset FROM page JOIN failed_page USING (source, page, added)
WHERE id = ? AND state = 'failed' AND NOT retryable ORDER BY (source = ? AND page = ?) DESC, added LIMIT 1
"""
"""The page's own failure comes before those of its copies, and of these the first."""


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A page whose last state is failed or uncertain.

    Attributes:
        failure: Its line.
        retryable: True when the next run sends the page again without being asked.
    """

    failure: Failure
    retryable: bool


def read_worklist(database: CacheDatabase, failures: Path) -> Iterator[FailedPage]:
    """Yield the failed pages of an index in the order of their names, each once, although the index may change.

    Args:
        database: The index.
        failures: The file failures.jsonl that it has read; pages whose line is damaged are left out.

    Raises:
        StorageError: the index cannot be read.
    """
    after: tuple[bytes, int] = (b"", 0)
    while batch := database.rows(_FAILED_PAGES, (*after, _BATCH)):
        for source, page, retryable, offset in batch:
            after = source, page
            if (failure := _read_failure(failures, offset)) is not None:
                yield FailedPage(failure, retryable=bool(retryable))


def find_left(database: CacheDatabase, failures: Path, page_id: PageId, source: bytes, page: int) -> Failure | None:
    """Return the failure of a content that is left to `retry`, as this page or a copy; None when there is none.

    Raises:
        StorageError: the index cannot be read.
    """
    rows = database.rows(_LEFT_PAGES, (page_id, source, page))
    return _read_failure(failures, rows[0][0]) if rows else None


def find_failure(database: CacheDatabase, failures: Path, source: bytes, page: int) -> Failure | None:
    """Return the failure of a page whose last state is failed or uncertain; None for any other.

    Raises:
        StorageError: the index cannot be read.
    """
    rows = database.rows(_FAILED_PAGE, (source, page))
    return _read_failure(failures, rows[0][0]) if rows else None


def _read_failure(failures: Path, offset: int) -> Failure | None:
    try:
        with failures.open("rb") as file:
            file.seek(offset)
            return parse_whole_failure(file.readline().removesuffix(b"\n"))
    except (OSError, DamagedLineError):
        return None


def find_uncertain(database: CacheDatabase) -> frozenset[PageId]:
    """Return the contents for which a call may have been billed and its answer is lost."""
    rows = database.rows("SELECT DISTINCT id FROM page WHERE state = 'uncertain' AND id IS NOT NULL")
    return frozenset(PageId(row[0]) for row in rows)
