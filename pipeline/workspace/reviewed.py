"""The index's part about pages that a person has reviewed: their texts stand, whatever a run asks for."""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

from pipeline.records import PageId, Record, SourceFile
from pipeline.review import CORRECTION
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.contents import Contents
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.result_lines import ResultHead
from pipeline.workspace.reviews import keep_review
from pipeline.workspace.source_names import encode_name

REVIEWED_SCHEMA: Final = """
CREATE INDEX reviewed_page ON page (source, page) WHERE is_checked OR is_corrected;
"""
_WITH_COPIES: Final = (
    "CREATE TEMP TABLE content_page (of TEXT, source BLOB, page INTEGER, PRIMARY KEY (of, source, page)) WITHOUT ROWID",
    """
    INSERT INTO content_page SELECT id, source, page FROM page WHERE id IN (
      SELECT id FROM page WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1
    )
    """,
    """
    INSERT OR IGNORE INTO content_page SELECT own.id, page.source, page.page
    FROM pixels AS own JOIN pixels AS other USING (size, sha256) JOIN page ON page.id = other.id
    WHERE own.id <> other.id AND own.sha256 <> ''
    """,
)
"""Pages that share their content, or their pixels, with others: an index of all pages would cost every run."""
_REVIEWED: Final = "page WHERE (is_checked OR is_corrected)"


class Reviewed:
    """Pages whose text a person wrote or marked as checked.

    Args:
        database: The index's.
        contents: Reads their records.
    """

    def __init__(self, database: CacheDatabase, contents: Contents) -> None:
        self._db = database
        self._contents = contents
        self._has_copies = False
        self.are_sent_again = False
        """`--again` includes them."""

    def __repr__(self) -> str:
        return f"<Reviewed, {'sent' if self.are_sent_again else 'not sent'} again>"

    @cached_property
    def _are_any(self) -> bool:
        """Whether the workspace has any: a run reviews none, so that it asks once."""
        return bool(self._db.rows(f"SELECT 1 FROM {_REVIEWED} LIMIT 1"))  # noqa: S608 - a constant

    def sources(self) -> Iterator[tuple[bytes, int]]:
        """Yield the files with such pages, and how many."""
        after = b""
        query = f"SELECT source, count(*) FROM {_REVIEWED} AND source > ? GROUP BY source ORDER BY source LIMIT 1000"  # noqa: S608
        while rows := self._db.rows(query, (after,)):
            yield from rows
            after = rows[-1][0]

    def find_copies(self, page_id: PageId) -> list[tuple[bytes, int]]:
        """Return the pages of a content that others share, by content or by pixels: sources and numbers."""
        if not self._has_copies:
            for statement in _WITH_COPIES:
                self._db.change(statement, ())
            self._has_copies = True
        return self._db.rows("SELECT source, page FROM content_page WHERE of = ?", (page_id,))

    def is_recent(self, added: str, file: SourceFile, *, is_reviewed: bool) -> bool:
        """Return whether a record of this moment is as recent as asked for; `--again` leaves reviewed texts alone."""
        is_kept = is_reviewed and not self.are_sent_again
        return file.again_before is None or added >= file.again_before or is_kept

    def is_as_asked(self, record: Record, file: SourceFile) -> bool:
        """Return whether a record is as recent as asked for; see `is_recent`."""
        return self.is_recent(record.added, file, is_reviewed=is_reviewed(record))

    def keep(self, record: Record, file: SourceFile) -> Record:
        """Return a record that is about to be added, with the reviewed text that its page keeps.

        Args:
            record: Of a page that was read again, or copied.
            file: Of the page.
        """
        kept = self._find_kept(record, file)
        return record if kept is None else keep_review(record, kept)

    def _find_kept(self, record: Record, file: SourceFile) -> Record | None:
        if not self._are_any or (self.are_sent_again and file.again_before is not None):
            return None
        found = self._contents.find_page(encode_name(record.source), record.page)
        if (found is None or found.id != record.id) and record.again:
            found = self._contents.find_any(record.id)
        return found if found is not None and found.id == record.id and is_reviewed(found) else None


def is_reviewed(record: Record | ResultHead | PageText) -> bool:
    """Return whether a person wrote a record's text or marked it as checked."""
    return record.text_from == CORRECTION or (record.review is not None and record.review.checked is not None)
