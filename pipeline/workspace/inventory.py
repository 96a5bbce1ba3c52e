"""The index's part about files that have no result: what their first bytes said, and which pages are pending."""

import os
from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.records import FileStat, SourceFile
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.source_names import encode_name

PAGE: Final = "page"
"""The kind of a file whose first bytes are those of an image."""

_FORGET_RELATIVE: Final = """
DELETE FROM page WHERE state = 'pending' AND substr(source, 1, 1) <> X'2F'
AND CAST(substr(source, 1, 8) AS TEXT) NOT LIKE 'http%://%'
"""
_FORGET_BELOW: Final = "DELETE FROM page WHERE state = 'pending' AND source >= ? AND source < ?"


class Inventory:
    """Kinds of files by path, size and time, and pages by name that a run has not finished.

    Args:
        database: The index's.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._db = database

    def __repr__(self) -> str:
        return f"<Inventory {self._db!r}>"

    def kind_of(self, file: SourceFile) -> str | None:
        """Return the kind that the first bytes of a file told, unless it has changed since; None for unknown."""
        if file.path is None or file.stat is None:
            return None
        rows = self._db.rows("SELECT size_bytes, mtime_ns, kind FROM kind WHERE path = ?", (os.fsencode(file.path),))
        return rows[0][2] if rows and FileStat(rows[0][0], rows[0][1]) == file.stat else None

    def add_kind(self, file: SourceFile, kind: str) -> None:
        """Record what the first bytes of a file told: `PAGE`, or the kind of an ignored file."""
        if file.path is not None and file.stat is not None:
            self._db.change(
                "INSERT OR REPLACE INTO kind VALUES (?, ?, ?, ?)",
                (os.fsencode(file.path), file.stat.size_bytes, file.stat.mtime_ns, kind),
            )

    def mark_pending(self, names: Iterable[str]) -> None:
        """Record that the pages with these source names are not finished; those that have a state keep it."""
        self._db.change_many(
            "INSERT OR IGNORE INTO page VALUES (?, 1, 'pending', 1, '', NULL, 0)",
            [(encode_name(name),) for name in names],
        )

    def mark_rest_pending(self, file: SourceFile, first: int, pages: int) -> None:
        """Record that the pages of a file from `first` on are not finished; those that have a state keep it."""
        self._db.change_many(
            "INSERT OR IGNORE INTO page VALUES (?, ?, 'pending', 1, '', NULL, 0)",
            [(encode_name(file.name), page) for page in range(first, pages + 1)],
        )

    def forget_pending_pages(self, file: SourceFile) -> None:
        """Remove the pages of a file that are not finished: the run that has just finished with it left them out."""
        self._db.change("DELETE FROM page WHERE state = 'pending' AND source = ?", (encode_name(file.name),))

    def forget_pending(self, folders: Sequence[str]) -> None:
        """Remove what is pending below these folders: a run has finished them, so these files are gone.

        Args:
            folders: Source names; "." is the root, below which are all relative names.
        """
        for folder in folders:
            if folder == ".":
                self._db.change(_FORGET_RELATIVE, ())
            else:
                begin = encode_name(folder.rstrip("/") + "/")
                self._db.change(_FORGET_BELOW, (begin, begin[:-1] + b"0"))  # "0" follows "/"
