"""What a recognition gives, and who gives it: the border between the HTTP application and the engine."""

from dataclasses import dataclass
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
        confidence: The recogniser's, in [0, 1].
        corners: Where it stands: inside the engine on the upright page, in a `Recognition` on the image as sent.
    """

    text: str
    confidence: float
    corners: Quad


class Recognition(Struct, frozen=True, tag=True):
    """A page's text, and where it stands.

    Attributes:
        text: In reading order; "" for a page without text.
        lines: In reading order, their corners in pixels of the image as it was sent.
        turn_deg: Clockwise turn that made the page upright: 0, 90, 180 or 270.
    """

    text: str
    lines: tuple[Line, ...] = ()
    turn_deg: int = 0


class RecognitionError(PagemillError):
    """The engine failed on a page for a reason that is not the page's."""


class BusyError(RecognitionError):
    """No worker became free in time."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """How the engine is.

    Attributes:
        workers: Processes that run.
        waiting: Pages that wait for one.
        restarts: Processes that were replaced so far.
        is_failing: Whether the last attempt to start one in another's place failed.
    """

    workers: int = 1
    waiting: int = 0
    restarts: int = 0
    is_failing: bool = False


class Recogniser(Protocol):
    """Whatever turns an encoded image into text."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return what the image says.

        Args:
            image: An encoded image file whose header was checked.

        Raises:
            PageError: the image cannot be decoded.
            RecognitionError: the engine failed, or has no time.
        """
        ...
