"""Where a point of one image is in another one: affine maps, and those of the turns that images go through.

Coordinates are continuous: pixel i covers [i, i + 1), so (0, 0) is the outer corner of the first pixel and
(width, height) that of the last. Pure functions on numbers.
"""

import math
from typing import Final, NamedTuple


class Affine(NamedTuple):
    """The map x' = a·x + b·y + c, y' = d·x + e·y + f."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0

    def map(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point goes."""
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    def then(self, other: "Affine") -> "Affine":
        """Return this map followed by another one."""
        c, f = other.map(self.c, self.f)
        return Affine(
            other.a * self.a + other.b * self.d,
            other.a * self.b + other.b * self.e,
            c,
            other.d * self.a + other.e * self.d,
            other.d * self.b + other.e * self.e,
            f,
        )

    def inverse(self) -> "Affine":
        """Return the map back.

        Raises:
            ZeroDivisionError: the map takes all points to one line.
        """
        area = self.a * self.e - self.b * self.d
        a, b, d, e = self.e / area, -self.b / area, -self.d / area, self.a / area
        return Affine(a, b, -(a * self.c + b * self.f), d, e, -(d * self.c + e * self.f))


IDENTITY: Final = Affine()

_TURNS: Final = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, -1, 1, 0),
    7: (0, -1, -1, 0),
    8: (0, 1, -1, 0),
}
"""(a, b, d, e) of the turn of each EXIF orientation. Source: Exif 2.32, "Orientation"."""


def scaling(size_px: tuple[int, int], scaled_px: tuple[int, int]) -> Affine:
    """Return the map of an image of one (width, height) that is scaled to another one."""
    return Affine(a=scaled_px[0] / size_px[0], e=scaled_px[1] / size_px[1])


def shift(x_px: float, y_px: float) -> Affine:
    """Return the map that moves points to the right and down."""
    return Affine(c=x_px, f=y_px)


def orienting(size_px: tuple[int, int], orientation: int) -> Affine:
    """Return the map of an image that is turned upright by its EXIF orientation.

    Args:
        size_px: (width, height) before.
        orientation: From 1 to 8.
    """
    a, b, d, e = _TURNS[orientation]
    width, height = size_px
    # what would be left of the image, or above it, is moved back into it
    return Affine(a, b, -min(0, a * width + b * height), d, e, -min(0, d * width + e * height))


def rotating(size_px: tuple[int, int], clockwise_deg: float, canvas_px: tuple[int, int]) -> Affine:
    """Return the map of an image that is turned about its centre, which comes to the centre of a canvas."""
    sin, cos = math.sin(math.radians(clockwise_deg)), math.cos(math.radians(clockwise_deg))
    centre = shift(-size_px[0] / 2, -size_px[1] / 2)
    return centre.then(Affine(cos, -sin, 0, sin, cos, 0)).then(shift(canvas_px[0] / 2, canvas_px[1] / 2))


def rotated_size_px(size_px: tuple[int, int], clockwise_deg: float) -> tuple[int, int]:
    """Return (width, height) of the upright rectangle around an image that is turned, whole pixels."""
    sin, cos = (abs(part(math.radians(clockwise_deg))) for part in (math.sin, math.cos))
    width, height = size_px
    return math.ceil(width * cos + height * sin - 1e-9), math.ceil(width * sin + height * cos - 1e-9)
