"""At which scales to look for lines, and how what each look found becomes one set of lines: pure geometry.

The detector weighs the whole of what it sees. At full scale it overlooks a few words on an otherwise blank page;
scaled down it finds them, but runs small lines of a dense page together. So it looks at the page as a whole first, and
closer as long as the lines are small.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from pipeline.server.recognition import Point, Quad

COVERED = 0.6
"""A coarse line of which the fine lines cover this much was found by them, too."""

SAME_HEIGHT = 0.6
"""Below this part of the coarse line's height, the fine line inside it is one of several rows."""

INSIDE = 0.5
"""A fine line of which this much lies inside a coarse line belongs to it."""


COARSE_EDGE_PX = 736
"""Longest edge of the first look: RapidOCR's own number, for what stands alone on a page."""

SEEN_PX = 16
"""Least thickness of a line that was seen well, in px of the look. Smaller type gives lines as thick, or runs together:
type of 12 px is found whole as lines of 16 px, of 8 px as lines of 13 to 16, of 4 px as blots
of 13. At 15, footnotes come as high as the text."""

FINER = 2.0
"""From look to look; type of more than 30 px makes the detector run lines together across gutters."""

LARGEST_PX = 6_300_000
"""Area of the finest look: an A4 page at 250 dpi; memory and time go with it."""

LEAST_FINER = 1.25
"""A look at less than so much more shows nothing new."""

MOST_ENLARGED = 2.0
"""Beyond the page's own scale there is no more to see."""

EDGE_STEP_PX = 32
"""The detector's input comes in such steps."""

SMALLEST_TENTH = 0.1
"""Whether to look again is told by the tenth of the lines that are smallest."""


def merge_looks(coarse: Sequence[Quad], fine: Sequence[Quad]) -> list[Quad]:
    """Return each line once: the fine ones, and the coarse ones that they miss or know only in part.

    Args:
        coarse: Lines of the looks so far, in the page's coordinates.
        fine: Lines of a closer look.
    """
    kept: list[Quad] = []
    replaced: set[int] = set()
    for quad in coarse:
        shares = [(i, shared) for i, other in enumerate(fine) if (shared := intersection_area(quad, other))]
        inside = [i for i, shared in shares if shared >= INSIDE * area(fine[i]) > 0]
        if sum(shared for _, shared in shares) >= COVERED * area(quad):
            continue
        if any(_height(fine[i]) < SAME_HEIGHT * _height(quad) for i in inside):
            continue
        kept.append(quad)
        replaced.update(inside)
    return [quad for i, quad in enumerate(fine) if i not in replaced] + kept


def finer_edge_px(size_px: tuple[int, int], edge_px: int, found: Sequence[Quad]) -> int | None:
    """Return the longest edge at which to look again, None when the lines were seen well or there is no more to see.

    Args:
        size_px: The page's width and height.
        edge_px: Its longest edge in the last look.
        found: Lines that were found so far, in the page's coordinates; none: they may be too small for that.
    """
    longest, shortest = max(size_px), max(1, min(size_px))
    if found:
        thicknesses = sorted(_thickness(quad) for quad in found)
        if thicknesses[int(SMALLEST_TENTH * len(thicknesses))] * edge_px / longest >= SEEN_PX:
            return None
    finest = min(MOST_ENLARGED * longest, math.sqrt(LARGEST_PX * longest / shortest))
    finer = int(min(FINER * edge_px, finest) / EDGE_STEP_PX) * EDGE_STEP_PX
    return finer if finer >= LEAST_FINER * edge_px else None


def _thickness(quad: Quad) -> float:
    return min(math.dist(quad[0], quad[1]), math.dist(quad[0], quad[3]))


def slice_quad(quad: Quad, start: float, end: float) -> Quad:
    """Return what of a line lies between two parts of its length, each in [0, 1]."""
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
    left, top, right, bottom = _bounds(one)
    other_left, other_top, other_right, other_bottom = _bounds(other)
    return left <= other_right and other_left <= right and top <= other_bottom and other_top <= bottom


@lru_cache(maxsize=4096)
def _bounds(quad: Quad) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    return min(xs), min(ys), max(xs), max(ys)


def _height(quad: Quad) -> float:
    return (abs(quad[3][1] - quad[0][1]) + abs(quad[2][1] - quad[1][1])) / 2
