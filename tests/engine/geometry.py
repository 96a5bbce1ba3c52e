"""Lines and boxes at chosen places."""

import math

from pipeline.engine.recognition import Line, Point, Quad
from pipeline.engine.rows import Box


def line(text: str, x: float, y: float, *, width: float = 100, height: float = 20, slope_deg: float = 0.0) -> Line:
    """Return a line whose top left corner is at (x, y), rotated about the page's origin."""
    return Line(text, 0.99, quad(x, y, width, height, slope_deg))


def quad(x: float, y: float, width: float, height: float, slope_deg: float = 0.0) -> Quad:
    """Return a rectangle whose top left corner is at (x, y), rotated about the page's origin."""
    cos, sin = math.cos(math.radians(slope_deg)), math.sin(math.radians(slope_deg))

    def turn(px: float, py: float) -> Point:
        return (px * cos - py * sin, px * sin + py * cos)

    return turn(x, y), turn(x + width, y), turn(x + width, y + height), turn(x, y + height)


def column(x: float, y: float, rows: int, *, width: float = 400, height: float = 20, first: int = 0) -> list[Box]:
    """Return the boxes of a column of running text, with indices from `first`."""
    pitch = 1.5 * height
    return [Box(x, y + i * pitch, x + width, y + i * pitch + height, first + i) for i in range(rows)]
