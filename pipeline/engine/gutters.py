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

White between the cells of a table is as wide as a gutter, too; `columns.py` tells which gutters separate columns.

Lengths are in type heights of the region (`rows.type_height_px`), about one em, so they hold at any resolution.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pipeline.engine.rows import Box, ByAxis, hull

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

INSET_LEADING: Final = 1.0
"""White between the lines of an inset, in type heights; a short line of it pushes nothing aside by itself."""

MAX_INSET_LINES: Final = 12
"""More lines below each other are a column, not an inset."""


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
    from_top = ByAxis(boxes)
    # One axis per width of a gutter; of several boxes that end there, the right edge of the last.
    edges = {round(box.right / width_px): box.right for box in sorted(boxes, key=lambda box: box.right)}
    headings = [box for box in boxes if _is_heading(box, type_px) and _is_alone(box, boxes)]
    pushed = cache(lambda box: _pushed_edges(box, from_top, MIN_PUSH * type_px))
    for edge in edges.values():
        axis = edge + width_px / 2
        left, right, crossing = _split_at_axis(from_top.boxes, axis, overshoot_px)
        if min(len(left), len(right)) < 2:
            continue
        insets = _find_insets(crossing, axis, type_px, pushed)
        beside = ByAxis(left), ByAxis(right)
        # A table has no insets, so a gutter that such a box ends is a candidate, too.
        for inset in (insets, []) if insets else ([],):
            inside = set(inset)
            ends = [*(box for box in crossing if box not in inside), *headings]
            for gutter in _find_spans(ends, *beside, ByAxis(inset)):
                if gutter.height >= MIN_GUTTER_HEIGHT * type_px:
                    yield gutter


def _split_at_axis(boxes: Sequence[Box], axis: float, overshoot_px: float) -> tuple[list[Box], list[Box], list[Box]]:
    """Return the boxes left of an axis, right of it, and across it, but for the overshoot."""
    left: list[Box] = []
    right: list[Box] = []
    crossing: list[Box] = []
    for box in boxes:
        if box.left + box.right < 2 * axis:
            (left if box.right <= axis + overshoot_px else crossing).append(box)
        else:
            (right if box.left >= axis - overshoot_px else crossing).append(box)
    return left, right, crossing


def _find_spans(ends: Sequence[Box], left: ByAxis, right: ByAxis, insets: ByAxis) -> Iterator[Gutter]:
    """Yield the gutters between boxes that end them, with at least two boxes on both sides."""
    for top, bottom in _free_spans(ends):
        before, after = left.between(top, bottom), right.between(top, bottom)
        if min(len(before), len(after)) > 1:
            yield Gutter(top, bottom, tuple(before), tuple(after), tuple(insets.between(top, bottom)))


def _find_insets(
    crossing: Sequence[Box], axis: float, type_px: float, pushed: Callable[[Box], tuple[float, float]]
) -> list[Box]:
    """Return the boxes that cross an axis and push the columns beside it away, each by itself or with its block."""
    overshoot_px = BOX_OVERSHOOT * type_px
    blocks = split_at_bands(crossing, INSET_LEADING * type_px)
    hulls = {
        box: around for block in blocks if len(block) <= MAX_INSET_LINES for around in [hull(block)] for box in block
    }
    pushing = [
        box
        for box, block in hulls.items()
        for left, right in [pushed(box), pushed(block)]
        if axis <= right + overshoot_px or axis >= left - overshoot_px
    ]
    parts = split_at_bands(list(dict.fromkeys(pushing)), MIN_BAND_HEIGHT * type_px)
    return [box for part in parts if len(part) <= MAX_INSET_LINES for box in part]


def _pushed_edges(box: Box, boxes: ByAxis, min_push_px: float) -> tuple[float, float]:
    """Return the right edge of the column that a box pushes left, and the left edge of the one that it pushes right.

    A column is pushed when a line level with the box ends beside it, and another line of the column would reach into
    the box. Without such a column the edges are infinitely far right and left.
    """
    level = boxes.level_with(box)
    before = [other.right for other in level if other.right <= box.left]
    after = [other.left for other in level if other.left >= box.right]
    left, right = math.inf, -math.inf
    if before:
        column = (other.right for other in boxes.boxes if other.left < max(before))
        left = min((edge for edge in column if box.left + min_push_px < edge < box.right), default=math.inf)
    if after:
        column = (other.left for other in boxes.boxes if other.right > min(after))
        right = max((edge for edge in column if box.left < edge < box.right - min_push_px), default=-math.inf)
    return left, right


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
