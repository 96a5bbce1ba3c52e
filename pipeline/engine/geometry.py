"""Quadrilaterals, in which lines stand: pure geometry."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.engine.recognition import Line, Point, Quad

TALL = 1.5
"""A box this many times as high as wide is a column of vertical writing."""


def length(quad: Quad) -> float:
    """Return how far a line reaches along its upper edge."""
    return math.dist(quad[0], quad[1])


def height(quad: Quad) -> float:
    """Return how far a line reaches along its left edge."""
    return math.dist(quad[0], quad[3])


def thickness(quad: Quad) -> float:
    """Return the height of a line's type, whether it lies or stands."""
    return min(length(quad), height(quad))


def is_tall(quad: Quad) -> bool:
    """Return whether a line stands: a column of vertical writing, or words turned on their side."""
    return height(quad) >= TALL * length(quad)


def slice_quad(quad: Quad, start: float, end: float) -> Quad:
    """Return what of a line lies between two parts of its length, each in [0, 1]."""
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        _along(top_left, top_right, start),
        _along(top_left, top_right, end),
        _along(bottom_left, bottom_right, end),
        _along(bottom_left, bottom_right, start),
    )


def area(quad: Quad) -> float:
    """Return the area, whichever way round the corners go."""
    return float(shapely.area(_polygons([quad])[0]))


def shared_areas(quads: Sequence[Quad], others: Sequence[Quad]) -> NDArray[np.float64]:
    """Return (quads, others): the area that each shares with each, 0 for most lines of a page."""
    one, other = _polygons(quads), _polygons(others)
    areas = np.zeros((len(one), len(other)))
    near = tuple(shapely.STRtree(other).query(one))
    areas[near] = shapely.area(shapely.intersection(one[near[0]], other[near[1]]))
    return areas


def _polygons(quads: Sequence[Quad]) -> NDArray[np.object_]:
    # The hull is a polygon that GEOS takes, in whatever order the corners come.
    corners = np.array(quads, np.float64).reshape(-1, 4, 2)
    hulls: NDArray[np.object_] = shapely.convex_hull(shapely.linestrings(corners))
    return hulls


def _along(one: Point, other: Point, share: float) -> Point:
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])


@dataclass(frozen=True, slots=True)
class RotatedRectangle:
    """A rectangle that stands at an angle.

    Attributes:
        x_px: Of its centre.
        y_px: Of its centre; y grows downwards.
        width_px: Along the line, in the direction of reading.
        height_px: Across the line.
        angle_deg: In (-180, 180]: turning an upright rectangle clockwise about its centre by so much gives this one.
            0 is a line that is read from left to right, 90 one that is read downwards, as on a page that was turned
            clockwise.
    """

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    angle_deg: float


def place_on_sent_image(lines: Iterable[Line], turn_deg: int, upright_size_px: tuple[int, int]) -> tuple[Line, ...]:
    """Return the lines with their corners on the image as it was sent, none of them outside it.

    Args:
        lines: Their corners stand on the upright page.
        turn_deg: Clockwise turn that made the sent image upright: 0, 90, 180 or 270.
        upright_size_px: (width, height) of the upright page.
    """
    return tuple(
        msgspec.structs.replace(line, corners=_place(line.corners, turn_deg, upright_size_px)) for line in lines
    )


def enclose(quad: Quad) -> RotatedRectangle:
    """Return the smallest rectangle around four corners.

    One side of the smallest rectangle lies on an edge of the convex hull (Freeman and Shapira, 1975). Of the four
    ways to name the sides of that rectangle, the width is the one along which the line is read.
    """
    angles = [math.atan2(end[1] - start[1], end[0] - start[0]) for start, end in _pairs(quad) if start != end]
    left, right = _between(quad[0], quad[3]), _between(quad[1], quad[2])
    reading = math.atan2(right[1] - left[1], right[0] - left[0])
    angle = min(angles or [0.0], key=lambda edge: _extent(quad, edge)[0] * _extent(quad, edge)[1])
    # A quarter turn swaps width and height; of the four, the nearest to the direction of reading.
    angle += round((reading - angle) / (math.pi / 2)) * (math.pi / 2)
    cos, sin = math.cos(angle), math.sin(angle)
    along = [x * cos + y * sin for x, y in quad]
    across = [y * cos - x * sin for x, y in quad]
    u, v = (min(along) + max(along)) / 2, (min(across) + max(across)) / 2
    turned = math.degrees(math.remainder(angle, math.tau))
    return RotatedRectangle(
        u * cos - v * sin,
        u * sin + v * cos,
        max(along) - min(along),
        max(across) - min(across),
        turned if turned > -180 else 180.0,
    )


def _place(quad: Quad, turn_deg: int, upright_size_px: tuple[int, int]) -> Quad:
    width, height = upright_size_px

    def place(x: float, y: float) -> Point:
        x, y = min(max(x, 0.0), width), min(max(y, 0.0), height)
        match turn_deg:
            case 90:
                return y, width - x
            case 180:
                return width - x, height - y
            case 270:
                return height - y, x
            case _:
                return x, y

    first, second, third, fourth = quad
    return place(*first), place(*second), place(*third), place(*fourth)


def _extent(quad: Quad, angle: float) -> tuple[float, float]:
    """Return how far the corners reach along the angle, in radians, and across it."""
    cos, sin = math.cos(angle), math.sin(angle)
    along = [x * cos + y * sin for x, y in quad]
    across = [y * cos - x * sin for x, y in quad]
    return max(along) - min(along), max(across) - min(across)


def _pairs(quad: Quad) -> list[tuple[Point, Point]]:
    """Return every two corners: the edges of the hull are among them, whatever the shape."""
    return [(quad[i], quad[j]) for i in range(4) for j in range(i + 1, 4)]


def _between(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
