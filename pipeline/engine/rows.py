"""Rows of a deskewed page: boxes of lines, the page's skew, and which boxes are level with one another.

A scan is skewed by a degree or two, and a curled page by more at one end than at the other. So the boxes are first
deskewed by one angle for the whole page, the median angle of the lines that are long enough to show it. Rows are then
grown from box to box: a box is compared with its nearest neighbour in a row, not with the row as a whole, because the
ends of a curled row are not level with each other while neighbours are.

Vertical writing needs no rules of its own: its page is turned by 90 degrees counter-clockwise, after which its
columns, read from right to left, are rows, read from top to bottom.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.engine.geometry import TALL_ASPECT, height_px
from pipeline.engine.recognition import Point, Quad

ROW_OVERLAP: Final = 0.5
"""Boxes are level when they share at least this part of the smaller height."""

SKEW_ASPECT: Final = 3.0
"""Width / height above which the edges of a line show the page's skew."""


@dataclass(frozen=True, slots=True)
class Box:
    """A line's box on the deskewed page.

    Attributes:
        left: In px, as the other edges.
        index: 0-based, in the order of detection.
        is_prose: Whether the line reads as a part of a sentence; a line of unknown text may.
    """

    left: float
    top: float
    right: float
    bottom: float
    index: int
    is_prose: bool = True

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


def deskew(quads: Sequence[Quad]) -> list[Box]:
    """Return the lines' boxes on the page without skew; a page of vertical writing is turned so that columns are rows.

    A page is vertical when tall boxes have more than half of the area of all boxes.
    """
    skew_rad = _measure_skew_rad(quads)
    boxes = [_box(quad, skew_rad, index) for index, quad in enumerate(quads)]
    tall_px = sum(box.width * box.height for box in boxes if box.height > TALL_ASPECT * box.width)
    if len(boxes) > 1 and tall_px > sum(box.width * box.height for box in boxes) / 2:
        return [Box(box.top, -box.right, box.bottom, -box.left, box.index) for box in boxes]
    return boxes


def group_into_rows(boxes: Iterable[Box]) -> list[list[Box]]:
    """Return the boxes in rows from top to bottom, each row from left to right.

    A box joins the row whose nearest box is level with it; of several such rows, the one whose nearest box is nearest.
    """
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.middle):
        level = [row for row in rows if is_level(_nearest(row, box), box)]
        if level:
            min(level, key=lambda row: _distance(_nearest(row, box), box)).append(box)
        else:
            rows.append([box])
    for row in rows:
        row.sort(key=lambda box: (box.left, box.index))
    return sorted(rows, key=lambda row: sum(box.middle for box in row) / len(row))


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


def _measure_skew_rad(quads: Iterable[Quad]) -> float:
    """Return the median angle of the long lines."""
    angles_rad = []
    for quad in quads:
        top_left, top_right, bottom_right, bottom_left = quad
        along = (top_right[0] + bottom_right[0] - top_left[0] - bottom_left[0]) / 2
        if along > SKEW_ASPECT * height_px(quad):
            rise = (top_right[1] + bottom_right[1] - top_left[1] - bottom_left[1]) / 2
            angles_rad.append(math.atan2(rise, along))
    return statistics.median(angles_rad) if angles_rad else 0.0


def _box(quad: Quad, skew_rad: float, index: int) -> Box:
    cos, sin = math.cos(skew_rad), math.sin(skew_rad)
    turned: list[Point] = [(x * cos + y * sin, y * cos - x * sin) for x, y in quad]
    xs, ys = sorted(x for x, _ in turned), sorted(y for _, y in turned)
    return Box((xs[0] + xs[1]) / 2, (ys[0] + ys[1]) / 2, (xs[2] + xs[3]) / 2, (ys[2] + ys[3]) / 2, index)
