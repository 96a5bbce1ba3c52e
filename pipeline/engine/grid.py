"""A grid over a curled page: where each part of the flat page is on the image as sent.

The grid's rows follow the lines of text, its columns the sides of the page. Its points have equal distances on the flat
page; between them, places are interpolated (bilinear). Geometry without a model; what finds the grid is in
`unwarping.py`.

`slope_spread_deg` tells whether a page needs one: lines of a flat page, skewed or not, have one slope.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import height_px
from pipeline.engine.recognition import Point, Quad

SLOPE_ASPECT: Final = 5.0
"""Length / height from which a line shows its slope: the detector rounds corners to pixels."""

MIN_SLOPES: Final = 3
"""Lines from which their slopes say something about a page."""

MIN_CELL_SHARE: Final = 0.02
"""A grid is folded where a cell has less than this share of the mean cell's area."""

MIN_PAGE_SHARE: Final = 0.05
"""Least share of the image that a grid covers: less is a model's error."""

MAX_STRETCH: Final = 1.5
"""Most that an edge of the flat page exceeds the longest edge of the image."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Points on the image as sent.

    Attributes:
        points: (rows, columns, 2), the x and y of each point in px of the image.
    """

    points: NDArray[np.float32]

    @classmethod
    def from_shares(cls, shares: NDArray[np.floating], size_px: tuple[int, int]) -> Self:
        """Return the grid of a model's output, kept inside the image.

        Args:
            shares: (2, rows, columns), x and y of each point, from -1 at the first pixel to 1 at the last one.
            size_px: (width, height) of the image.
        """
        last = np.array(size_px, np.float32) - 1
        points = (shares.astype(np.float32).transpose(1, 2, 0) + 1) / 2 * last
        return cls(np.clip(points, 0, last))

    def is_plausible(self, size_px: tuple[int, int]) -> bool:
        """Return whether the grid covers a part of the image, and folds nowhere.

        Args:
            size_px: (width, height) of the image.
        """
        along, down = np.diff(self.points, axis=1)[:-1], np.diff(self.points, axis=0)[:, :-1]
        areas = along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]
        is_large = areas.sum() >= MIN_PAGE_SHARE * size_px[0] * size_px[1]
        return bool(is_large and areas.min() >= MIN_CELL_SHARE * areas.mean())

    def flat_size_px(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) of the flat page: as long as the grid's rows and columns are on the image.

        Args:
            size_px: (width, height) of the image.
        """
        most_px = MAX_STRETCH * max(size_px)
        steps = (np.linalg.norm(np.diff(self.points, axis=axis), axis=2).sum(axis=axis) for axis in (1, 0))
        # From the first pixel to the last one it is one step less than there are pixels.
        width, height = (max(2, round(min(float(lengths.mean()) + 1, most_px))) for lengths in steps)
        return width, height

    def sample(self, size_px: tuple[int, int]) -> NDArray[np.float32]:
        """Return (height, width, 2): where each pixel of the flat page is on the image.

        Args:
            size_px: (width, height) of the flat page, each at least 2.
        """
        rows, columns = self.points.shape[:2]
        left, across = _between(np.arange(size_px[0]), size_px[0], columns)
        top, down = _between(np.arange(size_px[1]), size_px[1], rows)
        across, down = across[None, :, None], down[:, None, None]
        wide = self.points[:, left] * (1 - across) + self.points[:, left + 1] * across
        return (wide[top] * (1 - down) + wide[top + 1] * down).astype(np.float32, copy=False)

    def place(self, point: Point, size_px: tuple[int, int]) -> Point:
        """Return where a point of the flat page is on the image.

        Args:
            point: In px of the flat page; outside of it, the nearest point of its edge is taken.
            size_px: (width, height) of the flat page, each at least 2.
        """
        rows, columns = self.points.shape[:2]
        left, across = _between(np.array([point[0]]), size_px[0], columns)
        top, down = _between(np.array([point[1]]), size_px[1], rows)
        upper, lower = (
            self.points[row, left] * (1 - across[:, None]) + self.points[row, left + 1] * across[:, None]
            for row in (top, top + 1)
        )
        x, y = (upper * (1 - down[:, None]) + lower * down[:, None])[0].tolist()
        return x, y

    def place_quad(self, quad: Quad, size_px: tuple[int, int]) -> Quad:
        """Return the corners of a line on the image.

        Args:
            quad: In px of the flat page.
            size_px: (width, height) of the flat page, each at least 2.
        """
        first, second, third, fourth = (self.place(corner, size_px) for corner in quad)
        return first, second, third, fourth


def slope_spread_deg(quads: Sequence[Quad]) -> float | None:
    """Return the mean deviation of the lines' slopes from their median, by length; None with too few long lines.

    Args:
        quads: The boxes of the lines, in the order of reading.
    """
    slopes: list[tuple[float, float]] = []
    for quad in quads:
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
        along, rise = (x1 + x2 - x0 - x3) / 2, (y1 + y2 - y0 - y3) / 2
        long_px = math.hypot(along, rise)
        if long_px >= SLOPE_ASPECT * max(1.0, height_px(quad)):
            slopes.append((math.degrees(math.atan2(rise, along)), long_px))
    if len(slopes) < MIN_SLOPES:
        return None
    # Relative to the longest line, so that lines of a page on its head do not jump from 180 to -180.
    (main_deg, _), total_px = max(slopes, key=lambda slope: slope[1]), sum(long_px for _, long_px in slopes)
    turned = sorted((math.remainder(slope_deg - main_deg, 360), long_px) for slope_deg, long_px in slopes)
    half_px = np.cumsum([long_px for _, long_px in turned])
    median_deg = turned[int(np.searchsorted(half_px, total_px / 2))][0]
    return sum(abs(slope_deg - median_deg) * long_px for slope_deg, long_px in turned) / total_px


def _between(
    places: NDArray[np.floating] | NDArray[np.integer], length_px: int, points: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the index of the grid point before each place, and the share of the way to the next one."""
    along = np.clip(places / (length_px - 1), 0, 1) * (points - 1)
    before = np.minimum(along.astype(np.intp), points - 2)
    return before, (along - before).astype(np.float32)
