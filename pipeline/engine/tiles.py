"""Tiles: a page much taller than wide, such as a long screenshot, is detected in parts of the shape of a page.

Scaled to the size of a detection pass, all of such a page at once has type too small to be seen, and its finest pass
is limited by memory. So it is cut across:

- at a blank row, if there is one near, in the middle of the tallest blank: no line is cut, and the tiles abut;
- elsewhere, as on a photograph or a noisy scan, the tiles overlap by more than a line's height. A line at the cut is
  whole in one of them at least; the parts of it that the other tile shows are dropped when the tiles are joined.

A row is blank when it has no strokes. Edges of cards and rules that run down the page are no strokes: they cross
many rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad

MIN_ASPECT: Final = 4.0
"""Height / width from which a page is detected in tiles; sheets of paper have at most 1.5, most receipts 3."""

_TILE_ASPECT: Final = 2.0
_MIN_TILE_PX: Final = 736
"""Height of a tile: this multiple of its width, and at least the long edge of the first detection pass."""

_SLACK: Final = 0.25
"""A cut is moved to a blank row up to this share of a tile's height above its place."""

OVERLAP_PX: Final = 240
"""Overlap of tiles without a blank row between them: more than a line of type of 150 px with its accents."""

_EDGE_LEVELS: Final = 20
"""Difference of horizontal neighbours, of 255 levels, from which there is a stroke; noise of JPEG is below it."""

_RULE_PX: Final = 96
"""Edges that run straight down for so many rows are rules or edges of pictures, not strokes of type."""

_CUT_OFF_PX: Final = 3.0
"""A box that ends this near to the edge of an overlap may be a part of a line."""

_SAME_SHARE: Final = 0.5
"""Boxes of two tiles are the same line when they share this part of the smaller one's height and width."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of a page: from `top` to `bottom`, in px, the last excluded."""

    top: int
    bottom: int


def detect_in_tiles(pixels: Pixels, detect: Callable[[Pixels], list[Quad]]) -> list[Quad]:
    """Return the boxes of a page's lines, found in tiles if the page is much taller than wide.

    Args:
        pixels: The page.
        detect: Returns the boxes of the lines in a part of the page, in that part's coordinates.
    """
    height, width = pixels.shape[:2]
    if height < max(MIN_ASPECT * width, 2 * _MIN_TILE_PX):
        return detect(pixels)
    tiles = plan_tiles(blank_rows(pixels), max(_MIN_TILE_PX, round(_TILE_ASPECT * width)))
    found = [detect(np.ascontiguousarray(pixels[tile.top : tile.bottom])) for tile in tiles]
    return join_tiles(
        tiles, [[_shifted(quad, tile.top) for quad in quads] for tile, quads in zip(tiles, found, strict=True)]
    )


def plan_tiles(is_blank: NDArray[np.bool_], tile_px: int) -> list[Tile]:
    """Return the tiles of a page from the top: they cover it, and abut at blank rows or overlap.

    Args:
        is_blank: Of each row of the page.
        tile_px: Most rows of a tile; the last one may have a quarter more.
    """
    height = len(is_blank)
    tiles, top = [], 0
    while height - top > tile_px * (1 + _SLACK):
        bottom = top + tile_px
        first = bottom - round(_SLACK * tile_px)
        cut = _middle_of_longest_run(is_blank[first:bottom])
        if cut is None:
            tiles.append(Tile(top, bottom))
            top = bottom - min(OVERLAP_PX, tile_px // 3)
        else:
            tiles.append(Tile(top, first + cut))
            top = first + cut
    return [*tiles, Tile(top, height)]


def join_tiles(tiles: Sequence[Tile], found: Sequence[Sequence[Quad]]) -> list[Quad]:
    """Return the boxes of all tiles, in coordinates of the page, each line once.

    Of two boxes that show the same line in an overlap the one that is not cut off is kept, or the upper one.
    """
    kept = [list(quads) for quads in found]
    for number, (above, below) in enumerate(pairwise(tiles)):
        if above.bottom > below.top:
            kept[number], kept[number + 1] = _join(kept[number], kept[number + 1], (below.top, above.bottom))
    return [quad for quads in kept for quad in quads]


def blank_rows(pixels: Pixels) -> NDArray[np.bool_]:
    """Return for each row of the page whether it has no strokes."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    edges = np.zeros(grey.shape, np.uint8)
    edges[:, 1:] = cv2.absdiff(grey[:, 1:], grey[:, :-1]) >= _EDGE_LEVELS
    rules = cv2.morphologyEx(edges, cv2.MORPH_OPEN, np.ones((_RULE_PX, 1), np.uint8))
    blank: NDArray[np.bool_] = (edges > rules).sum(axis=1) == 0
    return blank


def _join(above: list[Quad], below: list[Quad], overlap: tuple[int, int]) -> tuple[list[Quad], list[Quad]]:
    """Return the boxes of two tiles without those that the other tile shows, and shows better."""
    start, end = overlap
    from_above: set[int] = set()
    from_below: set[int] = set()
    for i, upper in enumerate(above):
        for j, lower in enumerate(below):
            if not _is_same(upper, lower):
                continue
            (_, upper_bottom), (lower_top, _) = _vertical(upper), _vertical(lower)
            is_cut_above, is_cut_below = upper_bottom > end - _CUT_OFF_PX, lower_top < start + _CUT_OFF_PX
            if is_cut_above and not is_cut_below:
                from_above.add(i)
            else:
                from_below.add(j)
    return (
        [quad for i, quad in enumerate(above) if i not in from_above],
        [quad for j, quad in enumerate(below) if j not in from_below],
    )


def _is_same(one: Quad, other: Quad) -> bool:
    return all(
        min(one_end, other_end) - max(one_start, other_start)
        >= _SAME_SHARE * min(one_end - one_start, other_end - other_start)
        for (one_start, one_end), (other_start, other_end) in (
            (_vertical(one), _vertical(other)),
            (_horizontal(one), _horizontal(other)),
        )
    )


def _vertical(quad: Quad) -> tuple[float, float]:
    ys = [y for _, y in quad]
    return min(ys), max(ys)


def _horizontal(quad: Quad) -> tuple[float, float]:
    xs = [x for x, _ in quad]
    return min(xs), max(xs)


def _shifted(quad: Quad, down_px: int) -> Quad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
    return (x0, y0 + down_px), (x1, y1 + down_px), (x2, y2 + down_px), (x3, y3 + down_px)


def _middle_of_longest_run(is_blank: NDArray[np.bool_]) -> int | None:
    """Return the index in the middle of the longest run of blank rows; None when there is none."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], is_blank, [False])).astype(np.int8)))
    starts, ends = steps[::2], steps[1::2]
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    return int((starts[longest] + ends[longest]) // 2)
