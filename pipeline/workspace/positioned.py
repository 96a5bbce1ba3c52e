"""Which pages that have a text need another call for the positions of their lines: `run --positions`."""

from typing import Final

from pipeline.records import PageId, Record
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.page_rows import lacks_lines
from pipeline.workspace.part_lines import Part

_WITHOUT: Final = "page WHERE lacks_lines AND state IN ('done', 'duplicate')"


class Positioned:
    """The index's part about positions.

    Args:
        database: The index's.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._db = database
        self.are_wanted = False
        """This run asks for positions: a record without them settles no page."""

    def __repr__(self) -> str:
        return f"<Positioned {'wanted' if self.are_wanted else 'not wanted'}>"

    def find_without(self, source: bytes) -> frozenset[int]:
        """Return the numbers of a file's pages, 1-based, that this run sends again."""
        if not self.are_wanted:
            return frozenset()
        rows = self._db.rows(f"SELECT page FROM {_WITHOUT} AND source = ?", (source,))  # noqa: S608 - constants
        return frozenset(row[0] for row in rows)

    def count_without(self) -> int:
        """Return the number of all pages that a run of their files sends again."""
        if not self.are_wanted:
            return 0
        return int(self._db.rows(f"SELECT count(*) FROM {_WITHOUT}")[0][0])  # noqa: S608 - constants

    def covers(self, record: Record | Part) -> bool:
        """Return whether the text of a record, or of a tile, needs no other call."""
        return not self.are_wanted or (
            record.lines is not None if isinstance(record, Part) else not lacks_lines(record)
        )

    def sends_again(self, page_id: PageId) -> bool:
        """Return whether a content that this run sends has a text: without positions."""
        return self.are_wanted and bool(self._db.rows("SELECT 1 FROM content WHERE id = ?", (page_id,)))
