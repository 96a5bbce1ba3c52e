"""At which scales to look for lines, and how what each look found becomes one set of lines: pure geometry.

The detector weighs the whole of what it sees. At full scale it overlooks a few words on an otherwise blank page;
scaled down it finds them, but runs small lines of a dense page together. So it looks at the page as a whole first, and
closer as long as the lines are small.
"""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.engine.geometry import area, height, shared_areas, thickness
from pipeline.engine.recognition import Quad

COVERED = 0.6
"""A coarse line of which the fine lines cover this much was found by them, too."""

SAME_HEIGHT = 0.6
"""Below this part of the coarse line's height, the fine line inside it is one of several rows."""

INSIDE = 0.5
"""A fine line of which this much lies inside a coarse line belongs to it."""

COARSE_EDGE_PX = 736
"""Longest edge of the first look: RapidOCR's own number, for what stands alone on a page."""

SEEN_PX = 16
"""Least thickness of a line that was seen well, in px of the look. Smaller type gives lines as thick, or runs together:
type of 12 px is found whole as lines of 16 px, of 8 px as lines of 13 to 16, of 4 px as blots
of 13. At 15, footnotes come as high as the text."""

FINER = 2.0
"""From look to look; type of more than 30 px makes the detector run lines together across gutters."""

LARGEST_PX = 6_300_000
"""Area of the finest look: an A4 page at 250 dpi; memory and time go with it."""

LEAST_FINER = 1.25
"""A look at less than so much more shows nothing new."""

MOST_ENLARGED = 2.0
"""Beyond the page's own scale there is no more to see."""

EDGE_STEP_PX = 32
"""The detector's input comes in such steps."""

SMALLEST_TENTH = 0.1
"""Whether to look again is told by the tenth of the lines that are smallest."""


def merge_detections(coarse: Sequence[Quad], fine: Sequence[Quad]) -> list[Quad]:
    """Return each line once: the fine ones, and the coarse ones that they miss or know only in part.

    Args:
        coarse: Lines of the looks so far, in the page's coordinates.
        fine: Lines of a closer look.
    """
    kept: list[Quad] = []
    replaced: set[int] = set()
    for quad, shares in zip(coarse, shared_areas(coarse, fine), strict=True):
        inside = [i for i in np.flatnonzero(shares).tolist() if shares[i] >= INSIDE * area(fine[i])]
        if shares.sum() >= COVERED * area(quad):
            continue
        if any(height(fine[i]) < SAME_HEIGHT * height(quad) for i in inside):
            continue
        kept.append(quad)
        replaced.update(inside)
    return [quad for i, quad in enumerate(fine) if i not in replaced] + kept


def finer_edge_px(size_px: tuple[int, int], edge_px: int, found: Sequence[Quad]) -> int | None:
    """Return the longest edge at which to look again, None when the lines were seen well or there is no more to see.

    Args:
        size_px: The page's width and height.
        edge_px: Its longest edge in the last look.
        found: Lines that were found so far, in the page's coordinates; none: they may be too small for that.
    """
    longest, shortest = max(size_px), max(1, min(size_px))
    if found:
        thicknesses = sorted(thickness(quad) for quad in found)
        if thicknesses[int(SMALLEST_TENTH * len(thicknesses))] * edge_px / longest >= SEEN_PX:
            return None
    finest = min(MOST_ENLARGED * longest, math.sqrt(LARGEST_PX * longest / shortest))
    finer = int(min(FINER * edge_px, finest) / EDGE_STEP_PX) * EDGE_STEP_PX
    return finer if finer >= LEAST_FINER * edge_px else None
