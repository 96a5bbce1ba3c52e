"""Detection scales: at which sizes the detector sees a page, and how the boxes of several passes become one set.

The detector is a segmentation network (DB: Liao et al. 2020, "Real-time scene text detection with differentiable
binarization"). It takes a page of any size, but it learned type of a certain size, and no single scale suits a page:

- at full scale it misses a few words on an otherwise blank page;
- scaled down it finds those, but merges the small lines of a dense page into blots.

So a page is detected from coarse to fine, as over an image pyramid. The first detection pass scales the long edge to
`COARSE_EDGE_PX`. After each pass `finer_edge_px` decides, by the thickness of the smallest lines in pixels of that
pass, whether another pass follows and at which scale. `merge_detections` merges the boxes of the new pass with those
found before, in three cases:

- both passes found the line: the box of the fine pass is kept, because it is tighter;
- the fine pass found a part of the line only, as high as the line: the box of the coarse pass is kept;
- the fine pass found lower rows inside the coarse box: the coarse box had merged them and is dropped.

Pure functions on geometry.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.engine.geometry import height_px
from pipeline.engine.recognition import Quad

COVERED_SHARE: Final = 0.6
"""Share of a coarse box from which the fine boxes that overlap it replace it."""

ROW_HEIGHT_SHARE: Final = 0.6
"""A fine box inside a coarse box that is lower than this share of its height is one of several merged rows."""

INSIDE_SHARE: Final = 0.5
"""A fine box belongs to a coarse box when at least this share of its area is inside it."""

COARSE_EDGE_PX: Final = 736
"""Long edge of the first detection pass: RapidOCR's own default, which finds single words on a page."""

LEGIBLE_THICKNESS_PX: Final = 16
"""Thickness of a line, in px of the detection pass, from which no finer pass is needed. Smaller type yields boxes of
the same thickness or merged ones: type of 12 px is found whole in boxes of 16 px, type of 8 px in boxes of 13 to 16 px,
type of 4 px in blots of 13 px. At 15, the boxes of footnotes are as high as those of the text."""

MAX_SCALE_STEP: Final = 2.0
"""Most that a pass enlarges the last one: type above 30 px makes the detector merge lines across gutters."""

MIN_SCALE_STEP: Final = 1.25
"""Stop refining when the next detection scale is less than 1.25 times the last: it would find nothing new."""

MAX_AREA_PX: Final = 6_300_000
"""Pixels in the finest pass: an A4 page at 250 dpi. The detector's memory and time are proportional to them."""

MAX_ENLARGEMENT: Final = 2.0
"""Largest scale of a pass relative to the page: interpolation beyond it adds no detail."""

EDGE_MULTIPLE_PX: Final = 32
"""The edges of the detector's input are multiples of this (RapidOCR, `DetPreProcess`)."""

SMALL_LINES_QUANTILE: Final = 0.1
"""The thickness at this quantile of a page's lines decides whether a finer pass follows."""


def merge_detections(coarse: Sequence[Quad], fine: Sequence[Quad]) -> list[Quad]:
    """Return each line once: the fine boxes, and the coarse boxes that the fine pass missed or found only in part.

    Args:
        coarse: Boxes of the passes so far, in the page's coordinates.
        fine: Boxes of a finer pass, in the page's coordinates.
    """
    kept: list[Quad] = []
    replaced: set[int] = set()
    for quad, overlaps_px in zip(coarse, overlap_areas_px(coarse, fine), strict=True):
        inside = [i for i in np.flatnonzero(overlaps_px).tolist() if overlaps_px[i] >= INSIDE_SHARE * area_px(fine[i])]
        if overlaps_px.sum() >= COVERED_SHARE * area_px(quad):
            continue
        if any(height_px(fine[i]) < ROW_HEIGHT_SHARE * height_px(quad) for i in inside):
            continue
        kept.append(quad)
        replaced.update(inside)
    return [quad for i, quad in enumerate(fine) if i not in replaced] + kept


def finer_edge_px(size_px: tuple[int, int], edge_px: int, types_px: Sequence[float]) -> int | None:
    """Return the long edge of the next detection pass, None when the last pass was fine enough or is the finest.

    Args:
        size_px: The page's (width, height).
        edge_px: Long edge of the last pass.
        types_px: Thickness of the lines found so far, in px of the page. None found: the type may be too small for the
            last pass.
    """
    longest, shortest = max(size_px), max(1, min(size_px))
    if types_px:
        small_px = sorted(types_px)[int(SMALL_LINES_QUANTILE * len(types_px))]
        if small_px * edge_px / longest >= LEGIBLE_THICKNESS_PX:
            return None
    finest_px = min(MAX_ENLARGEMENT * longest, math.sqrt(MAX_AREA_PX * longest / shortest))
    finer_px = int(min(MAX_SCALE_STEP * edge_px, finest_px) / EDGE_MULTIPLE_PX) * EDGE_MULTIPLE_PX
    return finer_px if finer_px >= MIN_SCALE_STEP * edge_px else None


def area_px(quad: Quad) -> float:
    """Return the area of a quad in square pixels, in either orientation of its corners."""
    return float(shapely.area(_polygons([quad])[0]))


def overlap_areas_px(quads: Sequence[Quad], others: Sequence[Quad]) -> NDArray[np.float64]:
    """Return (quads, others): the area of each pair's intersection in square pixels, 0 for most pairs of a page."""
    one, other = _polygons(quads), _polygons(others)
    areas = np.zeros((len(one), len(other)))
    near = tuple(shapely.STRtree(other).query(one))
    areas[near] = shapely.area(shapely.intersection(one[near[0]], other[near[1]]))
    return areas


def _polygons(quads: Sequence[Quad]) -> NDArray[np.object_]:
    # GEOS accepts only valid polygons; the convex hull is one, whatever the order of the corners.
    corners = np.array(quads, np.float64).reshape(-1, 4, 2)
    hulls: NDArray[np.object_] = shapely.convex_hull(shapely.linestrings(corners))
    return hulls
