"""Cut a detected line into the parts that white separates, and trim each part's box to its text.

The detector's boxes are wider than their text by up to two line heights, and now and then one box covers two columns:
white between them that is narrower than a few letters is a gap inside a line to the detector. Reading order, however,
depends on gutters that no box covers. The recogniser's positions show where the text is: each character's ink reaches
at most `WIDE_REACH` or `NARROW_REACH` line heights to each side of its position. White beyond that of at least
`MIN_GAP` line heights, more than a space of a justified line, separates two parts.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.engine.geometry import height_px, is_tall, length_px, slice_quad
from pipeline.engine.punctuation import is_wide
from pipeline.engine.recognition import Line

WIDE_REACH: Final = 0.55
NARROW_REACH: Final = 0.35
"""Distance from a character's position to the end of its ink, in line heights, of wide and of narrow characters;
measured are at most 0.54 and 0.35."""

MIN_GAP: Final = 0.7
"""White inside a line, in line heights, that separates two parts: wider than a space, narrower than a gutter."""


def cut_line(line: Line, positions: Sequence[float]) -> Iterator[Line]:
    """Yield the parts of a line between wide gaps, each with a box as long as its text.

    Args:
        line: As it was detected and read.
        positions: Of each character that is not white space, as shares of the line's length. A line without a position
            for each of them, and a vertical one, is yielded unchanged.
    """
    shown = [i for i, character in enumerate(line.text) if not character.isspace()]
    if len(shown) != len(positions) or not shown or is_tall(line.corners):
        yield line
        return
    line_height = height_px(line.corners) / length_px(line.corners)  # as a share of the line's length
    reaches = [line_height * (WIDE_REACH if is_wide(line.text[i]) else NARROW_REACH) for i in shown]
    min_gap = MIN_GAP * line_height
    cuts = [i for i in range(1, len(shown)) if positions[i] - reaches[i] - positions[i - 1] - reaches[i - 1] >= min_gap]
    for first, after in itertools.pairwise([0, *cuts, len(shown)]):
        last = after - 1
        text = line.text[shown[first] : shown[last] + 1]
        start = max(0.0, min(positions[first], 1.0) - reaches[first])
        end = min(1.0, positions[last] + reaches[last])
        yield Line(text, line.confidence, slice_quad(line.corners, start, end))
