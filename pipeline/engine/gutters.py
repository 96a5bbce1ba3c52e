"""White that separates text: bands across a region, and gutters between columns.

A band is a gap in the projection profile of a region onto its vertical axis: no box reaches into it. A gutter is a
vertical strip of white that is ended by the boxes that cross it, as in the search for maximal white rectangles (Breuel
2002, "Two geometric algorithms for layout analysis"). Candidates are the strips that begin at the right edge of a box.
From such an axis all boxes are left of it, right of it, or cross it; the free spans between crossing boxes are the
gutters of that axis.

Two kinds of boxes are exceptions:

- A *heading* is larger than the text and has nothing beside it. It ends the gutters above and below it even when it is
  too short to reach them, because the columns belong to the stories under it.
- An *inset* is a caption or a quotation between two columns. It crosses the axis but does not end the gutter when the
  lines beside it are shorter than the others of their columns, that is, when it pushes the columns aside.

White between the cells of a table is as wide as a gutter, but a table is read row by row. `separates_columns` decides
by the boxes nearest to the gutter on each side, its flanks. *Running text* fills its column: at least half of its
lines are as long as the column is wide, but for a ragged edge. Cells are short, and most of them are level with a
cell on the other side.

Lengths are in type heights of the region (`rows.type_height_px`), about one em, so they hold at any resolution.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.engine.rows import Box, is_level

MIN_GUTTER_WIDTH: Final = 0.2
"""Width of the narrowest gutter, in type heights: the detector's boxes extend beyond their ink on both sides."""

MIN_GUTTER_HEIGHT: Final = 1.6
"""Height of the shortest gutter, in type heights: two rows."""

MIN_BAND_HEIGHT: Final = 2.5
"""Height of white across a region that separates two sections, in type heights: a picture or the end of a section."""

BOX_OVERSHOOT: Final = 0.3
"""Distance by which a box may extend over a gutter's axis, in type heights: columns may be skewed, and boxes extend
beyond their ink."""

HEADING_SCALE: Final = 1.25
"""A heading is at least this many type heights high."""

MIN_HEADING_ASPECT: Final = 2.0
"""Width / height of a heading: the detector's box of a word of one or two characters is higher than that of a line."""

MIN_PUSH: Final = 1.5
"""Distance by which an inset pushes the lines of a column aside, in type heights."""

MAX_INSET_LINES: Final = 12
"""More lines below each other are a column, not an inset."""

MIN_COLUMN_WIDTH: Final = 5.0
"""Width of the narrowest column of running text, in type heights."""

MAX_GUTTER_SHARE: Final = 0.5
"""Width of the widest gutter as a share of the narrower column; white between cells is often wider than the cells."""

MAX_RAGGED: Final = 3.0
MAX_RAGGED_SHARE: Final = 0.2
"""A line of running text is full when it is shorter than its column by at most this many type heights, or by this share
of the column's width, whichever is more."""

MIN_FULL_SHARE: Final = 0.5
"""Share of the lines of running text that are full."""

NEIGHBOURS: Final = 4
COLUMN_WIDTH_QUANTILE: Final = 0.8
"""The width of a column at a line is this quantile of the widths of that line and this many lines above and below:
headings may be wider, and lines beside a picture are shorter."""

TABLE_LEVEL_SHARE: Final = 0.75
"""Share of a table's cells that are level with a cell on the other side."""

AXIS_TOLERANCE: Final = 0.25
"""Distance of the axes of two cells of one row, as a share of the smaller height."""


@dataclass(frozen=True, slots=True)
class Gutter:
    """White between two columns, and the boxes beside it.

    Attributes:
        top: Where the gutter begins, in px.
        bottom: Where it ends, in px.
        left: Boxes left of it.
        right: Boxes right of it.
        insets: Boxes inside it that the columns run around: a picture's caption, a quotation set in large type.
    """

    top: float
    bottom: float
    left: tuple[Box, ...]
    right: tuple[Box, ...]
    insets: tuple[Box, ...]

    @property
    def height(self) -> float:
        """Px over which there are boxes on both sides."""
        lowest = min(max(box.bottom for box in self.left), max(box.bottom for box in self.right))
        return lowest - max(min(box.top for box in self.left), min(box.top for box in self.right))


def split_at_bands(boxes: Sequence[Box], min_height_px: float) -> list[list[Box]]:
    """Return the boxes from top to bottom, split where white of at least this height extends across all of them."""
    parts: list[list[Box]] = []
    bottom = -math.inf
    for box in sorted(boxes, key=lambda box: box.top):
        if box.top - bottom >= min_height_px:
            parts.append([])
        parts[-1].append(box)
        bottom = max(bottom, box.bottom)
    return parts


