"""Lines found at two scales become one set of lines: pure geometry.

The detector weighs the whole of what it sees. At full scale it overlooks a few words on an otherwise blank page;
scaled down it finds them, but runs small lines of a dense page together. So both are asked. Measured: six short
texts of 26 px type alone on 1240×1754 px, found at 2048 / 736 px: 2 / 6; on a dense page of 2480×3508 px with the
same type, wrong characters at 2048 / 960 px: 0.00 % / 5.8 %.
"""

import itertools
import math
from collections.abc import Sequence

from pipeline.server.recognition import Point, Quad

COVERED = 0.6
"""A coarse line of which the fine lines cover this much was found by them, too."""

SAME_HEIGHT = 0.6
"""Below this part of the coarse line's height, the fine line inside it is one of several rows."""

INSIDE = 0.5
"""A fine line of which this much lies inside a coarse line belongs to it."""


TYPE_PX = 20
"""Height of a line in the fine look. Lines of 12 px x-height on a 4000 px page: at 13 px 0.7 % of the characters are
wrong, at 16 px 0.07 %; more than 30 px makes the detector run lines together across gutters."""

FINE_EDGE_PX = 2048
"""Longest edge of the fine look; 2880 gains nothing and takes twice the time."""

EDGE_STEP_PX = 128
"""Few sizes of input, so that the runtime's compiled kernels are used again."""

SMALLEST_TENTH = 0.1
"""The fine look is for the small lines: it is chosen by the tenth of them that are smallest."""

PARTED = 0.25
"""White between two coarse lines, in heights, that shows them to be two where the fine look ran across it."""


def merge_scales(coarse: Sequence[Quad], fine: Sequence[Quad]) -> list[Quad]:
    """Return each line once: the fine ones, and the coarse ones that they miss or know only in part.

    At full scale the detector runs lines together across a narrow gutter that it sees when scaled down: such a line is
    cut where the coarse ones end.

    Args:
        coarse: Lines found on the scaled-down page, in the page's coordinates.
        fine: Lines found at the full scale.
    """
    fine = [part for quad in fine for part in _cut_at_white(quad, coarse)]
    kept: list[Quad] = []
    replaced: set[int] = set()
    for quad in coarse:
        shares = [(i, intersection_area(quad, other)) for i, other in enumerate(fine)]
        inside = [i for i, shared in shares if shared >= INSIDE * area(fine[i]) > 0]
        if sum(shared for _, shared in shares) >= COVERED * area(quad):
            continue
        if any(_height(fine[i]) < SAME_HEIGHT * _height(quad) for i in inside):
            continue
        kept.append(quad)
        replaced.update(inside)
    return [quad for i, quad in enumerate(fine) if i not in replaced] + kept


def fine_edge_px(page_edge_px: int, coarse: Sequence[Quad]) -> int:
    """Return the longest edge at which the detector sees the page's small lines well, at most `FINE_EDGE_PX`.

    Args:
        page_edge_px: The page's longer edge.
        coarse: Lines found on the scaled-down page, in the page's coordinates; none: they may be too small for that.
    """
    if not coarse:
        return FINE_EDGE_PX
    heights = sorted(_thickness(quad) for quad in coarse)
    small = max(1.0, heights[int(SMALLEST_TENTH * len(heights))])
    steps = math.ceil(page_edge_px * TYPE_PX / small / EDGE_STEP_PX)
    return min(steps * EDGE_STEP_PX, FINE_EDGE_PX)


def _thickness(quad: Quad) -> float:
    return min(math.dist(quad[0], quad[1]), math.dist(quad[0], quad[3]))


def _cut_at_white(quad: Quad, coarse: Sequence[Quad]) -> list[Quad]:
    """Return the parts of a line that stand in several coarse lines, side by side; itself when there is no cut."""
    height = _height(quad)
    spans = sorted(
        _span(quad, other)
        for other in coarse
        if _bounds_meet(quad, other)
        and intersection_area(quad, other) >= INSIDE * area(other) > 0
        and _height(other) * SAME_HEIGHT <= height <= _height(other) / SAME_HEIGHT
    )
    least = PARTED * height / max(1.0, math.dist(quad[0], quad[1]))
    if len(spans) < 2 or any(after - end < least for (_, end), (after, _) in itertools.pairwise(spans)):
        return [quad]
    starts = [0.0, *(start for start, _ in spans[1:])]
    ends = [*(end for _, end in spans[:-1]), 1.0]
    return [_slice(quad, start, end) for start, end in zip(starts, ends, strict=True)]


def _span(quad: Quad, other: Quad) -> tuple[float, float]:
    """Return where another line begins and ends along this one, as parts of its length."""
    (x0, y0), (x1, y1) = quad[0], quad[1]
    length = max(1e-9, (x1 - x0) ** 2 + (y1 - y0) ** 2)
    along = [((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length for x, y in other]
    return min(along), max(along)


def _slice(quad: Quad, start: float, end: float) -> Quad:
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        _along(top_left, top_right, start),
        _along(top_left, top_right, end),
        _along(bottom_left, bottom_right, end),
        _along(bottom_left, bottom_right, start),
    )


def _along(one: Point, other: Point, share: float) -> Point:
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])


def area(polygon: Sequence[Point]) -> float:
    """Return the area of a polygon, whichever way round it goes."""
    return abs(_signed_area(polygon))


def intersection_area(one: Quad, other: Quad) -> float:
    """Return the area that two convex quadrilaterals share."""
    if not _bounds_meet(one, other):
        return 0.0
    turning = 1.0 if _signed_area(other) >= 0 else -1.0
    shared: list[Point] = list(one)
    for start, end in zip(other, other[1:] + other[:1], strict=True):
        shared = _clip(shared, start, end, turning)
    return area(shared)


def _clip(polygon: Sequence[Point], start: Point, end: Point, turning: float) -> list[Point]:
    """Return the part of a polygon on the inner side of an edge (Sutherland and Hodgman, 1974)."""

    def depth(point: Point) -> float:
        across = (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
        return turning * across

    kept: list[Point] = []
    for i, point in enumerate(polygon):
        before = polygon[i - 1]
        inner, outer = depth(point), depth(before)
        if (inner >= 0) != (outer >= 0):
            share = outer / (outer - inner)
            kept.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
        if inner >= 0:
            kept.append(point)
    return kept


def _signed_area(polygon: Sequence[Point]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)) / 2


def _bounds_meet(one: Quad, other: Quad) -> bool:
    return all(
        max(point[axis] for point in a) >= min(point[axis] for point in b)
        for axis in (0, 1)
        for a, b in ((one, other), (other, one))
    )


def _height(quad: Quad) -> float:
    return (abs(quad[3][1] - quad[0][1]) + abs(quad[2][1] - quad[1][1])) / 2
