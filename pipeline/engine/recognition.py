"""The result of a recognition and the interface of a recogniser: the border between the server and the engine.

No NumPy here: the server runs without the engine's packages.
"""

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from pipeline.errors import PagemillError

Point = tuple[float, float]
"""(x, y) in px; y grows downwards."""

Quad = tuple[Point, Point, Point, Point]
"""Corners of a line in the order of reading: top left, top right, bottom right, bottom left."""


class Line(Struct, frozen=True):
    """A line of text that the detector found as one box.

    Attributes:
        text: The recognised text.
        confidence: Confidence of the recogniser, in [0, 1].
        corners: In pixels: of the upright page inside the engine, of the image as sent in a `Recognition`.
    """

    text: str
    confidence: float
    corners: Quad


class Recognition(Struct, frozen=True, tag=True):
    """The text of a page and the position of its lines.

    Attributes:
        text: In reading order; "" for a page without text.
        lines: In reading order; corners in pixels of the image as sent.
        turn_deg: Clockwise turn that made the page upright: 0, 90, 180 or 270.
        unread_ink: Share of the page's strokes outside the lines, 0 to 1: pictures and rules, and text that was lost.
        precision: The number format that the engine computed in, such as "f32".
        unread_type: Share of the page's strokes that look like type and are outside the lines.
    """

    text: str
    lines: tuple[Line, ...] = ()
    turn_deg: int = 0
    unread_ink: float = 0.0
    precision: str = "f32"
    unread_type: float = 0.0


class RecognitionError(PagemillError):
    """The engine failed on a page for a reason that has nothing to do with the page."""


class BusyError(RecognitionError):
    """No worker became free within the time limit."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The state of a recogniser's workers.

    Attributes:
        workers: Number of running processes.
        waiting: Number of pages that wait for a process.
        restarts: Number of processes replaced so far.
        is_failing: Whether the last attempt to replace a process failed.
    """

    workers: int = 1
    waiting: int = 0
    restarts: int = 0
    is_failing: bool = False


class Recogniser(Protocol):
    """Turns encoded images into text: a pool of worker processes, or a fake."""

    async def recognise(self, image: bytes) -> Recognition:
        """Return the text of an image.

        Args:
            image: An encoded image file whose header has been checked.

        Raises:
            PageError: the image cannot be decoded.
            RecognitionError: the engine failed or is overloaded.
        """
        ...
