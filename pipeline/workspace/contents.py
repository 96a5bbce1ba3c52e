"""The index's part about contents: the record that later pages of a content take their text from."""

from pathlib import Path

from pipeline.errors import StorageError
from pipeline.records import PageId, Record
from pipeline.storage.files import require_descriptor
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.joined_lines import parse_first
from pipeline.workspace.line_stream import open_lines
from pipeline.workspace.positioned import Positioned
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.skips import Skips


class Contents:
    """Records by content, and by page.

    Args:
        database: The index's.
        results: The file results.jsonl.
        skips: Which skipped pages this run leaves skipped.
        positioned: Whether texts count that have no positions.
    """

    def __init__(self, database: CacheDatabase, results: Path, skips: Skips, positioned: Positioned) -> None:
        self._db = database
        self._path = results
        self._skips, self._positioned = skips, positioned

    def __repr__(self) -> str:
        return f"<Contents in {self._db!r}>"

    def add(self, page_id: PageId, offset: int, *, leads: bool) -> None:
        """Add a record of a content: its first one, or one that later pages take their text from.

        Args:
            page_id: Identity of the content.
            offset: Of the line in results.jsonl.
            leads: As in `PageRow`: it was sent, again if its content had a record, or reviewed by a person.
        """
        is_new = self._db.change("INSERT OR IGNORE INTO content VALUES (?, ?)", (page_id, offset))
        if not is_new and leads:
            self._db.change("UPDATE content SET offset = ? WHERE id = ?", (offset, page_id))

    def find(self, page_id: PageId) -> Record | None:
        """Return the record of a content that settles its pages; None when there is none, or its line is damaged.

        Raises:
            StorageError: the file cannot be read; the page must not be sent, and paid for, again.
        """
        record = self.find_any(page_id)
        if record is None:
            return None
        is_checked = record.review is not None and record.review.checked is not None
        is_skipped = self._skips.covers(None if is_checked else record.skipped)
        return record if is_skipped and self._positioned.covers(record) else None

    def find_any(self, page_id: PageId) -> Record | None:
        """Return the record of a content, whatever this run asks for; see `find`."""
        rows = self._db.rows("SELECT offset FROM content WHERE id = ?", (page_id,))
        record = self._read(rows[0][0]) if rows else None
        return record if record is not None and record.id == page_id else None

    def find_page(self, source: bytes, page: int) -> Record | None:
        """Return the last record of a page; None when it has none, or its line is damaged; see `find`."""
        rows = self._db.rows("SELECT offset FROM page WHERE source = ? AND page = ?", (source, page))
        return self._read(rows[0][0]) if rows and rows[0][0] is not None else None

    def find_state(self, source: bytes, page: int) -> str | None:
        """Return the state of a page; None for one that is not known."""
        rows = self._db.rows("SELECT state FROM page WHERE source = ? AND page = ?", (source, page))
        return rows[0][0] if rows else None

    def _read(self, offset: int) -> Record | None:
        try:
            with open_lines(self._path) as file:
                file.seek(offset)
                return parse_first(file.readline().removesuffix(b"\n"), parse_record)
        except (FileNotFoundError, DamagedLineError):
            return None
        except OSError as exc:
            require_descriptor(exc)
            raise StorageError(f"{self._path}: {exc.strerror or exc}") from exc
