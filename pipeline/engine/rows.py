"""Rows of a page without skew: boxes of lines, and which boxes are level with one another.

Rows are grown from box to box: a box is compared with its nearest neighbour in a row, not with the row as a whole,
because a page is never quite straight (`skew.py`), and the ends of a row may not be level with each other while
neighbours are.

Vertical writing needs no rules of its own: its page is turned by 90 degrees counter-clockwise, after which its
columns, read from right to left, are rows, read from top to bottom.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.engine.geometry import TALL_ASPECT
from pipeline.engine.recognition import Quad
from pipeline.engine.skew import Skew, measure_skew

ROW_OVERLAP: Final = 0.5
"""Boxes are level when they share at least this part of the smaller height."""


@dataclass(frozen=True, slots=True)
class Box:
    """A line's box on the deskewed page.

    Attributes:
        left: In px, as the other edges.
        index: 0-based, in the order of detection.
        is_prose: Whether the line reads as a part of a sentence; a line of unknown text may.
        is_item: Whether the line begins with a bullet.
    """

    left: float
    top: float
    right: float
    bottom: float
    index: int
    is_prose: bool = True
    is_item: bool = False

    @property
    def width(self) -> float:
        """Size along the line, in px."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Size across the line, in px."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Vertical coordinate of the line's axis, in px."""
        return (self.top + self.bottom) / 2


class ByAxis:
    """Boxes sorted by their axes, so that those at a height are found without a search of all boxes."""

    def __init__(self, boxes: Iterable[Box]) -> None:
        self.boxes = sorted(boxes, key=lambda box: box.middle)
        self._middles = [box.middle for box in self.boxes]
        self._highest_px = max((box.height for box in self.boxes), default=0.0)

    def between(self, top: float, bottom: float) -> list[Box]:
        """Return the boxes whose axes are between two heights, from the top."""
        return self.boxes[bisect_right(self._middles, top) : bisect_left(self._middles, bottom)]

    def level_with(self, box: Box) -> list[Box]:
        """Return the boxes that are level with a box, from the top."""
        reach_px = box.height + self._highest_px + 1
        return [other for other in self.between(box.middle - reach_px, box.middle + reach_px) if is_level(box, other)]


def deskew(quads: Sequence[Quad]) -> list[Box]:
    """Return the lines' boxes on the page without skew; a page of vertical writing is turned so that columns are rows.

    A page is vertical when tall boxes have more than half of the area of all boxes.
    """
    skew = measure_skew(quads)
    boxes = [_box(quad, skew, index) for index, quad in enumerate(quads)]
    tall_px = sum(box.width * box.height for box in boxes if box.height > TALL_ASPECT * box.width)
    if len(boxes) > 1 and tall_px > sum(box.width * box.height for box in boxes) / 2:
        return [Box(box.top, -box.right, box.bottom, -box.left, box.index) for box in boxes]
    return boxes


def group_into_rows(boxes: Iterable[Box]) -> list[list[Box]]:
    """Return the boxes in rows from top to bottom, each row from left to right.

    A box joins the row whose nearest box is level with it; of several such rows, the one whose nearest box is nearest.
    """
    from_top = sorted(boxes, key=lambda box: box.middle)
    highest_px = max((box.height for box in from_top), default=0.0)
    rows: list[list[Box]] = []
    near: list[list[Box]] = []
    for box in from_top:
        # No box from here on reaches a row whose last axis is farther above than the highest box is high.
        near = [row for row in near if row[-1].middle >= box.middle - highest_px]
        level = [row for row in near if is_level(_nearest(row, box), box)]
        if level:
            min(level, key=lambda row: _distance(_nearest(row, box), box)).append(box)
        else:
            rows.append([box])
            near.append(rows[-1])
    for row in rows:
        row.sort(key=lambda box: (box.left, box.index))
    return sorted(rows, key=lambda row: sum(box.middle for box in row) / len(row))


def hull(boxes: Sequence[Box]) -> Box:
    """Return the box around boxes, with the index of the first."""
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    return Box(left, min(box.top for box in boxes), right, max(box.bottom for box in boxes), boxes[0].index)


def is_level(one: Box, other: Box) -> bool:
    """Return whether two boxes share `ROW_OVERLAP` of the smaller height."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared >= ROW_OVERLAP * min(one.height, other.height)


def type_height_px(boxes: Iterable[Box]) -> float:
    """Return the height of most text, at least 1: the median height of the boxes, weighted by their widths."""
    sized = sorted((box.height, box.width) for box in boxes)
    half_px = sum(width for _, width in sized) / 2
    for box_height_px, box_width_px in sized:
        half_px -= box_width_px
        if half_px <= 0:
            return max(1.0, box_height_px)
    return 1.0


def _nearest(row: Sequence[Box], box: Box) -> Box:
    return min(row, key=lambda other: _distance(other, box))


def _distance(one: Box, other: Box) -> tuple[float, float]:
    """Return the distance of two boxes along the row, then across it."""
    return max(one.left - other.right, other.left - one.right, 0.0), abs(one.middle - other.middle)


def _box(quad: Quad, skew: Skew, index: int) -> Box:
    corners = [skew.straighten(corner) for corner in quad]
    xs, ys = sorted(x for x, _ in corners), sorted(y for _, y in corners)
    return Box((xs[0] + xs[1]) / 2, (ys[0] + ys[1]) / 2, (xs[2] + xs[3]) / 2, (ys[2] + ys[3]) / 2, index)
