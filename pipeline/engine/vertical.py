"""Vertical writing: the characters of a column are set upright side by side, for recognisers that read rows.

A recogniser also reads a column that is rotated by 90 degrees, but it loses nearly all punctuation marks of rendered
columns. So a column is segmented into its characters, and these are laid out as a row. The detector's crop lies on its
left side, so the column runs from left to right and each character is rotated counter-clockwise. The steps:

1. *Ink*: pixels whose contrast to the paper is at least `INK_CONTRAST` of the column's own contrast. The crop is
   trimmed to the ink across the column.
2. *Projection profile*: the share of ink in each position along the column.
3. *Pitch*: the distance from character to character. Chinese type is set in squares, so the profile is periodic. The
   pitch is the peak of its spectrum among periods of 0.9 to 1.5 column widths, weighted towards one width.
4. *Cells*: dynamic programming finds the cuts that minimise the ink on the cuts plus the squared deviations of the
   cells' lengths from the pitch. Ink alone would cut inside 二 and 三; the pitch alone would drift on a long column.
5. *Row*: each cell is rotated clockwise, except brackets and dashes, which vertical typesetting rotates itself. Commas
   and stops, which a column has in the middle or at the upper right of their cell, are moved to the lower left, where a
   row has them. The ring 〇 is narrowed until the recogniser reads it as 0, and such zeros become 〇 again in the text.

A tall box may also hold words that were rotated as a whole, as on the axis of a chart or in the margin of a form.
Unless the reading as a column is confident and mostly of wide characters, the line is read turned by 90 degrees either
way, too: most such words run upwards. The most confident reading is kept.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.ctc import Reading
from pipeline.engine.geometry import is_tall
from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import has_wide, is_wide
from pipeline.engine.recognition import Quad

MIN_COLUMN_CONFIDENCE: Final = 0.8
"""A column of wide characters, read with at least this confidence, is not read on its side as well. Chinese columns
have 0.9 and more; words that were rotated as a whole, cut into cells that are no characters, have 0.6 and less, but
figures and capitals that run upwards up to 0.93: each cell holds one, the last first."""

INK_CONTRAST: Final = 0.4
"""Share of the column's contrast from which a pixel is ink."""

MAX_SPECK_SHARE: Final = 0.03
"""Share of the column's length below which ink at its sides is dirt, or belongs to a neighbouring column."""

PITCHES: Final = np.linspace(0.9, 1.5, 61)
"""Candidates for the pitch, in widths of the column's ink."""

PITCH_SPREAD: Final = 0.35
"""Width of the Gaussian weight on pitches, in column widths: this far from one width, a peak must be e times as high
as one at the width."""

MIN_PITCH_PX: Final = 8.0
"""Below this pitch characters are illegible; it also bounds the number of cells."""

STEPS: Final = 20
"""Resolution of the profile for cutting, in steps per pitch."""

MIN_CELL, MAX_CELL = 0.5, 1.5
"""Length of a cell, in pitches."""

STIFFNESS: Final = 2.0
"""Cost of a cell per squared deviation from the pitch; a cut through a full-width stroke costs 1."""

BRACKET_OFF_CENTRE: Final = 0.12
"""Least distance of a bracket's ink from the middle of its cell, in cells; 一 is in the middle."""

RING_WIDTH, RING_MARGIN = 0.4, 0.1
"""Width of a narrowed 〇 and of the paper on each side, in cells. Of 28 rings at full width the recogniser overlooks
25; it reads all narrow ones as 0."""

ROW_MARGIN: Final = 0.15
"""Paper above and below the row, in pitches, as detected lines have it. Eight pages of columns at 0 / 0.05 / 0.1 /
0.15 / 0.2 have 0.66 / 0.60 / 0.64 / 0.58 / 0.65 % wrong characters, in 1 / 0.92 / 0.86 / 0.82 / 0.79 of the time."""

ZEROS: Final = re.compile(r"(?<![0-9A-Za-z.,])0+(?![0-9A-Za-z.,])")
"""Zeros that do not belong to a number or a word."""

Mask = NDArray[np.bool_]
ReadLines = Callable[[Sequence[Pixels]], list[Reading]]


