"""Ink: where a page has strokes, how much of it no line covers, and how many rows a box holds.

Lines that the detector does not find have no confidence, so a page can be lost with the best of confidences. What
remains visible is their ink: the share of a page's strokes outside the lines that were read tells a lost page from a
good one. Where a page has pictures and rules, the strokes that look like type tell more: those whose blots are as thick
as the lines that were read. And a box that covers several rows, because the detector saw them as one blot, shows them
in its profile.

Strokes are edges: a morphological gradient above a threshold that follows the page's own contrast, so that neither
shadows nor an even background count, and faint type does.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import height_px, is_tall, length_px, thickness_px
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad

_SHORT_EDGE_PX: Final = 600
_MAX_REDUCTION: Final = 4.0
"""Ink is measured at up to a quarter of the page's scale: enough to see a line of small type, and fast."""

_STRONGEST_QUANTILE: Final = 0.995
_LEAST_OF_STRONGEST: Final = 0.15
_LEAST_LEVELS: Final = 6.0
"""An edge counts from this share of the strongest edges on; fainter ones are paper, noise of JPEG and shadows."""

_MARGIN: Final = 0.3
"""A line's box is widened by this share of its height: accents and descenders stand out of it."""

_PROFILE_LENGTH_PX: Final = 400
"""Part of a box whose profile is measured: on a skewed page the rows of a longer one run into each other."""

_LEVEL_PX: Final = 2.0
"""Height by which the upright rectangle around a level box exceeds its thickness at most."""

_ROW_LEVEL: Final = 0.3
"""A row begins where the profile exceeds this share of its highest level."""

_LIKE_ROW: Final = 0.5
"""A run of the profile that is thinner than this share of the thickest one is no row: an underline, or dots of i."""

_MIN_ROW_PX: Final = 3

_THIN_TYPE: Final = 0.35
_THICK_TYPE: Final = 1.6
_DENSE_TYPE: Final = 0.3
"""Thickness of a blot that looks like type, in thicknesses of the lines that were read, and its least share of ink."""

_GRAIN_BLUR_PX: Final = 1.0
_STANDS_OUT_LEVELS: Final = 30.0
_STANDS_OUT: Final = 4.5
_STRONGEST_EDGE: Final = 0.9999
"""Strokes stand out of a page's grain if its strongest edges have so many levels, or are so many times as strong as its
median edge. Measured on blank pages with noise of 2 to 20 levels: at most 25 levels, and 3.0 times, 4.3 times with two
levels of grey; on type of 12 levels among noise of 3: 8 times."""


