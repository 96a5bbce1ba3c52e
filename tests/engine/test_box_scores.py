"""Which of the detector's boxes count as lines."""

import cv2
import numpy as np
from numpy.typing import NDArray
from rapidocr.ch_ppocr_det.utils import DBPostProcess

from pipeline.engine.box_scores import score_long_boxes_by_outline


def find_boxes(probabilities: NDArray[np.float32], *, by_outline: bool = True) -> list[float]:
    """Return the scores of the boxes in a map of probabilities."""
    postprocess = DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6)
    if by_outline:
        score_long_boxes_by_outline(postprocess)
    _, scores = postprocess(probabilities[None, None], probabilities.shape)
    return list(scores)


def arc(width: int, bow: int) -> NDArray[np.float32]:
    """Return the map of a line of 12 px that bends by `bow` px in its middle."""
    probabilities = np.zeros((200, 600), np.float32)
    xs = np.arange(50, 50 + width)
    ys = 150 - bow * np.sin(np.pi * (xs - 50) / width)
    cv2.polylines(probabilities, [np.stack([xs, ys], axis=1).astype(np.int32)], isClosed=False, color=0.8, thickness=12)
    return probabilities


def test_a_long_line_that_bends_is_found() -> None:
    assert find_boxes(arc(500, 60), by_outline=False) == []
    (score,) = find_boxes(arc(500, 60))
    assert score > 0.7


def test_a_straight_line_keeps_its_score() -> None:
    assert find_boxes(arc(500, 0)) == find_boxes(arc(500, 0), by_outline=False) != []


def test_a_short_box_keeps_its_score() -> None:
    """An arc as high as it is long is no line."""
    assert find_boxes(arc(100, 90)) == find_boxes(arc(100, 90), by_outline=False) == []
