"""Boxes on a straightened page, and the rows that they stand in: pure geometry."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.engine.geometry import TALL, height
from pipeline.engine.recognition import Point, Quad

ROW_OVERLAP = 0.5
"""Boxes that share this much of the smaller one's height stand in one row."""

WIDE = 3.0
"""A box this many times as wide as high shows by its edges how far the page leans."""


@dataclass(frozen=True, slots=True)
class Box:
    """A line's place on the straightened page, in px, and its number in the order of detection (0-based)."""

    left: float
    top: float
    right: float
    bottom: float
    number: int

    @property
    def width(self) -> float:
        """Px along the line."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Px across the line."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """The height on the page of the line's axis."""
        return (self.top + self.bottom) / 2


def straighten(quads: Sequence[Quad]) -> list[Box]:
    """Return the lines' boxes as if the page lay straight and its lines ran from the left.

    A page of vertical writing is turned so that its columns, read from the right, become rows, read from the top.
    """
    lean = _lean(quads)
    boxes = [_box(quad, lean, number) for number, quad in enumerate(quads)]
    tall = sum(box.width * box.height for box in boxes if box.height > TALL * box.width)
    if len(boxes) > 1 and tall > sum(box.width * box.height for box in boxes) / 2:
        return [Box(box.top, -box.right, box.bottom, -box.left, box.number) for box in boxes]
    return boxes


def rows(boxes: Iterable[Box]) -> list[list[Box]]:
    """Return the boxes in rows from top to bottom, each row from left to right.

    A box joins the row in which its nearest neighbour stands level with it, the nearest of such rows: comparing
    neighbours keeps the rows of a page apart that curls or was scanned at an angle.
    """
    found: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.middle):
        level = [row for row in found if is_level(_nearest(row, box), box)]
        if level:
            min(level, key=lambda row: _distance(_nearest(row, box), box)).append(box)
        else:
            found.append([box])
    for row in found:
        row.sort(key=lambda box: (box.left, box.number))
    return sorted(found, key=lambda row: sum(box.middle for box in row) / len(row))


def is_level(one: Box, other: Box) -> bool:
    """Return True when two boxes share `ROW_OVERLAP` of the smaller height."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return shared >= ROW_OVERLAP * min(one.height, other.height)


def type_height(boxes: Iterable[Box]) -> float:
    """Return the height that most text has, at least 1 px: the median, each box by its width."""
    sized = sorted((box.height, box.width) for box in boxes)
    half = sum(width for _, width in sized) / 2
    for height_px, width_px in sized:
        half -= width_px
        if half <= 0:
            return max(1.0, height_px)
    return 1.0


def _nearest(row: Sequence[Box], box: Box) -> Box:
    return min(row, key=lambda other: _distance(other, box))


def _distance(one: Box, other: Box) -> tuple[float, float]:
    """Return how far two boxes are apart along the row, then across it."""
    return max(one.left - other.right, other.left - one.right, 0.0), abs(one.middle - other.middle)


def _lean(quads: Iterable[Quad]) -> float:
    """Return the angle in radians at which the wide lines run."""
    angles = []
    for quad in quads:
        top_left, top_right, bottom_right, bottom_left = quad
        along = (top_right[0] + bottom_right[0] - top_left[0] - bottom_left[0]) / 2
        if along > WIDE * height(quad):
            rise = (top_right[1] + bottom_right[1] - top_left[1] - bottom_left[1]) / 2
            angles.append(math.atan2(rise, along))
    return statistics.median(angles) if angles else 0.0


def _box(quad: Quad, lean: float, number: int) -> Box:
    cos, sin = math.cos(lean), math.sin(lean)
    turned: list[Point] = [(x * cos + y * sin, y * cos - x * sin) for x, y in quad]
    xs, ys = sorted(x for x, _ in turned), sorted(y for _, y in turned)
    return Box((xs[0] + xs[1]) / 2, (ys[0] + ys[1]) / 2, (xs[2] + xs[3]) / 2, (ys[2] + ys[3]) / 2, number)
