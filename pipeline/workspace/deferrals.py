"""The index's part about pages that a shard has left to another one: pending, and not sent by the next run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.records import State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.page_rows import PageRow
from pipeline.workspace.paths import DEFERRED
from pipeline.workspace.read_position import ReadPosition

_BATCH: Final = 500
IS_DEFERRED: Final = "state = 'pending' AND NOT retryable"
"""Of a row of the table `page`."""


class Deferrals:
    """Pages that were left to other shards.

    Args:
        workspace: The directory with deferred.jsonl.
        database: The index's.
    """

    def __init__(self, workspace: Path, database: CacheDatabase) -> None:
        self._db = database
        self.position = ReadPosition(workspace / DEFERRED)
        """How far deferred.jsonl was read."""
        self.are_settled = False
        """True in a run of a shard: a page whose claim stands needs no further look."""

    def __repr__(self) -> str:
        return f"<Deferrals {self.position!r}>"

    def settles(self, state: str, *, retryable: bool) -> bool:
        """Return whether a page of this state was left and stays left."""
        return self.are_settled and state == State.PENDING and not retryable

    def is_left(self, row: PageRow) -> bool:
        """Return whether a page of this content was left."""
        found = f"SELECT 1 FROM page WHERE source = ? AND page = ? AND id = ? AND {IS_DEFERRED}"  # noqa: S608
        return bool(self._db.rows(found, (row.source, row.page, row.id)))

    def has_outcome(self, page_id: str) -> bool:
        """Return whether a page of this content has a record or has failed here, so that its claim may end."""
        found = """SELECT 1 FROM content WHERE id = ?1
        UNION ALL SELECT 1 FROM page WHERE id = ?1 AND state IN ('failed', 'uncertain')"""
        return bool(self._db.rows(found, (page_id,)))

    def replaces(self, row: PageRow) -> bool:
        """Return whether a line of deferred.jsonl says more than what is known of its page."""
        found = "SELECT added, state, id FROM page WHERE source = ? AND page = ?"
        rows = self._db.rows(found, (row.source, row.page))
        if not rows:
            return True
        added, state, page_id = rows[0]
        has_text = page_id == row.id and state in {State.DONE, State.DUPLICATE, State.SKIPPED}
        return bool(added <= row.added) and not has_text

    def pages(self) -> Iterator[list[tuple[bytes, int, str]]]:
        """Yield source, number and content of the pages that were left, in groups."""
        last: tuple[bytes, int] = (b"", 0)
        query = (
            f"SELECT source, page, id FROM page WHERE (source, page) > (?, ?) AND {IS_DEFERRED}"  # noqa: S608
            f" ORDER BY source, page LIMIT {_BATCH}"
        )
        while rows := self._db.rows(query, last):
            last = rows[-1][:2]
            yield rows

    def reopen(self, pages: Sequence[tuple[bytes, int, str]]) -> None:
        """Let the run look again at pages whose content no other shard holds any more."""
        again = "UPDATE page SET retryable = 1 WHERE source = ? AND page = ? AND id = ? AND state = 'pending'"
        self._db.change_many(again, pages)
