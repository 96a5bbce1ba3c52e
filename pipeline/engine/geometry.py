"""Quadrilaterals around lines: their measures, slices and enclosing rectangles, and their place on the image as sent.

A `Quad` lists the corners of a line in the order in which the line is read, so that its first edge is the upper edge of
the text. On an upright page that is the order top left, top right, bottom right, bottom left; on a page that was sent
upside down the first corner is the bottom right one.

Pure geometry without NumPy: the server imports this module, and runs without the engine's packages.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from pipeline.engine.recognition import Line, Point, Quad

TALL_ASPECT: Final = 1.5
"""Height / width from which a box is a column of vertical writing, or a word that was turned on its side."""


@dataclass(frozen=True, slots=True)
class RotatedRectangle:
    """A rectangle at an angle.

    Attributes:
        x_px: Horizontal coordinate of the centre.
        y_px: Vertical coordinate of the centre; grows downwards.
        width_px: Size along the line, in the direction of reading.
        height_px: Size across the line.
        angle_deg: In (-180, 180]: the clockwise rotation about the centre that turns an upright rectangle into this
            one. 0 is a line that is read from left to right, 90 one that is read downwards, as on a page that was
            turned clockwise.
    """

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    angle_deg: float


def length_px(quad: Quad) -> float:
    """Return the length of a line's upper edge."""
    return math.dist(quad[0], quad[1])


def height_px(quad: Quad) -> float:
    """Return the length of a line's left edge."""
    return math.dist(quad[0], quad[3])


def thickness_px(quad: Quad) -> float:
    """Return the size of a line's type: the shorter of its two edges, for horizontal and for vertical lines."""
    return min(length_px(quad), height_px(quad))


def is_tall(quad: Quad) -> bool:
    """Return whether a line is vertical: a column of vertical writing, or words turned on their side."""
    return height_px(quad) >= TALL_ASPECT * length_px(quad)


def slice_quad(quad: Quad, start: float, end: float) -> Quad:
    """Return the part of a line between two positions, each a share of the line's length in [0, 1]."""
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        interpolate(top_left, top_right, start),
        interpolate(top_left, top_right, end),
        interpolate(bottom_left, bottom_right, end),
        interpolate(bottom_left, bottom_right, start),
    )


def stretch_quad(quad: Quad, share: float) -> Quad:
    """Return a line's box, made higher by a share of its height above and below."""
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        interpolate(top_left, bottom_left, -share),
        interpolate(top_right, bottom_right, -share),
        interpolate(top_right, bottom_right, 1 + share),
        interpolate(top_left, bottom_left, 1 + share),
    )


def interpolate(one: Point, other: Point, share: float) -> Point:
    """Return the point at a share of the way from one point to another."""
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])


def place_on_sent_image(lines: Iterable[Line], turn_deg: int, upright_size_px: tuple[int, int]) -> tuple[Line, ...]:
    """Return the lines with their corners in pixels of the image as it was sent, clipped to the image.

    Args:
        lines: Their corners are in pixels of the upright page.
        turn_deg: Clockwise turn that made the sent image upright: 0, 90, 180 or 270.
        upright_size_px: (width, height) of the upright page.
    """
    return tuple(
        msgspec.structs.replace(line, corners=_place(line.corners, turn_deg, upright_size_px)) for line in lines
    )


def enclose(quad: Quad) -> RotatedRectangle:
    """Return the minimum-area rectangle around four corners.

    One side of that rectangle is collinear with an edge of the corners' convex hull (Freeman and Shapira 1975,
    "Determining the minimum-area encasing rectangle for an arbitrary closed curve"), so the directions of the edges
    are the only candidates. Four angles describe the same rectangle; the returned one is nearest to the direction of
    reading, so that the width is measured along the line.
    """
    # All pairs of corners: the hull's edges are among them, whatever the order of the corners.
    pairs = [(quad[i], quad[j]) for i in range(4) for j in range(i + 1, 4)]
    angles_rad = [math.atan2(end[1] - start[1], end[0] - start[0]) for start, end in pairs if start != end]
    angle_rad = min(angles_rad or [0.0], key=lambda candidate_rad: _bounding_area(quad, candidate_rad))
    left, right = _midpoint(quad[0], quad[3]), _midpoint(quad[1], quad[2])
    reading_rad = math.atan2(right[1] - left[1], right[0] - left[0])
    angle_rad += round((reading_rad - angle_rad) / (math.pi / 2)) * (math.pi / 2)
    start, end, top, bottom = _bounds(quad, angle_rad)
    u, v = (start + end) / 2, (top + bottom) / 2
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    angle_deg = math.degrees(math.remainder(angle_rad, math.tau))
    return RotatedRectangle(
        u * cos - v * sin, u * sin + v * cos, end - start, bottom - top, angle_deg if angle_deg > -180 else 180.0
    )


def _midpoint(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


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


def _bounds(quad: Quad, angle_rad: float) -> tuple[float, float, float, float]:
    """Return (start, end, top, bottom) of the corners in coordinates along and across the angle."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    along = [x * cos + y * sin for x, y in quad]
    across = [y * cos - x * sin for x, y in quad]
    return min(along), max(along), min(across), max(across)


def _bounding_area(quad: Quad, angle_rad: float) -> float:
    start, end, top, bottom = _bounds(quad, angle_rad)
    return (end - start) * (bottom - top)
