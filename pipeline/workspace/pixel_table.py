"""Which contents have pages of the same pixels: the index's part, and one that a plan keeps for itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pipeline.records import PageId

PIXELS_SCHEMA: Final = """
CREATE TABLE pixels (
  id TEXT PRIMARY KEY, size TEXT NOT NULL, sha256 TEXT, source BLOB NOT NULL, page INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX pixels_size ON pixels (size, sha256);
"""
FORGET_PIXELS: Final = ("DELETE FROM pixels",)
UNREADABLE: Final = ""
"""In place of a hash: the page cannot be compared."""


@dataclass(frozen=True, slots=True)
class UnhashedPage:
    """A page whose pixels are not known yet.

    Attributes:
        id: Identity of its content.
        source: The bytes of its source's name.
        page: 1-based.
    """

    id: PageId
    source: bytes
    page: int


class Database(Protocol):
    """What keeps the table."""

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...

    def change(self, sql: str, parameters: tuple[Any, ...]) -> object:
        """Change the table."""
        ...


class PixelTable:
    """Sizes and hashes of the pixels of pages, by content.

    Args:
        database: Holds the table.
        base: A further table, which is only read; None for none.
    """

    def __init__(self, database: Database, base: "PixelTable | None" = None) -> None:
        self._db = database
        self._base = base

    def __repr__(self) -> str:
        return f"<PixelTable in {self._db!r}>"

    def add(self, page_id: PageId, source: bytes, page: int, pixels: str) -> None:
        """Add a page; a hash that is known stays known.

        Args:
            page_id: Identity of its content.
            source: The bytes of its source's name.
            page: 1-based.
            pixels: "<width>x<height>", or with ":<sha256>".
        """
        size, _, digest = pixels.partition(":")
        self._put(page_id, size, digest or None, source, page)

    def set_hash(self, page: UnhashedPage, size: str, sha256: str) -> None:
        """Note the hash of a page, or that it is `UNREADABLE`."""
        self._put(page.id, size, sha256, page.source, page.page)

    def has_others(self, size: str, page_id: PageId) -> bool:
        """Return whether another content has pages of this size."""
        found = bool(self._db.rows("SELECT 1 FROM pixels WHERE size = ? AND id <> ? LIMIT 1", (size, page_id)))
        return found or (self._base is not None and self._base.has_others(size, page_id))

    def unhashed(self, size: str) -> list[UnhashedPage]:
        """Return the pages of this size whose hash is not known yet: mostly the first one only."""
        rows = self._db.rows("SELECT id, source, page FROM pixels WHERE size = ? AND sha256 IS NULL", (size,))
        found = [UnhashedPage(PageId(row[0]), row[1], row[2]) for row in rows]
        return found + ([each for each in self._base.unhashed(size) if not self._has(each.id)] if self._base else [])

    def find(self, size: str, sha256: str) -> list[PageId]:
        """Return the contents whose pages have these pixels."""
        rows = self._db.rows("SELECT id FROM pixels WHERE size = ? AND sha256 = ?", (size, sha256))
        found = [PageId(row[0]) for row in rows]
        return found + (self._base.find(size, sha256) if self._base is not None else [])

    def _has(self, page_id: PageId) -> bool:
        return bool(self._db.rows("SELECT 1 FROM pixels WHERE id = ? AND sha256 IS NOT NULL", (page_id,)))

    def _put(self, page_id: PageId, size: str, sha256: str | None, source: bytes, page: int) -> None:
        self._db.change(
            "INSERT INTO pixels VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET size = excluded.size, sha256 = coalesce(excluded.sha256, sha256)",
            (page_id, size, sha256, source, page),
        )
