"""Page orientation: by how much to turn a page so that its text is upright.

A classifier (224 × 224 px in, probabilities of 0, 90, 180 and 270 degrees out) looks at parts of the page, not at the
whole: on a page that is scaled to its input, type is too small to recognise. So up to four square views are cut out
around detected lines, spread over the page, and scaled so that a line of the page's median thickness is
`TYPE_HEIGHT_PX` high. The probabilities of the views are averaged, so a single drawing or an upside-down stamp cannot
turn a page.

RapidOCR's classifier for single lines stays off: it raises the character error rate of clean pages from 0.07 % to
5.3 %.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import thickness_px
from pipeline.engine.orientation_model import VIEW_EDGE_PX, OrientationModel, choose_turn
from pipeline.engine.pixels import Pixels
from pipeline.engine.precision import Precision
from pipeline.engine.recognition import Quad
from pipeline.engine.runtime import Backend

MAX_VIEWS: Final = 4

TYPE_HEIGHT_PX: Final = 24
"""Height of a line in a view; values from 14 to 48 give the same results."""

MAX_ENLARGEMENT: Final = 4.0


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the page.

    Attributes:
        left_px: Negative when the square extends beyond the page's left edge.
        top_px: Negative when the square extends beyond the page's top edge.
        edge_px: At least 1.
    """

    left_px: int
    top_px: int
    edge_px: int


class OrientationClassifier:
    """Classifies the orientation of a page from views of it."""

    def __init__(self, model: Path, backend: Backend, threads: int, precision: Precision) -> None:
        self._model = OrientationModel(model, backend, threads, precision)

    def turn_deg(self, pixels: Pixels, quads: Sequence[Quad]) -> int:
        """Return the clockwise turn that makes the page upright: 0, 90, 180 or 270.

        Args:
            pixels: The page as it was sent.
            quads: The detected lines; at least one.
        """
        return choose_turn(self._model.classify([_cut(pixels, window) for window in view_windows(quads)]))


def view_windows(quads: Sequence[Quad]) -> list[Window]:
    """Return the squares of a page to classify.

    Args:
        quads: The detected lines; at least one.

    Returns:
        Up to `MAX_VIEWS` squares around lines that are spread over the page, inside the bounds of the text where these
        are large enough.
    """
    type_px = max(1.0, statistics.median(thickness_px(quad) for quad in quads))
    edge_px = max(1, round(VIEW_EDGE_PX / min(TYPE_HEIGHT_PX / type_px, MAX_ENLARGEMENT)))
    xs = [x for quad in quads for x, _ in quad]
    ys = [y for quad in quads for _, y in quad]
    windows = []
    for quad in _spread(quads):
        x = _keep_inside(sum(x for x, _ in quad) / 4, min(xs), max(xs), edge_px)
        y = _keep_inside(sum(y for _, y in quad) / 4, min(ys), max(ys), edge_px)
        windows.append(Window(round(x - edge_px / 2), round(y - edge_px / 2), edge_px))
    return windows


def _spread(quads: Sequence[Quad]) -> list[Quad]:
    """Return up to `MAX_VIEWS` lines at equal distances in the order of detection."""
    count = min(MAX_VIEWS, len(quads))
    if count == 1:
        return [quads[len(quads) // 2]]
    return [quads[round(i * (len(quads) - 1) / (count - 1))] for i in range(count)]


def _keep_inside(centre: float, low: float, high: float, edge_px: float) -> float:
    """Return the centre of a window, moved so that the window is between two bounds where it fits."""
    if high - low <= edge_px:
        return (low + high) / 2
    return min(max(centre, low + edge_px / 2), high - edge_px / 2)


def _cut(pixels: Pixels, window: Window) -> NDArray[Any]:
    """Return a window scaled to the classifier's input; its part beyond the page has the colour of the paper."""
    height, width = pixels.shape[:2]
    left, top, edge = window.left_px, window.top_px, window.edge_px
    paper = np.median(pixels[::7, ::7].reshape(-1, 3), axis=0).astype(np.uint8)
    view = np.full((edge, edge, 3), paper, dtype=np.uint8)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + edge), min(height, top + edge)
    view[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    # Area averaging instead of the reference's Lanczos, with which small type aliases into noise.
    interpolation = cv2.INTER_AREA if edge > VIEW_EDGE_PX else cv2.INTER_CUBIC
    resized: NDArray[Any] = cv2.resize(view, (VIEW_EDGE_PX, VIEW_EDGE_PX), interpolation=interpolation)
    return resized
