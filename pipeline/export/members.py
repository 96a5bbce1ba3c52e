"""Which shard each document of an export is in: noted in the destination, so that documents stay where they are."""

import sqlite3
from collections.abc import Iterator
from typing import Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS member (
  document BLOB PRIMARY KEY, split TEXT NOT NULL, shard INTEGER NOT NULL, pages INTEGER NOT NULL,
  export INTEGER NOT NULL
) WITHOUT ROWID;
"""
_PER_INSERT: Final = 1000


class Members:
    """The documents by shard; shards are numbered from 0 within their split.

    Args:
        notes: The destination's database.
        export: Number of this export into the destination.
        pages_per_shard: A shard takes new documents until it holds this many pages.
    """

    def __init__(self, notes: sqlite3.Connection, export: int, pages_per_shard: int) -> None:
        self._notes = notes
        self._export = export
        self._pages_per_shard = pages_per_shard
        notes.executescript(_SCHEMA)
        self._occupied: dict[str, list[int]] = {}
        """Pages by split and shard, of the last export and of the documents that are new."""
        occupied = notes.execute("SELECT split, shard, sum(pages) FROM member GROUP BY 1, 2").fetchall()
        for split, shard, pages in occupied:
            shards = self._occupied.setdefault(split, [])
            shards.extend([0] * (shard + 1 - len(shards)))
            shards[shard] = pages
        self._is_first = not self._occupied
        self._unsaved: list[tuple[bytes, str, int, int, int]] = []

    def __repr__(self) -> str:
        return f"<Members of {sum(map(len, self._occupied.values()))} shards>"

    def assign(self, document: bytes, split: str, pages: int) -> int:
        """Return the number of a document's shard: the one that it is in, or the last one of its split that has room.

        Args:
            document: Its name.
            split: Name of its split, or "".
            pages: Number of its pages.
        """
        shard = self._find(document, split)
        if shard is None:
            occupied = self._occupied.setdefault(split, [0])
            if occupied[-1] >= self._pages_per_shard:
                occupied.append(0)
            shard = len(occupied) - 1
            occupied[shard] += pages
        self._unsaved.append((document, split, shard, pages, self._export))
        if len(self._unsaved) == _PER_INSERT:
            self._save()
        return shard

    def forget_others(self) -> None:
        """Forget the documents that this export has not named."""
        self._save()
        self._notes.execute("DELETE FROM member WHERE export <> ?", (self._export,))

    def shards(self) -> Iterator[tuple[str, int]]:
        """Yield split and number of all shards that hold a document."""
        self._save()
        yield from self._notes.execute("SELECT DISTINCT split, shard FROM member ORDER BY 1, 2").fetchall()

    def _find(self, document: bytes, split: str) -> int | None:
        if self._is_first:
            return None
        query = "SELECT shard FROM member WHERE document = ? AND split = ?"
        row = self._notes.execute(query, (document, split)).fetchone()
        return None if row is None else int(row[0])

    def _save(self) -> None:
        self._notes.executemany("INSERT OR REPLACE INTO member VALUES (?, ?, ?, ?, ?)", self._unsaved)
        self._unsaved.clear()
