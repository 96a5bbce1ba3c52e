"""The page without skew: by how much its lines rise, at each place of the page.

The cells of a row have a common base line, but not on a scan that is skewed by a degree or two. A page that was curled
or photographed has no single angle: its lines rise at one side and fall at the other. So the slope of the lines is a
field over the page, *a + b·x + c·y*, fitted to the lines that are long enough to show it (*b* is a curl across the
page, *c* a perspective). The integral of the field along a row is how far the row has moved down; boxes are moved back
up by it.

Rows with a wide gap need the field, as their ends have no neighbour that is level with them: of synthetic tables whose
lines bend by 8.5 degrees, a fifth of the rows is kept with one angle for the page, and all of them with the field.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.engine.geometry import height_px
from pipeline.engine.recognition import Point, Quad

MIN_ASPECT: Final = 3.0
"""Width / height above which the edges of a line show the page's skew."""

TOLERANCES: Final = (0.16, 0.08, 0.04, 0.02, 0.01)
"""Deviation of a line's slope from the field, from which it counts for less than half, by round of the fit. Outliers
are lines in pictures, and boxes that cover two rows; the first rounds must not take a curl for them."""

STIFFNESS: Final = 0.08
"""Share of the page's size by which lines must be apart to show that the slope changes between them."""


@dataclass(frozen=True, slots=True)
class Skew:
    """The slopes of a page's lines.

    Attributes:
        angle_rad: Angle of most lines, clockwise.
        centre: (x, y) of the lines' centre on the page turned by that angle, in px.
        slope: There, on the turned page.
        curl: Change of the slope per px to the right.
        perspective: Change of the slope per px downwards.
    """

    angle_rad: float = 0.0
    centre: Point = (0.0, 0.0)
    slope: float = 0.0
    curl: float = 0.0
    perspective: float = 0.0

    def slope_at(self, x: float, y: float) -> float:
        """Return the slope of a line at a place of the turned page."""
        return self.slope + self.curl * (x - self.centre[0]) + self.perspective * (y - self.centre[1])

    def straighten(self, point: Point) -> Point:
        """Return where a point is on the page without skew."""
        x, y = _turn(point, self.angle_rad)
        right, down = x - self.centre[0], y - self.centre[1]
        return x, y - right * (self.slope + self.curl * right / 2 + self.perspective * down)


@dataclass(frozen=True, slots=True)
class _Slope:
    """The slope of a line, and where it is, in px."""

    length: float
    slope: float
    x: float
    y: float


def measure_skew(quads: Iterable[Quad]) -> Skew:
    """Return the slopes of a page's long lines; none without long lines."""
    long = [quad for quad in quads if _along(quad)[0] > MIN_ASPECT * height_px(quad)]
    if not long:
        return Skew()
    angle_rad = statistics.median(math.atan2(*reversed(_along(quad))) for quad in long)
    turned = [_turn_quad(quad, angle_rad) for quad in long]
    # A line at another angle is in a picture.
    return _fit([quad for quad in turned if _along(quad)[0] > abs(_along(quad)[1])], angle_rad)


def _fit(quads: Sequence[Quad], angle_rad: float) -> Skew:
    """Fit the field to lines that are turned by this angle; outliers count less from round to round."""
    if not quads:
        return Skew(angle_rad)
    lines = [_slope(quad) for quad in quads]
    xs, ys = [x for quad in quads for x, _ in quad], [y for quad in quads for _, y in quad]
    stiff_px = STIFFNESS * max(max(xs) - min(xs), max(ys) - min(ys))
    skew = Skew(angle_rad)
    for tolerance in TOLERANCES:
        weights = [
            line.length / (1 + ((line.slope - skew.slope_at(line.x, line.y)) / tolerance) ** 2) for line in lines
        ]
        skew = _fit_weighted(lines, weights, angle_rad, stiff_px)
    return skew


def _fit_weighted(lines: Sequence[_Slope], weights: Sequence[float], angle_rad: float, stiff_px: float) -> Skew:
    """Return the least-squares solution; ridge regression with `stiff_px` where the lines are near each other."""
    total = sum(weights)

    def mean(values: Iterable[float]) -> float:
        return sum(weight * value for weight, value in zip(weights, values, strict=True)) / total

    x, y, slope = mean(line.x for line in lines), mean(line.y for line in lines), mean(line.slope for line in lines)
    offsets = [(line.x - x, line.y - y, line.slope - slope) for line in lines]
    xx, xy, yy = (
        mean(u * u for u, _, _ in offsets),
        mean(u * v for u, v, _ in offsets),
        mean(v * v for _, v, _ in offsets),
    )
    xs, ys = mean(u * rise for u, _, rise in offsets), mean(v * rise for _, v, rise in offsets)
    xx, yy = xx + stiff_px**2, yy + stiff_px**2
    determinant = xx * yy - xy * xy
    return Skew(angle_rad, (x, y), slope, (xs * yy - ys * xy) / determinant, (ys * xx - xs * xy) / determinant)


def _slope(quad: Quad) -> _Slope:
    along, rise = _along(quad)
    return _Slope(along, rise / along, sum(x for x, _ in quad) / 4, sum(y for _, y in quad) / 4)


def _along(quad: Quad) -> Point:
    """Return the vector from the middle of a line's left edge to that of its right edge."""
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        (top_right[0] + bottom_right[0] - top_left[0] - bottom_left[0]) / 2,
        (top_right[1] + bottom_right[1] - top_left[1] - bottom_left[1]) / 2,
    )


def _turn(point: Point, angle_rad: float) -> Point:
    """Return a point of a page that is turned anticlockwise by an angle."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    x, y = point
    return x * cos + y * sin, y * cos - x * sin


def _turn_quad(quad: Quad, angle_rad: float) -> Quad:
    first, second, third, fourth = (_turn(point, angle_rad) for point in quad)
    return first, second, third, fourth
