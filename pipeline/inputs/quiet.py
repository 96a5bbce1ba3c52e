"""Find the blank bands of a page, where it can be cut through no print."""

from array import array
from itertools import groupby, pairwise
from typing import Final

from PIL import Image, ImageChops

from pipeline.inputs.tiling import Bands

_STEP: Final = 24
"""Levels, of 255, by which neighbouring pixels differ where something is printed; JPEG's noise in paper stays below."""
_REDUCED: Final = 2
"""Noise of a scanner is less at half the size, and the search takes a quarter of the time."""


def find_bands(strip: Image.Image, least_px: int) -> Bands:
    """Return the bands of rows, (begin, end), at least `least_px` high, that hold no print.

    In a blank row nothing changes from one pixel to the next, except at vertical rules and edges that run through the
    whole strip, and it is like the rows above and below.

    Args:
        strip: Part of a page, in mode L or RGB.
        least_px: Least height of a band.
    """
    grey = strip if strip.mode == "L" else strip.convert("L")
    if grey.width < 2 * _REDUCED or grey.height <= least_px:
        return []
    grey = grey.reduce(_REDUCED)
    down = _steps(grey, grey.crop((0, 1, grey.width, grey.height)))
    across = _steps(grey, grey.crop((1, 0, grey.width, grey.height)))
    # A step across that every row has is a rule's or a panel's edge: it is not print that the cut would go through.
    moves = _means(down, (down.width, 1))
    is_through = bytes(255 * (left == right == 0) for left, right in pairwise(moves))
    through = Image.frombytes("L", (across.width, 1), is_through).resize(across.size, Image.Resampling.NEAREST)
    changes_down = [0.0, *_means(down, (1, down.height))]
    changes_across = _means(ImageChops.subtract(across, through), (1, across.height))
    bands, y = [], 0
    for blank, run in groupby(one == other == 0 for one, other in zip(changes_down, changes_across, strict=True)):
        height = sum(1 for _ in run)
        if blank and height * _REDUCED >= least_px:
            bands.append((y * _REDUCED, min(strip.height, (y + height) * _REDUCED)))
        y += height
    return bands


def _steps(one: Image.Image, other: Image.Image) -> Image.Image:
    """Return where two pictures differ, as 255, cut to the smaller one."""
    size = min(one.width, other.width), min(one.height, other.height)
    difference = ImageChops.difference(one.crop((0, 0, *size)), other)
    return difference.point(lambda level: 255 if level > _STEP else 0)


def _means(mask: Image.Image, size_px: tuple[int, int]) -> "array[float]":
    """Return the mean of each column (of a height of 1), or of each row (of a width of 1); exactly 0 without a step."""
    values = array("f")
    values.frombytes(mask.convert("F").resize(size_px, Image.Resampling.BOX).tobytes())
    return values