def find_gutters(boxes: Sequence[Box], type_px: float) -> Iterator[Gutter]:
    """Yield the gutters of a region: for each axis, the spans in which no box crosses it.

    Args:
        boxes: The region's boxes.
        type_px: The region's type height.
    """
    width_px, overshoot_px = MIN_GUTTER_WIDTH * type_px, BOX_OVERSHOOT * type_px
    # One axis per width of a gutter; of several boxes that end there, the right edge of the last.
    edges = {round(box.right / width_px): box.right for box in sorted(boxes, key=lambda box: box.right)}
    headings = [box for box in boxes if _is_heading(box, type_px) and _is_alone(box, boxes)]
    pushed = {box: _pushed_edges(box, boxes, MIN_PUSH * type_px) for box in boxes}
    for edge in edges.values():
        axis = edge + width_px / 2
        left = [box for box in boxes if box.right <= axis + overshoot_px and box.left + box.right < 2 * axis]
        right = [box for box in boxes if box.left >= axis - overshoot_px and box.left + box.right >= 2 * axis]
        crossing = set(boxes).difference(left, right)
        pushing = [
            box for box in crossing if axis <= pushed[box][1] + overshoot_px or axis >= pushed[box][0] - overshoot_px
        ]
        parts = split_at_bands(pushing, MIN_BAND_HEIGHT * type_px)
        insets = [box for part in parts if len(part) <= MAX_INSET_LINES for box in part]
        # A table has no insets, so a gutter that such a box ends is a candidate, too.
        for inset in (insets, []) if insets else ([],):
            for top, bottom in _free_spans([*crossing.difference(inset), *headings]):
                beside = (tuple(box for box in each if top < box.middle < bottom) for each in (left, right, inset))
                gutter = Gutter(top, bottom, *beside)
                if min(len(gutter.left), len(gutter.right)) > 1 and gutter.height >= MIN_GUTTER_HEIGHT * type_px:
                    yield gutter


def separates_columns(gutter: Gutter, type_px: float) -> bool:
    """Return whether a gutter separates columns of text, rather than cells of a table."""
    left = _flank(gutter.left, lambda box: box.right)
    right = _flank(gutter.right, lambda box: -box.left)
    white_px = min(box.left for box in right) - max(box.right for box in left)
    column_px = min(max(box.width for box in flank) for flank in (left, right))
    is_narrow = white_px <= MAX_GUTTER_SHARE * column_px
    if is_narrow and _is_running_text(left, type_px) and _is_running_text(right, type_px):
        return True
    if gutter.insets or white_px < MIN_GUTTER_WIDTH * type_px:
        return False
    few, many = sorted((left, right), key=len)
    level = sum(any(_have_common_axis(box, other) for other in many) for box in few)
    return level < TABLE_LEVEL_SHARE * len(few)


def _pushed_edges(box: Box, boxes: Sequence[Box], min_push_px: float) -> tuple[float, float]:
    """Return the right edge of the column that a box pushes left, and the left edge of the one that it pushes right.

    A column is pushed when a line level with the box ends beside it, and another line of the column would reach into
    the box. Without such a column the edges are infinitely far right and left.
    """
    level = [other for other in boxes if is_level(box, other)]
    before = max((other.right for other in level if other.right <= box.left), default=-math.inf)
    after = min((other.left for other in level if other.left >= box.right), default=math.inf)
    left = (other.right for other in boxes if other.left < before and box.left + min_push_px < other.right < box.right)
    right = (other.left for other in boxes if other.right > after and box.left < other.left < box.right - min_push_px)
    return min(left, default=math.inf), max(right, default=-math.inf)


def _is_heading(box: Box, type_px: float) -> bool:
    return box.height >= HEADING_SCALE * type_px and box.width >= MIN_HEADING_ASPECT * box.height


def _is_alone(box: Box, boxes: Sequence[Box]) -> bool:
    """Return whether no other box overlaps the vertical extent of this one."""
    return sum(other.top < box.bottom and other.bottom > box.top for other in boxes) == 1


def _free_spans(crossing: Sequence[Box]) -> Iterator[tuple[float, float]]:
    """Yield the vertical spans (top, bottom) that no box covers; the first and the last are practically unbounded."""
    bottom = -1e9
    for box in sorted(crossing, key=lambda box: box.top):
        if box.top > bottom:
            yield bottom, box.top
        bottom = max(bottom, box.bottom)
    yield bottom, 1e9


def _flank(boxes: Sequence[Box], nearness: Callable[[Box], float]) -> list[Box]:
    """Return the boxes next to a gutter: those with no level box between them and the gutter."""
    nearest_first = sorted(boxes, key=nearness, reverse=True)
    return [
        box
        for i, box in enumerate(nearest_first)
        if not any(nearness(other) > nearness(box) and is_level(box, other) for other in nearest_first[:i])
    ]


def _is_running_text(flank: Sequence[Box], type_px: float) -> bool:
    """Return whether boxes below each other are running text: wide, and most lines as wide as the column."""
    widths = [box.width for box in sorted(flank, key=lambda box: box.middle)]
    columns = [_column_width(widths[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in range(len(widths))]
    full = sum(
        column >= MIN_COLUMN_WIDTH * type_px and width >= column - max(MAX_RAGGED * type_px, MAX_RAGGED_SHARE * column)
        for width, column in zip(widths, columns, strict=True)
    )
    return full >= MIN_FULL_SHARE * len(flank)


def _column_width(widths: Sequence[float]) -> float:
    return sorted(widths)[int(COLUMN_WIDTH_QUANTILE * len(widths))]


def _have_common_axis(one: Box, other: Box) -> bool:
    return abs(one.middle - other.middle) <= AXIS_TOLERANCE * min(one.height, other.height)
