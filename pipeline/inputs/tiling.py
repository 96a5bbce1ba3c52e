"""How a page that is too long for one call is cut into tiles, along its long edge.

The number of tiles follows from the page's size alone, so that a plan need not decode it. Where they end also depends
on what is printed: two tiles share a blank band where there is one, and else a strip that holds a line of text whole.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.inputs.fit import MAX_PIXELS, MIN_LEGIBLE_EDGE_PX, is_illegible, require_legible
from pipeline.tiles import Box, Joint, Tile
from pipeline.wire import Limits

ELONGATED: Final = 3
"""A page is cut when it is longer than this many times its width and would be scaled below `_SHRUNK_SCALE`. No format
of paper is: A4 has 1.41, legal 1.65, two pages side by side 1.41."""
_SHRUNK_SCALE: Final = 0.5
"""Measured with our engine on tiles 4000 px long: type that is 16, 12 or 10 px high when sent has an error rate below
0.4 % in Chinese and of 0 % in English; at 8 px 2.3 % and 0.1 %; at 6.4 px 8 % and 0.3 %. The browsers' type of 16 px
suffers from half its size on, and that of a phone's screenshot, 32 px and more, from a third on."""

TILE_SCALE: Final = 0.75
"""Least scale of a tile, as far as its width allows: small type of a web page, 13 px, is then sent at 10 px. A larger
scale gained nothing and costs more calls."""

_OVERLAP_SHARE: Final = 1 / 8
_MIN_OVERLAP_PX: Final = 160
"""A line of text as high as an eighth of the page's width is whole in one of two tiles."""
_WIDE_OVERLAP_SHARE: Final = 1 / 4
_MIN_WIDE_OVERLAP_PX: Final = 320
"""Side by side, tiles share a strip that holds a long word."""
_MAX_OVERLAP_SHARE: Final = 1 / 8
"""Of a tile's length."""

_QUIET_PX: Final = 6
"""Least height of a blank band: of that between two lines of a web page."""
_WIDE_QUIET_PX: Final = 24
"""Least width of a blank band: of a gutter, which is wider than the gap between two words."""
_SEARCH_PX: Final = 400
_MARGIN_PX: Final = 64
"""A tile keeps no more of a blank band."""

Bands = Sequence[tuple[int, int]]
"""Blank bands as (begin, end) along the long edge, in px of the page."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Into how many tiles a page is cut, and how long these are; px are those of the upright page.

    Attributes:
        size_px: (width, height) of the page.
        number: Of tiles, at least 2.
        tile_px: Greatest length of a tile along the long edge.
        overlap_px: Length that two tiles share where no blank band is found.
    """

    size_px: tuple[int, int]
    number: int
    tile_px: int
    overlap_px: int

    @property
    def is_tall(self) -> bool:
        """True when the tiles lie one below the other, false when side by side."""
        return self.size_px[1] >= self.size_px[0]

    @property
    def length_px(self) -> int:
        """The page's long edge."""
        return max(self.size_px)

    @property
    def quiet_px(self) -> int:
        """Least length of a blank band in which two tiles may meet."""
        return _QUIET_PX if self.is_tall else _WIDE_QUIET_PX

    def box(self, begin: int, end: int) -> Box:
        """Return the part of the page between two places along the long edge."""
        return (0, begin, self.size_px[0], end) if self.is_tall else (begin, 0, end, self.size_px[1])