def has_strokes(pixels: Pixels) -> bool:
    """Return whether something stands out of the paper's grain; False for a blank scan.

    Only for pages on which no line was found: on a page that is full of type, its edges are the median.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), _GRAIN_BLUR_PX)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    median, strongest = np.quantile(edges, (0.5, _STRONGEST_EDGE))
    return bool(strongest >= min(_STANDS_OUT_LEVELS, max(_LEAST_LEVELS, _STANDS_OUT * median)))


@dataclass(frozen=True, slots=True)
class UnreadInk:
    """Ink outside the lines that were read.

    Attributes:
        share: Of the page's ink, 0 to 1; 0 for a page without ink.
        type_share: The part of it that looks like type, as a share of the page's ink, 0 to `share`.
    """

    share: float
    type_share: float


def measure_unread(pixels: Pixels, read: Sequence[Quad]) -> UnreadInk:
    """Return how much of a page's ink is outside the lines that were read.

    Blots of ink, the words and lines of the reduced page, look like type when they are about as thick as the lines, and
    dense: rules are thinner, pictures and frames thicker or hollow.

    Args:
        pixels: The page.
        read: The boxes of the lines, in pixels of the page; without any, nothing is known about the page's type.
    """
    ink, reduction = _measure(pixels)
    total = float(ink.sum())
    if not total:
        return UnreadInk(0.0, 0.0)
    is_type = _find_type(ink, statistics.median(thickness_px(quad) for quad in read) / reduction) if read else None
    _erase(ink, read, reduction)
    return UnreadInk(float(ink.sum()) / total, 0.0 if is_type is None else float(ink[is_type].sum()) / total)


def type_px(pixels: Pixels, quad: Quad) -> float:
    """Return the thickness of a box's lines, in px: the box's own, shared among the rows of type that it holds.

    Args:
        pixels: The page.
        quad: A box, in pixels of the page.
    """
    return thickness_px(quad) / count_rows(pixels, quad)


def count_rows(pixels: Pixels, quad: Quad) -> int:
    """Return how many rows of type a box holds, or columns if it is tall; at least 1.

    Args:
        pixels: The page.
        quad: A box, in pixels of the page.
    """
    crop = _cut_beginning(pixels, quad)
    if min(crop.shape[:2]) < 2 * _MIN_ROW_PX:
        return 1
    profile = _strokes(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)).mean(axis=1)
    runs = _runs(profile > _ROW_LEVEL * profile.max())
    thickest = max((end - start for start, end in runs), default=0)
    return max(1, sum(end - start >= max(_MIN_ROW_PX, _LIKE_ROW * thickest) for start, end in runs))


def _cut_beginning(pixels: Pixels, quad: Quad) -> Pixels:
    """Return the part of a box whose profile is measured: its rows level, columns of a tall box as rows."""
    xs, ys = zip(*quad, strict=True)
    left, top = max(0, round(min(xs))), max(0, round(min(ys)))
    around = pixels[top : round(max(ys)), left : round(max(xs))]
    origin, along, across = np.array([quad[0], quad[3], quad[1]] if is_tall(quad) else [quad[0], quad[1], quad[3]])
    length, thickness = float(np.linalg.norm(along - origin)), float(np.linalg.norm(across - origin))
    upright = around.transpose(1, 0, 2) if is_tall(quad) else around
    if min(length, thickness, *around.shape[:2]) < 1 or len(upright) <= thickness + _LEVEL_PX:
        return upright[:, :_PROFILE_LENGTH_PX]
    # A skewed box is cut along its edges: the upright rectangle around it shows the rows above and below it, too.
    steps = np.stack(((along - origin) / length, (across - origin) / thickness, origin - (left, top)), axis=1)
    size_px = math.ceil(min(length, _PROFILE_LENGTH_PX)), round(thickness)
    beginning: Pixels = cv2.warpAffine(
        around, steps, size_px, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return beginning


def _measure(pixels: Pixels) -> tuple[NDArray[np.float32], float]:
    """Return the ink of the page at a reduced scale, and by how much it is reduced."""
    height, width = pixels.shape[:2]
    reduction = min(_MAX_REDUCTION, max(1.0, min(height, width) / _SHORT_EDGE_PX))
    size_px = max(1, round(width / reduction)), max(1, round(height / reduction))
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), size_px, interpolation=cv2.INTER_AREA)
    return _strokes(grey), reduction


def _find_type(ink: NDArray[np.float32], type_px: float) -> NDArray[np.bool_]:
    """Return where the blots look like type of this thickness, in px of the reduced page."""
    _, labels, blots, _ = cv2.connectedComponentsWithStats((ink > 0).astype(np.uint8), connectivity=8)
    widths, heights, areas = blots[:, cv2.CC_STAT_WIDTH], blots[:, cv2.CC_STAT_HEIGHT], blots[:, cv2.CC_STAT_AREA]
    thickness = np.minimum(widths, heights)
    is_type = (thickness >= max(_MIN_ROW_PX, _THIN_TYPE * type_px)) & (thickness <= _THICK_TYPE * type_px)
    is_type &= areas >= _DENSE_TYPE * widths * heights
    is_type[0] = False  # the paper
    found: NDArray[np.bool_] = is_type[labels]
    return found


def _erase(ink: NDArray[np.float32], read: Sequence[Quad], reduction: float) -> None:
    """Erase the ink of the lines that were read."""
    for quad in read:
        corners = np.array(_widen(quad), np.float64) / reduction
        cv2.fillConvexPoly(ink, np.rint(corners).astype(np.int32), 0.0)


def _strokes(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the strength of the edges, 0 where there is none that counts."""
    gradient = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    edges: NDArray[np.float32] = gradient.astype(np.float32)
    least = max(_LEAST_LEVELS, _LEAST_OF_STRONGEST * float(np.quantile(edges, _STRONGEST_QUANTILE)))
    edges[edges < least] = 0.0
    return edges


def _widen(quad: Quad) -> NDArray[np.float64]:
    """Return the corners of a box with a margin on all sides."""
    corners = np.array(quad, np.float64)
    margin_px = _MARGIN * min(length_px(quad), height_px(quad))
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    along *= margin_px / max(1.0, float(np.linalg.norm(along)))
    across *= margin_px / max(1.0, float(np.linalg.norm(across)))
    widened: NDArray[np.float64] = corners + np.array([-along - across, along - across, along + across, across - along])
    return widened


def _runs(is_inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the (start, end) of each run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], is_inside, [False])).astype(np.int8)))
    return list(zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True))
