"""Which pages that an earlier run skipped need nothing more: those that this run's settings skip, too."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from pipeline.skipped import BLANK, SMALLER, Skipped
from pipeline.workspace.cache_database import CacheDatabase

SKIPS_SCHEMA: Final = """
CREATE TABLE skipped_page (
  source BLOB NOT NULL, page INTEGER NOT NULL, reason TEXT NOT NULL, measure REAL NOT NULL, PRIMARY KEY (source, page)
) WITHOUT ROWID;
"""
FORGET_SKIPS: Final = ("DELETE FROM skipped_page",)


@dataclass(frozen=True, slots=True)
class SkipRule:
    """The settings by which a run skips pages.

    Attributes:
        skips_blank: `--skip-blank`.
        smaller_px: `--skip-smaller`; 0 for none.
    """

    skips_blank: bool
    smaller_px: int

    def covers(self, skipped: Skipped) -> bool:
        """Return whether a run with these settings leaves a page skipped that was skipped for this reason."""
        match skipped.reason:
            case reason if reason == BLANK:
                return self.skips_blank
            case reason if reason == SMALLER:
                return skipped.measure < self.smaller_px
            case _:
                return False


class Skips:
    """The index's part about skipped pages.

    Args:
        database: The index's.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._db = database
        self.rule: SkipRule | None = None
        """By this rule, skipped pages are settled; None settles all of them."""

    def __repr__(self) -> str:
        return f"<Skips by {self.rule}>"

    def add(self, source: bytes, page: int, skipped: Skipped) -> None:
        """Record why a page was skipped."""
        row = (source, page, skipped.reason, skipped.measure)
        self._db.change("INSERT OR REPLACE INTO skipped_page VALUES (?, ?, ?, ?)", row)

    def forget(self, source: bytes, page: int) -> None:
        """Forget why a page was skipped: a person has checked that it has no text, so that it stays skipped."""
        self._db.change("DELETE FROM skipped_page WHERE source = ? AND page = ?", (source, page))

    def find(self, source: bytes) -> dict[int, Skipped]:
        """Return why pages of a file were skipped when they were, by their 1-based number."""
        rows = self._db.rows("SELECT page, reason, measure FROM skipped_page WHERE source = ?", (source,))
        return {page: Skipped(reason, measure) for page, reason, measure in rows}

    def are_settled(self, source: bytes) -> bool:
        """Return whether all pages of a file that are skipped now stay so."""
        if self.rule is None:
            return True
        rows = self._db.rows(
            "SELECT reason, measure FROM skipped_page JOIN page USING (source, page)"
            " WHERE source = ? AND state = 'skipped'",
            (source,),
        )
        return all(self.rule.covers(Skipped(*row)) for row in rows)

    def count(self, source: bytes) -> Counter[str]:
        """Return the number of pages of a file that are skipped now, by reason."""
        rows = self._db.rows(
            "SELECT reason, count(*) FROM skipped_page JOIN page USING (source, page)"
            " WHERE source = ? AND state = 'skipped' GROUP BY reason",
            (source,),
        )
        return Counter(dict(rows))

    def find_now(self, source: bytes, page: int) -> Skipped | None:
        """Return why a page is skipped now; None when it is not."""
        rows = self._db.rows(
            "SELECT reason, measure FROM skipped_page JOIN page USING (source, page)"
            " WHERE source = ? AND page = ? AND state = 'skipped'",
            (source, page),
        )
        return Skipped(*rows[0]) if rows else None

    def is_settled(self, source: bytes, page: int) -> bool:
        """Return whether a page has a text, or is skipped now and stays so."""
        return self.covers(self.find_now(source, page))

    def covers(self, skipped: Skipped | None) -> bool:
        """Return whether a record settles its page: one with a text, or one of a page that stays skipped."""
        return skipped is None or self.rule is None or self.rule.covers(skipped)
