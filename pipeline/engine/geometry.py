"""Quadrilaterals, in which lines stand: pure geometry."""

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.engine.recognition import Point, Quad

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
