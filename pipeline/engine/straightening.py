"""Straighten the lines of a curled page: each column of a line's pixels is moved up or down until the line is level.

A line that bends lies in a high box, small between the neighbours' ascenders and descenders, and a recogniser reads it
badly. How it bends is found by its projection profile: the ink of a level line is in few of its rows, so of all cubic
curves of some amplitude the one is taken along which the profile is the sharpest (as in skew detection: Postl 1986,
"Detection of linear oblique structures and skew scan in digitized documents"). The ink of neighbouring lines, which
bend alike, makes no difference.

The lines are also widened: paper that turns away from the camera shows narrow letters, and the reader narrows a line
before it is read (`line_reader.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import interpolate, is_tall
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad

MIN_ASPECT: Final = 5.0
"""Length / height of a box from which its line is straightened: a shorter one shows no curve."""

WINDOW: Final = 1.0
"""Width of the windows in which a line's ink is projected, in heights of its box."""

PROFILE_PX: Final = 48
"""Rows of the profile: the height at which a recogniser sees the line."""

BOWS: Final = np.linspace(-0.5, 0.5, 21)
SWAYS: Final = np.linspace(-0.3, 0.3, 13)
SLOPES: Final = np.linspace(-0.3, 0.3, 13)
"""Amplitudes of the curve's quadratic, cubic and linear part that are tried, in heights of the box."""

MIN_GAIN: Final = 1.1
"""Least sharpness relative to the straight profile's from which a line is moved: letters make their own waves, and a
neighbour may be sharper than the line. At 1.03, one line of a slide was moved to its neighbour."""

INK_LEVEL: Final = 0.05
"""Share of the profile's peak from which a row belongs to the line: ascenders and descenders do, white does not."""

MARGIN: Final = 0.12
"""White above and below the straightened line, in its heights."""


WIDENING: Final = 1.5
"""Horizontal scale of the lines of a curled page. Wrong characters of three flattened pages at 1 / 1.25 / 1.5: 0 / 0 /
0, 0.14 / 0 / 0.05 and, with Latin words in Chinese lines, 3.71 / 0.72 / 0.11 %."""


@dataclass(frozen=True, slots=True)
class LevelLine:
    """A straightened line.

    Attributes:
        pixels: As long as its box, and as high as the line without its curve.
        start: Where the line begins and ends on the left edge of its box, as shares of the edge.
        end: The same on the right edge.
    """

    pixels: Pixels
    start: tuple[float, float] = (0.0, 1.0)
    end: tuple[float, float] = (0.0, 1.0)

    def trim(self, quad: Quad) -> Quad:
        """Return the line's box without the room for its curve."""
        top_left, top_right, bottom_right, bottom_left = quad
        return (
            interpolate(top_left, bottom_left, self.start[0]),
            interpolate(top_right, bottom_right, self.end[0]),
            interpolate(top_right, bottom_right, self.end[1]),
            interpolate(top_left, bottom_left, self.start[1]),
        )


def straighten_and_widen(lines: Sequence[Pixels], quads: Sequence[Quad]) -> tuple[list[Pixels], list[Quad]]:
    """Return the lines of a curled page as a recogniser reads them best, and their boxes without the curve's room.

    Positions stay the same shares of a line. Columns of vertical writing, whose pixels lie on their side, stay.
    """
    read, boxes = list(lines), list(quads)
    for i, (line, quad) in enumerate(zip(lines, quads, strict=True)):
        if not is_tall(quad):
            level = straighten(line)
            read[i], boxes[i] = _widen(level.pixels), level.trim(quad)
    return read, boxes


def _widen(line: Pixels) -> Pixels:
    wide: Pixels = cv2.resize(line, None, fx=WIDENING, fy=1, interpolation=cv2.INTER_CUBIC)
    return wide


