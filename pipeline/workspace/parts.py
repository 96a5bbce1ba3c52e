"""The index's part about tiles: where in parts.jsonl the text of each finished tile is."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.records import FileStat, PageId, SourceFile, rfc3339
from pipeline.storage.files import require_descriptor
from pipeline.tiles import Tile
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError, is_intact
from pipeline.workspace.part_lines import Part, parse_part
from pipeline.workspace.paths import PARTS
from pipeline.workspace.positioned import Positioned
from pipeline.workspace.read_position import ReadPosition, Span
from pipeline.workspace.reencoding import split_joined
from pipeline.workspace.source_names import encode_name
from pipeline.workspace.text_proofs import TextProofs

PARTS_SCHEMA: Final = """
CREATE TABLE part (
  id TEXT NOT NULL, tile INTEGER NOT NULL, tiles INTEGER NOT NULL, box TEXT NOT NULL, added TEXT NOT NULL,
  offset INTEGER NOT NULL, source BLOB NOT NULL, page INTEGER NOT NULL, PRIMARY KEY (id, tiles, tile)
) WITHOUT ROWID;
CREATE INDEX part_page ON part (source, page);
"""
FORGET_PARTS: Final = "DELETE FROM part"


class Parts:
    """The finished tiles of pages.

    Args:
        workspace: The directory with parts.jsonl.
        database: The index's.
        proofs: Gets the attempts of the tiles.
        positioned: Whether texts count that have no positions.
    """

    def __init__(self, workspace: Path, database: CacheDatabase, proofs: TextProofs, positioned: Positioned) -> None:
        self._db, self._positioned = database, positioned
        self._proofs = proofs
        self.position = ReadPosition(workspace / PARTS)
        """How far parts.jsonl was read."""

    def __repr__(self) -> str:
        return f"<Parts {self.position!r}>"

    def add(self, part: Part, span: Span) -> None:
        """Apply a line of parts.jsonl; a later line of the same tile replaces an earlier one."""
        self._db.change(
            "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (part.id, part.tile.number, part.tile.of, _box(part.tile), part.added, span.start,
             encode_name(part.source), part.page),
        )  # fmt: skip
        self._proofs.add(part.attempt)
        self.position.add(span)

    def find(self, page_id: PageId, tiles: Sequence[Tile], *, since: str | None = None) -> dict[int, Part]:
        """Return those of a page's tiles that have a text, by number: with the same place in the page.

        Args:
            page_id: Identity of the page's content.
            tiles: All tiles of the page.
            since: Only those of this time (RFC 3339) or later; None for all.

        Raises:
            StorageError: parts.jsonl cannot be read; the tiles must not be sent, and paid for, again.
        """
        rows = self._db.rows(
            "SELECT tile, box, added, offset FROM part WHERE id = ? AND tiles = ?", (page_id, len(tiles))
        )
        found = {}
        for number, box, added, offset in rows:
            if added >= (since or "") and box == _box(tiles[number - 1]):
                part = self._read(offset)
                is_same = part is not None and part.id == page_id and part.tile.box == tiles[number - 1].box
                if part is not None and is_same and self._positioned.covers(part):
                    found[number] = part
        return found

    def count(self, file: SourceFile, page: int, tiles: int) -> int:
        """Return how many tiles of a page have a text, by the file's name and time; for a plan, which reads no file."""
        rows = self._db.rows(
            "SELECT count(*) FROM part WHERE source = ? AND page = ? AND tiles = ? AND added > ? AND added >= ?",
            (encode_name(file.name), page, tiles, _written(file.stat), file.again_before or ""),
        )
        return min(int(rows[0][0]), tiles)

    def _read(self, offset: int) -> Part | None:
        """Return the tile whose line begins at an offset; None when it is gone or damaged."""
        try:
            with self.position.path.open("rb") as file:
                file.seek(offset)
                line = file.readline().removesuffix(b"\n")
            return parse_part(line if is_intact(line) else split_joined(line)[0])
        except (FileNotFoundError, DamagedLineError):
            return None
        except OSError as exc:
            require_descriptor(exc)
            raise StorageError(f"{self.position.path}: {exc.strerror or exc}") from exc


def _box(tile: Tile) -> str:
    return " ".join(map(str, tile.box))


def _written(stat: FileStat | None) -> str:
    """Return when a file was last written, RFC 3339; "~", which is after all moments, for one without a time."""
    if stat is not None:
        with suppress(OverflowError, ValueError, OSError):
            return rfc3339(datetime.fromtimestamp(stat.mtime_ns / 1e9, UTC))
    return "~"
