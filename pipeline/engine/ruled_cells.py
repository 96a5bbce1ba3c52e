"""Cut a line where the rules of a table cross it, before it is read.

The detector's box of a row often covers several cells, because a thin rule between them is no gap to it, and the
recogniser reads neighbouring numbers as one, or a rule as a stroke of the digit beside it. A rule is
a strip of ink that crosses the line's box, with its margins of paper above and below the characters, and goes on beyond
it. Rules are erased, also those at the ends of a line.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import is_tall, slice_quad, stretch_quad
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad

MIN_CONTRAST: Final = 0.3
"""Contrast of ink and of rules to the paper, as a share of the line's strongest contrast; hairlines are grey."""

MIN_CONTRAST_LEVELS: Final = 32
"""The same in levels, 0 to 255; less is noise of the paper."""

MAX_RULE_WIDTH: Final = 0.25
"""Width of a rule in heights of the line; a wider strip is a bar or a picture."""

MAX_MARGIN_INK: Final = 0.2
"""Share of ink in the first and the last row of pixels beside the rules; more is a picture or a shaded cell."""

MAX_SLANT: Final = 0.04
"""Distance by which a rule may stray from the vertical, in heights: the line may be skewed against the table."""

REACH: Final = 0.2
"""Distance by which a rule goes on beyond the line's box, in heights; a tall character may fill the box."""

MIN_CELL_WIDTH: Final = 0.25
"""In heights; a narrower part is the rest of the neighbouring cell's margin."""

Mask = NDArray[np.bool_]


def cut_at_rules(line: Pixels, quad: Quad, crop: Callable[[Quad], Pixels]) -> Iterator[tuple[Pixels, Quad]]:
    """Yield the parts of a line between the rules that cross it, each with its box; a vertical line unchanged.

    Args:
        line: (height, width, 3), deskewed.
        quad: The line's box on the page.
        crop: Returns the pixels of a box on the page, deskewed.
    """
    # A crop that is taller than wide lies on its side.
    rules = [] if is_tall(stretch_quad(quad, REACH)) else find_rules(line)
    if rules:
        beyond = crop(stretch_quad(quad, REACH))
        rules = [rule for rule in rules if _goes_on(rule, line, beyond)]
    if not rules:
        yield line, quad
        return
    height, width = line.shape[:2]
    ink = _find_ink(line, line)
    erased = line.copy()
    for start, end in rules:
        erased[:, start:end] = np.median(line[[0, -1]].reshape(-1, 3), axis=0)
    cells = [
        (before, after)
        for before, after in pairwise([(0, 0), *rules, (width, width)])
        if after[0] - before[1] >= MIN_CELL_WIDTH * height and ink[:, before[1] : after[0]].any()
    ]
    # The room of the rules stays: without a margin the recogniser overlooks a character at the end.
    for i, (before, after) in enumerate(cells):
        start, end = before[0] if i else 0, after[1] if i < len(cells) - 1 else width
        yield erased[:, start:end], slice_quad(quad, start / width, end / width)


def find_rules(line: Pixels) -> list[tuple[int, int]]:
    """Return the strips of ink that cross a line as [start, end) in px, from the left."""
    ink = _find_ink(line, line)
    slant_px = round(MAX_SLANT * len(line))
    strays = cv2.dilate(ink.view(np.uint8), np.ones((1, 1 + 2 * slant_px), np.uint8))
    is_rule = strays.all(axis=0)
    if not is_rule.any() or is_rule.all() or ink[[0, -1]][:, ~is_rule].mean() > MAX_MARGIN_INK:
        return []
    edges = np.flatnonzero(np.diff(is_rule, prepend=False, append=False))
    rules = [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return [(start, end) for start, end in rules if end - start <= MAX_RULE_WIDTH * len(line) + 2 * slant_px]


def _goes_on(rule: tuple[int, int], line: Pixels, beyond: Pixels) -> bool:
    """Return whether a rule of a line also crosses the higher box around the line."""
    slant_px = 1 + round(MAX_SLANT * len(line))
    scale = beyond.shape[1] / line.shape[1]
    start, end = max(0, int((rule[0] - slant_px) * scale)), int((rule[1] + slant_px) * scale) + 1
    return bool(_find_ink(beyond, line)[:, start:end].any(axis=1).all())


def _find_ink(pixels: Pixels, line: Pixels) -> Mask:
    """Return where pixels differ from a line's paper, which is the colour of its upper and lower margins."""
    grey = cv2.cvtColor(line, cv2.COLOR_BGR2GRAY).astype(np.float32)
    paper = np.median(grey[[0, -1]])
    strongest = float(np.percentile(np.abs(grey - paper), 98))
    contrast = np.abs(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) - paper)
    ink: Mask = contrast >= max(MIN_CONTRAST * strongest, MIN_CONTRAST_LEVELS)
    return ink
