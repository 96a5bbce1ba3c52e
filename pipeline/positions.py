"""Where the lines of a page are: the values in replies of the advanced endpoint and in records.

Coordinates are px of the image as sent, from its top left corner, y downwards.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Corners = tuple[float, float, float, float, float, float, float, float]
"""Four corners, x and y in turn, clockwise from the top left of the text as it is read."""

ADVANCED_RECOGNITION: Final = "advanced-recognition"
"""Value of `operation` of a text that a metered service's advanced endpoint returned."""

_DECIMALS: Final = 1
_CONFIDENCE_DECIMALS: Final = 4
_MAX_PX: Final = 1_000_000
"""No image is as long; a coordinate beyond it is none."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text.

    Attributes:
        text: As the service read it.
        box: Its corners.
        confidence: From 0 to 1; None when the service does not say.
    """

    text: str
    box: Corners
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class FoundLines:
    """The lines of a reply.

    Attributes:
        lines: Those with a position, in reading order.
        unplaced: Number of lines whose position cannot be read.
    """

    lines: tuple[TextLine, ...]
    unplaced: int = 0


def parse_positions(value: object) -> FoundLines | None:
    """Return the lines in a reply's `ocrResult`; None when it has none: the text beside them counts all the same.

    Args:
        value: Any JSON value.
    """
    entries = value.get("words_info") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    lines, unplaced = [], 0
    for entry in entries:
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip():
            continue
        box = _parse_corners(entry.get("location")) or _parse_rectangle(entry.get("rotate_rect"))
        if box is None:
            unplaced += 1
        else:
            lines.append(TextLine(_replace_surrogates(text), box, _parse_confidence(entry.get("confidence"))))
    return FoundLines(tuple(lines), unplaced)


def describe_missing(found: FoundLines | None, content: str) -> str | None:
    """Return the note on a text whose positions were asked for; None when all are there."""
    if found is None or (not found.lines and not found.unplaced):
        return "the reply has no positions" if content.strip() else None
    return f"{found.unplaced} lines without a position" if found.unplaced else None


def line_fields(lines: Iterable[TextLine] | None) -> list[dict[str, Any]] | None:
    """Return lines as records have them, without confidences that are not known."""
    if lines is None:
        return None
    return [
        {"text": line.text, "box": line.box}
        if line.confidence is None
        else {"text": line.text, "box": line.box, "confidence": line.confidence}
        for line in lines
    ]


def corners_of(numbers: Sequence[float]) -> Corners:
    """Return corners with their numbers rounded, as records have them.

    Args:
        numbers: Eight of them.
    """
    x1, y1, x2, y2, x3, y3, x4, y4 = (round(number, _DECIMALS) + 0.0 for number in numbers)  # never -0.0
    return x1, y1, x2, y2, x3, y3, x4, y4


def _parse_corners(value: object) -> Corners | None:
    """Return the corners in eight numbers, or in four pairs."""
    if isinstance(value, list) and len(value) == 4:
        value = [number for pair in value if isinstance(pair, list) for number in pair]
    numbers = _parse_numbers(value, 8)
    return None if numbers is None else corners_of(numbers)


def _parse_rectangle(value: object) -> Corners | None:
    """Return the corners of a turned rectangle: centre, width, height, and clockwise turn in degrees."""
    numbers = _parse_numbers(value, 5)
    if numbers is None or min(numbers[2:4]) < 0:
        return None
    x, y, width, height, angle_deg = numbers
    sin, cos = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    found: list[float] = []
    for right, down in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        dx, dy = right * width / 2, down * height / 2
        found += x + dx * cos - dy * sin, y + dx * sin + dy * cos
    return corners_of(found)


def _parse_numbers(value: object, count: int) -> list[float] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    numbers = [number for number in value if _is_number(number)]
    return [float(number) for number in numbers] if len(numbers) == count else None


def _parse_confidence(value: object) -> float | None:
    if isinstance(value, int | float) and _is_number(value) and 0 <= value <= 1:
        return round(float(value), _CONFIDENCE_DECIMALS) + 0.0
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_PX  # NaN is not


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
