"""Tiles: the parts of a page that is too long for one call; each is a call, and a line of parts.jsonl, of its own."""

from dataclasses import dataclass
from typing import Literal

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in px of the upright source."""

Joint = Literal["begin", "blank", "overlap"]
"""How a tile follows the one before: not at all; both hold the same blank rows; both may hold the same print."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a page that is sent by itself.

    Attributes:
        number: 1-based, from the top, or from the left.
        of: Number of the page's tiles.
        box: Its place in the page.
        joint: How it follows the tile before it.
    """

    number: int
    of: int
    box: Box
    joint: Joint

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) in the source."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def call_id(self, page: str) -> str:
        """Return the identity of this tile of a page in the ledger, so that a call is for this tile alone."""
        return f"{page}@{self.number}/{self.of}"