def plan_cuts(size_px: tuple[int, int], limits: Limits, max_pixels: int = MAX_PIXELS) -> Cuts | None:
    """Return how a page is cut; None for a page that one call can read.

    Args:
        size_px: (width, height) of the upright page, each >= 1.
        limits: What the service accepts.
        max_pixels: Most pixels that are decoded.

    Raises:
        DecompressionBombError: the header announces more than `max_pixels`.
        UnfittableImageError: the page is too small to show a character.
    """
    require_legible(size_px, max_pixels)
    short_px, long_px = sorted(size_px)
    scale = limits.max_edge_px / long_px
    scaled = max(1, round(size_px[0] * scale)), max(1, round(size_px[1] * scale))
    if scale >= _SHRUNK_SCALE or not (is_illegible(scaled, scale) or long_px > ELONGATED * short_px):
        return None
    least_scale = max(TILE_SCALE, MIN_LEGIBLE_EDGE_PX / short_px)  # a hairline must not be scaled below what is legible
    tile_px = int(limits.max_edge_px / min(1, least_scale, limits.max_edge_px / short_px))
    is_tall = size_px[1] >= size_px[0]
    share, least = (_OVERLAP_SHARE, _MIN_OVERLAP_PX) if is_tall else (_WIDE_OVERLAP_SHARE, _MIN_WIDE_OVERLAP_PX)
    overlap_px = min(max(least, round(short_px * share)), int(tile_px * _MAX_OVERLAP_SHARE))
    number = math.ceil((long_px - overlap_px) / (tile_px - overlap_px))
    return Cuts(size_px, number, tile_px, overlap_px) if number > 1 else None


def count_tiles(size_px: tuple[int, int], limits: Limits, max_pixels: int = MAX_PIXELS) -> int:
    """Return the number of calls that a page of this size needs; the arguments and errors are those of `plan_cuts`."""
    cuts = plan_cuts(size_px, limits, max_pixels)
    return 1 if cuts is None else cuts.number


def place_tiles(cuts: Cuts, find_bands: Callable[[int, int], Bands]) -> tuple[Tile, ...]:
    """Return the tiles of a page: as even as blank bands allow, none longer than `tile_px`, together the whole page.

    Args:
        cuts: How many there are.
        find_bands: Returns the blank bands between two places along the long edge.
    """
    tiles: list[Tile] = []
    begin = 0
    joint: Joint = "begin"
    for left in range(cuts.number - 1, 0, -1):
        end, next_begin, next_joint = _place_joint(cuts, begin, left, find_bands)
        tiles.append(Tile(len(tiles) + 1, cuts.number, cuts.box(begin, end), joint))
        begin, joint = next_begin, next_joint
    tiles.append(Tile(cuts.number, cuts.number, cuts.box(begin, cuts.length_px), joint))
    return tuple(tiles)


def _place_joint(cuts: Cuts, begin: int, left: int, find_bands: Callable[[int, int], Bands]) -> tuple[int, int, Joint]:
    """Return where a tile ends, where the next one begins, and what they share.

    Args:
        cuts: Of the page.
        begin: Where the tile begins.
        left: Number of tiles after this one.
        find_bands: As for `place_tiles`.
    """
    even_px = -(-(cuts.length_px - begin + left * cuts.overlap_px) // (left + 1))
    end = min(begin + even_px, begin + cuts.tile_px)
    centre = end - cuts.overlap_px // 2
    # From here at the earliest, the tiles that are left reach the page's end; no tile is much shorter than the others.
    earliest = cuts.length_px - left * cuts.tile_px + (left - 1) * cuts.overlap_px
    earliest = max(earliest, begin + cuts.quiet_px, centre - cuts.tile_px // 4)
    latest = min(begin + cuts.tile_px, centre + cuts.tile_px // 4)
    bands: Bands = ()
    for reach in (_SEARCH_PX, cuts.tile_px):  # nearly every page has one nearby
        window = max(earliest, centre - reach), min(latest, centre + reach)
        bands = [(max(first, window[0]), min(last, window[1])) for first, last in find_bands(*window)]
        bands = [(first, last) for first, last in bands if last - first >= cuts.quiet_px]
        if bands:
            break
    else:
        return end, end - cuts.overlap_px, "overlap"
    first, last = min(bands, key=lambda band: max(band[0] - centre, centre - band[1], 0))
    middle = min(max(centre, first + _MARGIN_PX), max(first + _MARGIN_PX, last - _MARGIN_PX))
    return min(last, middle + _MARGIN_PX), max(first, middle - _MARGIN_PX), "blank"