def straighten(line: Pixels) -> LevelLine:
    """Return a line that is level and trimmed to its height; one that is short or level already stays as it is.

    Args:
        line: The pixels of its box, which is as high as the line with its curve.
    """
    height, width = line.shape[:2]
    if width < MIN_ASPECT * height or height < 4:
        return LevelLine(line)
    windows = max(4, math.ceil(width / (WINDOW * height)))
    ink = _project(line, windows)
    places = (np.arange(windows) + 0.5) / windows * 2 - 1
    shifts = _find_curve(ink, places)
    profile = _shift(ink, np.rint(shifts).astype(np.intp)[None])[0]
    if (profile**2).sum() <= MIN_GAIN * (ink.sum(axis=0) ** 2).sum():
        return LevelLine(line)
    top, bottom = _find_band(profile)
    scale = height / PROFILE_PX
    along = (np.arange(width, dtype=np.float32) + 0.5) / width * windows - 0.5
    moved = (np.interp(along, np.arange(windows), shifts) * scale).astype(np.float32)
    rows = np.arange(math.floor(top * scale), math.ceil(bottom * scale), dtype=np.float32)
    places_y = rows[:, None] + moved[None, :]
    places_x = np.broadcast_to(np.arange(width, dtype=np.float32), places_y.shape)
    level: Pixels = cv2.remap(line, places_x.copy(), places_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # The straight line nearest to the curve: the box of a bow is where most of its ink is.
    slope, middle = np.polyfit(places, shifts, 1)
    start, end = (
        ((top + middle + side * slope) / PROFILE_PX, (bottom + middle + side * slope) / PROFILE_PX) for side in (-1, 1)
    )
    return LevelLine(level, start, end)


def _project(line: Pixels, windows: int) -> NDArray[np.float32]:
    """Return (windows, PROFILE_PX): the ink in each row of each window, as contrast to the window's paper."""
    grey = cv2.cvtColor(line, cv2.COLOR_BGR2GRAY).astype(np.float32)
    small = cv2.resize(grey, (windows * PROFILE_PX, PROFILE_PX), interpolation=cv2.INTER_AREA)
    columns = small.reshape(PROFILE_PX, windows, PROFILE_PX)
    contrast = np.abs(columns - np.median(columns, axis=(0, 2), keepdims=True))
    contrast[contrast < 0.3 * contrast.max()] = 0
    ink: NDArray[np.float32] = contrast.mean(axis=2).T
    return ink


def _find_curve(ink: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far below the middle line each window is, in rows of the profile.

    Args:
        ink: (windows, rows).
        places: Of the windows along the line, from -1 to 1.
    """
    shapes = places**2 - (places**2).mean(), (places**3 - 0.6 * places) * 2.5, places
    best = np.zeros(len(places))
    # Each part in turn, twice: a full search of all three would take a hundred times as long.
    for shape, amplitudes in ((shapes[0], BOWS), (shapes[1], SWAYS), (shapes[2], SLOPES)) * 2:
        curves = best + amplitudes[:, None] * PROFILE_PX * shape
        sharpness = (_shift(ink, np.rint(curves).astype(np.intp)) ** 2).sum(axis=1)
        best = curves[int(sharpness.argmax())]
    return best


def _shift(ink: NDArray[np.float32], curves: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return (curves, rows): the profile of the line with its windows moved up by each curve.

    Args:
        ink: (windows, rows).
        curves: (curves, windows), in rows.
    """
    windows, rows = ink.shape
    padded = np.pad(ink, ((0, 0), (rows, rows)))
    places = np.arange(rows) + np.clip(curves, -rows, rows)[..., None] + rows
    profile: NDArray[np.float32] = padded[np.arange(windows)[:, None], places].sum(axis=1)
    return profile


def _find_band(profile: NDArray[np.float32]) -> tuple[float, float]:
    """Return the first row of the line and the one after its last, with a margin."""
    is_ink = profile > INK_LEVEL * profile.max()
    # The box is the line's own: a peak near its edge is a neighbour's.
    quarter = len(profile) // 4
    top = bottom = quarter + int(profile[quarter:-quarter].argmax())
    while top > 0 and is_ink[top - 1]:
        top -= 1
    while bottom < len(profile) - 1 and is_ink[bottom + 1]:
        bottom += 1
    margin = MARGIN * (bottom + 1 - top)
    return top - margin, bottom + 1 + margin
