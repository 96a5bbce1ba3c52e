"""Bullets: the marks of a list's items, which the detector overlooks because they are small and stand apart.

A mark counts as a bullet, or a dash, when it is alone in the white before a line, has the size and place of one, and
another line of the page has the same mark at the same distance from the left: a speck has no companion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import msgspec
import numpy as np

from pipeline.engine.geometry import is_tall, thickness_px
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Line

_REACH: Final = 2.4
"""White before a line in which its mark is looked for, in line heights."""

_GAP: Final = 0.08
_LEAST_LEVELS: Final = 40.0
"""Difference from the background, of 255 levels, from which there is ink."""

_SPECK: Final = 0.06
"""Size below which ink is noise, in line heights."""

_DISC: Final = (0.12, 0.5)
_DASH: Final = (0.3, 1.2)
_DASH_HEIGHT: Final = 0.16
_ROUND: Final = 0.3
_FILLED: Final = 0.6
_OFF_MIDDLE: Final = 0.3
_SAME_PLACE: Final = 0.4
"""Sizes and distances in line heights; `_ROUND` and `_FILLED` are shares of the mark's own size."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark before a line.

    Attributes:
        sign: "•" or "–".
        left: In px, on the page, as `middle`, its horizontal one.
        middle: See `left`.
    """

    sign: str
    left: float
    middle: float


def add_bullets(pixels: Pixels, lines: Sequence[Line]) -> list[Line]:
    """Return the lines, those before which there is a bullet or a dash with it; other lines are as they were.

    Args:
        pixels: The upright page, BGR.
        lines: Its lines, in any order.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    marks = [_find_mark(grey, line) for line in lines]
    return [
        line if mark is None or not _has_companion(number, mark, marks, line) else _with_mark(line, mark)
        for number, (line, mark) in enumerate(zip(lines, marks, strict=True))
    ]


def _find_mark(grey: np.ndarray, line: Line) -> _Mark | None:
    if is_tall(line.corners) or not line.text[:1].isalnum():
        return None
    height = thickness_px(line.corners)
    xs, ys = zip(*line.corners, strict=True)
    top, bottom = max(0, round(min(ys))), round(max(ys))
    left, right = max(0, round(min(xs) - _REACH * height)), round(min(xs) - _GAP * height)
    patch = grey[top:bottom, left:right]
    if patch.size == 0 or right - left < height / 2:
        return None
    away = np.abs(patch.astype(np.int16) - int(np.median(patch)))
    _, _, found, centres = cv2.connectedComponentsWithStats((away >= _LEAST_LEVELS).astype(np.uint8))
    blots = [number for number in range(1, len(found)) if max(found[number, 2:4]) >= _SPECK * height]
    if len(blots) != 1:
        return None
    x, _, width, tall, area = (int(value) for value in found[blots[0]])
    off = abs(top + centres[blots[0]][1] - sum(ys) / 4)
    sign = _sign(width / height, tall / height, area / (width * tall)) if off <= _OFF_MIDDLE * height else None
    return None if sign is None or x == 0 else _Mark(sign, left + x, left + x + width / 2)


def _sign(width: float, tall: float, filled: float) -> str | None:
    """Return the sign of a blot, by its size in line heights; None for another one."""
    if filled < _FILLED:
        return None
    if _DISC[0] <= min(width, tall) and max(width, tall) <= _DISC[1] and abs(width - tall) <= _ROUND * max(width, tall):
        return "•"
    return "–" if _DASH[0] <= width <= _DASH[1] and tall <= _DASH_HEIGHT else None


def _has_companion(number: int, mark: _Mark, marks: Sequence[_Mark | None], line: Line) -> bool:
    near = _SAME_PLACE * thickness_px(line.corners)
    return any(
        other is not None and other.sign == mark.sign and abs(other.middle - mark.middle) <= near
        for at, other in enumerate(marks)
        if at != number
    )


def _with_mark(line: Line, mark: _Mark) -> Line:
    (_, y0), top_right, bottom_right, (_, y3) = line.corners
    corners = ((mark.left, y0), top_right, bottom_right, (mark.left, y3))
    return msgspec.structs.replace(line, text=f"{mark.sign} {line.text}", corners=corners)