@dataclass(frozen=True, slots=True)
class Ink:
    """Bounds of the ink in an upright cell, as shares of the cell; `top` is towards the column's beginning."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def is_point(self) -> bool:
        """Whether the ink is small in both directions: a comma, a stop or the like."""
        return self.right - self.left < 0.5 and self.bottom - self.top < 0.5

    @property
    def is_turned(self) -> bool:
        """Whether the ink is a bracket or a dash: a mark that vertical typesetting rotates."""
        width, height = self.right - self.left, self.bottom - self.top
        off_centre = abs(self.top + self.bottom - 1) / 2
        return (0.12 < height < 0.5 <= width and off_centre > BRACKET_OFF_CENTRE) or (width < 0.25 and height > 0.85)


def read_lines(read: ReadLines, lines: Sequence[Pixels], quads: Sequence[Quad]) -> list[Reading]:
    """Return the text of a page's lines; a tall line has the most confident of its readings as column and turned.

    Args:
        read: Reads rows.
        lines: The pixels of the lines, tall ones on their left side.
        quads: The boxes of the lines on the page.
    """
    tall = [i for i, quad in enumerate(quads) if is_tall(quad)]
    columns = dict(zip(tall, map(_restore_rings, read([lay_out_as_row(lines[i]) for i in tall])), strict=True))
    turned = [i for i in tall if not _is_column(columns[i])]
    level = [i for i in range(len(lines)) if i not in columns]
    rows = read([lines[i] for i in level + turned] + [_turn_over(lines[i]) for i in turned])
    options = [(i, columns[i]) for i in tall] + list(zip(level + turned + turned, rows, strict=True))
    best = [Reading()] * len(lines)
    for i, reading in options:
        best[i] = max(best[i], reading, key=lambda found: found.confidence)
    return best


def lay_out_as_row(column: Pixels) -> Pixels:
    """Return the characters of a column upright and side by side.

    Args:
        column: (height, width, 3), on its left side, so that its first character is at the left. A column without ink
            is returned unchanged.
    """
    mask = _find_ink(column)
    top, bottom = _trim(mask)
    trimmed, mask = column[top:bottom], mask[top:bottom]
    profile = mask.mean(axis=0)
    pitch_px = _measure_pitch_px(profile, bottom - top)
    edges = cut_into_cells(profile, pitch_px)
    paper = np.median(column.reshape(-1, 3), axis=0)
    cells = [
        _set_upright(trimmed[:, start:end], mask[:, start:end], round(pitch_px), paper)
        for start, end in pairwise(edges)
        if mask[:, start:end].any()
    ]
    if not cells:
        return column
    margin = round(pitch_px * ROW_MARGIN)
    row: Pixels = cv2.copyMakeBorder(np.hstack(cells), margin, margin, 0, 0, cv2.BORDER_CONSTANT, value=paper.tolist())
    return row


def cut_into_cells(profile: NDArray[np.float64], pitch_px: float) -> list[int]:
    """Return the positions at which a column's cells begin and end: cuts through little ink, about a pitch apart.

    `costs[end]` is the least cost of cutting the profile up to `end`, given a cut there; `came_from[end]` is the cut
    before it.

    Args:
        profile: Share of ink per pixel along the column; 1 where a stroke crosses the whole column.
        pitch_px: Distance from character to character.
    """
    steps = max(1, round(len(profile) * STEPS / pitch_px))
    ink = cv2.resize(profile[None, :], (steps, 1), interpolation=cv2.INTER_AREA)[0]
    # White at both ends represents the empty half of a bracket's or a stop's cell. The blur moves cuts to the middle
    # of white.
    ink = cv2.GaussianBlur(np.pad(ink, STEPS)[None, :], (0, 0), STEPS / 12)[0]
    lengths = np.arange(round(MIN_CELL * STEPS), round(MAX_CELL * STEPS) + 1)
    stiffness = STIFFNESS * (lengths / STEPS - 1) ** 2
    costs, came_from = np.zeros(len(ink)), np.full(len(ink), -1)
    for end in range(STEPS + 1, len(ink)):
        starts = end - lengths[: end - lengths[0] + 1]
        options = costs[starts] + stiffness[: len(starts)]
        best = options.argmin()
        costs[end], came_from[end] = options[best] + ink[end], starts[best]
    cut = len(ink) - STEPS + int(costs[-STEPS:].argmin())
    cuts_px = []
    while cut >= 0:
        cuts_px.append(min(max(0, round((cut - STEPS) * pitch_px / STEPS)), len(profile)))
        cut = int(came_from[cut])
    return sorted(set(cuts_px))


def _is_column(reading: Reading) -> bool:
    """Return whether a line that was read as a column is one without doubt."""
    letters = "".join(reading.text.split())
    wide = sum(map(is_wide, letters))
    return reading.confidence >= MIN_COLUMN_CONFIDENCE and 2 * wide >= len(letters) > 0


def _turn_over(line: Pixels) -> Pixels:
    """Return the pixels of a line turned by 180 degrees."""
    over: Pixels = np.ascontiguousarray(line[::-1, ::-1])
    return over


def _restore_rings(reading: Reading) -> Reading:
    """Return the reading of a column with 〇 for the zeros among Chinese characters."""
    if not has_wide(reading.text):
        return reading
    return replace(reading, text=ZEROS.sub(lambda zeros: "〇" * len(zeros[0]), reading.text))


def _find_ink(column: Pixels) -> Mask:
    grey = cv2.GaussianBlur(cv2.cvtColor(column, cv2.COLOR_BGR2GRAY), (0, 0), 0.7).astype(np.float32)
    contrast = np.abs(grey - np.median(grey))
    mask: Mask = contrast > max(INK_CONTRAST * float(np.percentile(contrast, 98)), 1.0)
    return mask


def _trim(mask: Mask) -> tuple[int, int]:
    """Return the first and last pixel row of the column's ink, without the specks beside it, and 1 px of margin."""
    rows = np.flatnonzero(mask.mean(axis=1) > MAX_SPECK_SHARE)
    return (max(0, int(rows[0]) - 1), int(rows[-1]) + 2) if len(rows) else (0, len(mask))


