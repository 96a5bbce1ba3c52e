"""From the pixels of the image as sent to those of the upright page: scale, padding, corrections and tiles undone.

The upright page is the source in its own resolution, turned as a viewer shows it. Coordinates are continuous: (0, 0) is
the outer corner of the first pixel.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.corrections import Corrections
from pipeline.pixels.affine import IDENTITY, Affine, orienting, shift
from pipeline.pixels.orientation import MIRRORED_AND_TURNED_BY, TURNED_BY, upright_size_px
from pipeline.positions import TextLine, corners_of
from pipeline.records import Prep
from pipeline.tiles import Tile

Size = tuple[int, int]
Bounds = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

_SHRUNK_BY: Final = 0.005
"""A page above the limit of bytes is shrunk in steps, and each step cuts a fraction of a pixel off."""
_SAME_LINE: Final = 0.5
"""Two tiles found the same line when their boxes share at least this much of the smaller one."""


@dataclass(frozen=True, slots=True)
class TileLines:
    """The lines of a tile, in px of the tile as sent."""

    tile: Tile
    prep: Prep | None
    lines: Sequence[TextLine]


def parse_size(pixels: str | None) -> Size | None:
    """Return (width, height) in a record's `pixels`; None when it has none."""
    width, _, height = (pixels or "").partition(":")[0].partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None


def upright_px(prep: Prep, pixels: str | None = None) -> Size:
    """Return (width, height) of the upright page; without `pixels`, scaled pages are known to a pixel or two only."""
    known = (prep.width_px, prep.height_px) if prep.tiles is not None else parse_size(pixels)
    if known is not None:
        return known
    if prep.corrections is not None:  # the centre of the source is in that of the sent image, whose corners are new
        x, y = prep.corrections.source_point(prep.width_px / 2, prep.height_px / 2)
        width, height = upright_size_px((round(2 * x), round(2 * y)), _stored_orientation(prep, prep.corrections))
        return max(1, width), max(1, height)
    return max(1, round(prep.width_px / prep.scale)), max(1, round(prep.height_px / prep.scale))


def to_upright(prep: Prep, page_px: Size) -> Affine:
    """Return the map from the image as sent to the upright page.

    Args:
        prep: The image as sent. The lines of a page in tiles are in the upright page already.
        page_px: (width, height) of the upright page.
    """
    if prep.tiles is not None:
        return IDENTITY
    if prep.corrections is not None:
        turn = _stored_orientation(prep, prep.corrections)
        return Affine(*prep.corrections.to_source).then(orienting(upright_size_px(page_px, turn), turn))
    x_scale, left = _axis(prep.width_px, page_px[0], prep.scale)
    y_scale, top = _axis(prep.height_px, page_px[1], prep.scale)
    return Affine(a=x_scale, c=-left * x_scale, e=y_scale, f=-top * y_scale)


def _stored_orientation(prep: Prep, corrections: Corrections) -> int:
    """Return the EXIF orientation of the image that the file stores, by the turn and the map of the record."""
    a, b, _, d, e, _ = corrections.to_source
    is_mirrored = a * e < b * d
    turned_deg = (prep.rotation_deg - corrections.turned_deg) % 360
    return (MIRRORED_AND_TURNED_BY if is_mirrored else TURNED_BY)[turned_deg]


def _axis(sent_px: int, source_px: int, scale: float) -> tuple[float, int]:
    """Return source pixels per sent pixel, and the padding before the page."""
    content_px = min(sent_px, max(1, round(source_px * scale)))
    if sent_px - content_px <= sent_px * _SHRUNK_BY:
        content_px = sent_px
    return source_px / content_px, (sent_px - content_px) // 2


def move(line: TextLine, by: Affine) -> TextLine:
    """Return a line whose corners are mapped."""
    points = zip(line.box[::2], line.box[1::2], strict=True)
    return replace(line, box=corners_of([number for point in points for number in by.map(*point)]))


def bounds(line: TextLine) -> Bounds:
    """Return the upright rectangle around a line."""
    xs, ys = line.box[::2], line.box[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def extent_px(lines: Iterable[TextLine]) -> Size:
    """Return (width, height) that hold all lines, at least 1."""
    found = [bounds(line) for line in lines]
    right, bottom = (max((each[side] for each in found), default=1.0) for side in (2, 3))
    return max(1, math.ceil(right)), max(1, math.ceil(bottom))


def join_tile_lines(tiles: Sequence[TileLines]) -> tuple[TextLine, ...]:
    """Return the lines of a page from those of its tiles; a line that two tiles found is kept once.

    Args:
        tiles: In their order.

    Returns:
        Lines in px of the upright page.
    """
    joined: list[TextLine] = []
    for each in tiles:
        left, top, _, _ = each.tile.box
        page = IDENTITY if each.prep is None else to_upright(each.prep, each.tile.size_px)
        lines = [move(line, page.then(shift(left, top))) for line in each.lines]
        joined = _join(joined, lines) if each.tile.joint == "overlap" else [*joined, *lines]
    return tuple(joined)


def _join(joined: Sequence[TextLine], lines: Iterable[TextLine]) -> list[TextLine]:
    """Add the lines of a tile; of a line that is there already, the reading with the larger box is kept."""
    result = list(joined)
    for line in lines:
        same = next((at for at, former in enumerate(joined) if _are_same(former, line)), None)
        if same is None:
            result.append(line)
        elif _area(bounds(line)) > _area(bounds(result[same])):
            result[same] = line
    return result


def _are_same(one: TextLine, other: TextLine) -> bool:
    a, b = bounds(one), bounds(other)
    shared = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    if shared[0] >= shared[2] or shared[1] >= shared[3]:
        return False
    return _area(shared) >= _SAME_LINE * min(_area(a), _area(b))


def _area(box: Bounds) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
