"""What a recognition gives, and who gives it: the border between the HTTP application and the engine."""

from typing import Protocol

from msgspec import Struct

from pipeline.errors import PagemillError

Point = tuple[float, float]
"""(x, y) in px, y downwards."""

Quad = tuple[Point, Point, Point, Point]
"""Corners of a line: top left, top right, bottom right, bottom left, as the line is read."""


class Line(Struct, frozen=True):
    """A run of text that the detector found in one piece.

    Attributes:
        text: What it says.
        score: The recogniser's confidence, in [0, 1].
        corners: Where it stands on the upright page.
    """

    text: str
    score: float
    corners: Quad


class Recognition(Struct, frozen=True, tag=True):
    """A page's text, and what later formats need to place it.

    Attributes:
        text: In reading order; "" for a page without text.
        lines: As they were detected; the order means nothing.
        turn_deg: Clockwise turn that made the page upright: 0, 90, 180 or 270.
        width_px: Width of the upright page.
        height_px: Height of the upright page.
    """

    text: str
    lines: tuple[Line, ...] = ()
    turn_deg: int = 0
    width_px: int = 0
    height_px: int = 0


class RecognitionError(PagemillError):
    """The engine failed on a page for a reason that is not the page's."""


class Recogniser(Protocol):
    """Whatever turns an encoded image into text."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return what the image says.

        Args:
            image: An encoded image file whose header was checked.

        Raises:
            PageError: the image cannot be decoded.
            RecognitionError: the engine failed.
        """
        ...