def _measure_pitch_px(profile: NDArray[np.float64], thickness_px: float) -> float:
    """Return the period of a column's projection profile: the weighted peak of its spectrum."""
    pitches = PITCHES * thickness_px
    waves = np.exp(-2j * np.pi * np.arange(len(profile)) / pitches[:, None])
    # A sum instead of a matrix product, for which BLAS would keep threads of its own spinning.
    amplitudes = np.abs((waves * (profile - profile.mean())).sum(axis=1))
    peaks = amplitudes * np.exp(-(((PITCHES - 1) / PITCH_SPREAD) ** 2))
    return max(float(pitches[peaks.argmax()]), MIN_PITCH_PX)


def _set_upright(cell: Pixels, mask: Mask, pitch_px: int, paper: NDArray[np.float64]) -> Pixels:
    """Return a character as a row has it: upright, in a cell as high as the pitch."""
    missing = max(0, pitch_px - cell.shape[1])
    border = (0, 0, missing // 2, missing - missing // 2)
    cell = cv2.copyMakeBorder(cell, *border, cv2.BORDER_CONSTANT, value=paper.tolist())
    mask = np.rot90(cv2.copyMakeBorder(mask.view(np.uint8), *border, cv2.BORDER_CONSTANT).view(np.bool_), -1)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    ink = Ink(xs[0] / width, ys[0] / height, (xs[-1] + 1) / width, (ys[-1] + 1) / height)
    upright = cell if ink.is_turned else np.rot90(cell, -1)
    if ink.is_point:
        upright = np.roll(upright, (round(0.92 * height) - ys[-1] - 1, round(0.1 * width) - xs[0]), (0, 1))
    is_ring = _is_ring(mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1], 0.6 * width)
    size = (round(width * RING_WIDTH) if is_ring else width, pitch_px)
    row: Pixels = cv2.resize(np.ascontiguousarray(upright), size, interpolation=cv2.INTER_AREA)
    margin = round(width * RING_MARGIN) if is_ring else 0
    framed: Pixels = cv2.copyMakeBorder(row, 0, 0, margin, margin, cv2.BORDER_REPLICATE)
    return framed


def _is_ring(ink: Mask, min_edge_px: float) -> bool:
    """Return whether a character is a circle: large in both directions, and white in its middle and its corners."""
    height, width = ink.shape
    if min(height, width) < max(min_edge_px, 8):
        return False
    corner_y, corner_x = height // 8, width // 8
    rim = np.r_[0:corner_y, height - corner_y : height], np.r_[0:corner_x, width - corner_x : width]
    middle = ink[height // 3 : -(height // 3), width // 3 : -(width // 3)]
    return bool(middle.mean() < 0.02 and not ink[np.ix_(*rim)].any())
