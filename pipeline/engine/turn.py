"""Is the page upright? Where to look, and what to make of what was seen: pure decisions.

The classifier sees 224×224 px, and a whole page squeezed into that shows no letters. Measured on 72 rendered pages
(Chinese and English, dense and sparse, 18 to 60 px type) in four turns each: of the 216 that are not upright, whole
pages leave 28 wrong, some of them with confidence. Windows in which the type is about 24 px high get all 288 right,
with a mean probability of 0.85 or more.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.engine.geometry import thickness
from pipeline.engine.recognition import Quad

VIEW_EDGE_PX = 224
"""Edge of the classifier's input."""

VIEWS_AT_MOST = 4

TYPE_HEIGHT_PX = 24
"""Height of a line in the classifier's view; 14 to 48 measure alike."""

ENLARGED_AT_MOST = 4.0

SURE = 0.6
"""Mean probability from which a page is turned; the right answers measured are 0.85 and more."""


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the page.

    Attributes:
        left_px: May be negative: the square may hang over the page's edge.
        top_px: May be negative.
        edge_px: At least 1.
    """

    left_px: int
    top_px: int
    edge_px: int


def view_windows(quads: Sequence[Quad]) -> list[Window]:
    """Return the squares that tell best how the text stands.

    Args:
        quads: The lines that were detected; at least one.

    Returns:
        Up to `VIEWS_AT_MOST` squares, spread over the page, inside the text's bounds where that is large enough.
    """
    type_px = max(1.0, statistics.median(thickness(quad) for quad in quads))
    edge = max(1, round(VIEW_EDGE_PX / min(TYPE_HEIGHT_PX / type_px, ENLARGED_AT_MOST)))
    xs = [x for quad in quads for x, _ in quad]
    ys = [y for quad in quads for _, y in quad]
    windows = []
    for quad in _spread(quads):
        x = _keep_inside(sum(x for x, _ in quad) / 4, min(xs), max(xs), edge)
        y = _keep_inside(sum(y for _, y in quad) / 4, min(ys), max(ys), edge)
        windows.append(Window(round(x - edge / 2), round(y - edge / 2), edge))
    return windows


def choose_turn(probabilities: Sequence[Sequence[float]]) -> int:
    """Return the clockwise turn that makes the page upright: 0, 90, 180 or 270.

    Args:
        probabilities: For each view, of having been turned clockwise by 0, 90, 180 and 270 degrees. A page without
            letters gets 0.26 for each, so it stays as it is.
    """
    means = [statistics.fmean(column) for column in zip(*probabilities, strict=True)]
    best = max(range(len(means)), key=means.__getitem__)
    return (360 - 90 * best) % 360 if means[best] >= SURE else 0


def _spread(quads: Sequence[Quad]) -> list[Quad]:
    count = min(VIEWS_AT_MOST, len(quads))
    if count == 1:
        return [quads[len(quads) // 2]]
    return [quads[round(i * (len(quads) - 1) / (count - 1))] for i in range(count)]


def _keep_inside(middle: float, low: float, high: float, edge: float) -> float:
    if high - low <= edge:
        return (low + high) / 2
    return min(max(middle, low + edge / 2), high - edge / 2)
