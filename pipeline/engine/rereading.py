"""Low-scored lines, read again before they are dropped.

A line whose reading is not confident is noise, a drawing, or type that the crop or the recogniser did not suit. So it
is read again by both recognisers at its full width: as it is, in a larger crop, with more contrast, and in halves. The
first reading that is confident is kept; without one the line is dropped, and its ink stays unread (`ink.py`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np

from pipeline.engine.ctc import Reading
from pipeline.engine.geometry import height_px, is_tall, length_px
from pipeline.engine.looks import stretch
from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import has_wide
from pipeline.engine.recognition import Quad

MIN_LINE_CONFIDENCE: Final = 0.5
"""RapidOCR's default, `text_score`: lines below it are dropped, unless another reading is confident."""

MIN_SECOND_CONFIDENCE: Final = 0.8
"""Confidence from which another reading is kept. It is higher because the best of many readings of a drawing is more
confident than the first: two thirds of the low-scored boxes of real pages are noise."""

MAX_LENGTH: Final = 40.0
"""Low-scored lines of a page that are read again, the longest first, by the sum of their lengths / heights: a page of
noise has hundreds, and a row of asterisks takes as long as eight lines."""

MIN_LENGTH: Final = 3.0
"""Length / height that a line counts at least: short lines are padded before they are read."""

MARGIN: Final = 0.25
"""White that a larger crop adds on each side, in line heights."""

MIN_HALVES_ASPECT: Final = 4.0
"""Length / height from which a line is read in halves, too."""

CUT_WINDOW: Final = 0.2
"""A line is cut where its middle has the least ink, within this share of its length."""

Read = Callable[[Pixels], Reading]
Crop = Callable[[Quad], Pixels]


def read_low_scored(
    read: Read, crop: Crop, lines: Sequence[Pixels], quads: Sequence[Quad], readings: Sequence[Reading]
) -> list[Reading]:
    """Return the readings of a page, those below `MIN_LINE_CONFIDENCE` replaced where another one is confident.

    Args:
        read: Reads a line at its full width.
        crop: Cuts a box out of the page.
        lines: The pixels of the lines.
        quads: The boxes of the lines on the page. Tall ones have been read in two ways already.
        readings: The readings of the lines so far.
    """
    low = [i for i, reading in enumerate(readings) if reading.confidence < MIN_LINE_CONFIDENCE]
    low = sorted((i for i in low if not is_tall(quads[i])), key=lambda i: length_px(quads[i]), reverse=True)
    found, length = list(readings), 0.0
    for i in low:
        own_length = max(MIN_LENGTH, lines[i].shape[1] / lines[i].shape[0])
        if length + own_length > MAX_LENGTH:
            continue
        length += own_length
        others = _other_readings(read, crop, lines[i], quads[i])
        found[i] = next(filter(_is_credible, others), readings[i])
    return found


def grow(quad: Quad, margin_px: float) -> Quad:
    """Return a box that is larger by a margin on all sides."""
    corners = np.array(quad, np.float64)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    along *= margin_px / max(1.0, float(np.linalg.norm(along)))
    across *= margin_px / max(1.0, float(np.linalg.norm(across)))
    steps = np.array([-along - across, along - across, along + across, across - along])
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (corners + steps).tolist()
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def join(left: Reading, right: Reading, cut: float) -> Reading:
    """Return the reading of a line from those of its parts.

    Args:
        left: The reading of the part before the cut.
        right: The reading of the part after it.
        cut: Where the line was cut, as a share of its length.
    """
    first, second = left.text.strip(), right.text.strip()
    positions = [cut * x for x in left.positions] + [cut + (1 - cut) * x for x in right.positions]
    space = "" if has_wide(first[-1:]) or has_wide(second[:1]) else " "
    return Reading(
        (first + space + second).strip(),
        min(left.confidence, right.confidence),
        tuple(positions),
        min(left.min_confidence, right.min_confidence),
    )


def _is_credible(reading: Reading) -> bool:
    """Return whether another reading of a line is kept: an icon is read as one Chinese character with confidence."""
    text = reading.text.strip()
    return reading.confidence >= MIN_SECOND_CONFIDENCE and not (len(text) == 1 and has_wide(text))


def _other_readings(read: Read, crop: Crop, line: Pixels, quad: Quad) -> Iterator[Reading]:
    yield read(line)
    yield _read_larger(read, crop, quad)
    yield read(stretch(line))
    if line.shape[1] >= MIN_HALVES_ASPECT * line.shape[0]:
        cut_px = find_cut_px(line)
        yield join(read(line[:, :cut_px]), read(line[:, cut_px:]), cut_px / line.shape[1])


def _read_larger(read: Read, crop: Crop, quad: Quad) -> Reading:
    """Return the reading of a larger crop, with its positions as shares of the box."""
    margin_px = MARGIN * height_px(quad)
    reading = read(crop(grow(quad, margin_px)))
    margin = margin_px / max(1.0, length_px(quad))
    positions = tuple(min(max(x * (1 + 2 * margin) - margin, 0.0), 1.0) for x in reading.positions)
    return replace(reading, positions=positions)


def find_cut_px(line: Pixels) -> int:
    """Return where to cut a line of at least 2 px in two: near its middle, through the least ink."""
    width = line.shape[1]
    reach = max(1, math.floor(CUT_WINDOW * width / 2))
    start = max(1, width // 2 - reach)
    grey: Any = cv2.cvtColor(line, cv2.COLOR_BGR2GRAY)[:, start : min(width, width // 2 + reach + 1)]
    contrast = grey.max(axis=0).astype(np.int64) - grey.min(axis=0)
    # Of equally white columns the middle of the first run is taken, not its edge.
    whitest = np.flatnonzero(contrast == contrast.min())
    run = whitest[: 1 + int(np.argmax(np.append(np.diff(whitest) > 1, True)))]
    middle: int = start + int(run[len(run) // 2])
    return middle
