"""The recognition engine: one a worker process, since its inference requests cannot be shared by threads.

RapidOCR's own line classifier stays off (it raises the error rate on clean pages from 0.07 % to 5.3 %); a page is
turned as a whole instead. The models are those inside RapidOCR's wheel; nothing is downloaded.
"""

import math
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rapidocr
from rapidocr.main import RapidOCRError
from rapidocr.utils.process_img import apply_vertical_padding

from pipeline.errors import EngineError
from pipeline.server.engine.backend import INSTALL_HINT, Backend
from pipeline.server.engine.boxes import fine_edge_px, merge_scales
from pipeline.server.engine.decode import Pixels, decode_bgr
from pipeline.server.engine.layout import reading_rows, reading_text
from pipeline.server.engine.orientation import OrientationClassifier
from pipeline.server.engine.positions import place_on_sent_image
from pipeline.server.engine.punctuation import set_widths
from pipeline.server.recognition import Line, Quad, Recognition

COARSE_EDGE_PX = 736
"""Longest edge that the detector sees first: RapidOCR's own number, for what stands alone on a page."""

WIDTH_STEP_PX = 64
"""Lines are padded to multiples of this: few input shapes, so that the runtime's compiled kernels are used again.
Against RapidOCR's batches of six: CPU -16 %, memory 1.43 -> 0.95 GiB, the same error rate (0.13 / 0.14 %)."""

STRIP_RATIO = 8
STRIP_HEIGHT_PX = 30
"""RapidOCR's own numbers, `width_height_ratio` and `min_height`."""

LINE_HEIGHT_PX = 48
NARROWEST_PX = 192
WIDEST_PX = 12_800
"""The recogniser's input. Beyond the widest (type of 15 px across 4000 px) a line is squeezed, so that memory stays
within bounds."""

FAINTEST_INK = 16
"""Levels, of 255, between paper and ink; less is the noise of JPEG."""

TRUSTED_SCORE = 0.5
"""RapidOCR's own default, `text_score`."""


class Engine:
    """Text detection, page orientation and text recognition."""

    def __init__(self, backend: Backend, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._ocr: Any = rapidocr.RapidOCR(params=_parameters(backend, threads))
        blank = np.full((STRIP_HEIGHT_PX * 2, NARROWEST_PX, 3), 255, np.uint8)
        # RapidOCR loads its models when they are used first.
        with suppress(RapidOCRError):  # its word for a page without text
            self._ocr.detect_and_crop(blank, {})
        self._ocr.recognize_txt([blank])
        self._orientation = OrientationClassifier(backend, threads)

    def recognise(self, image: bytes) -> Recognition:
        """Return what an encoded image says.

        Raises:
            NotAnImageError: no format that the API takes.
            TruncatedImageError: the data are damaged or end too early.
        """
        return self.recognise_pixels(decode_bgr(image))

    def recognise_pixels(self, pixels: Pixels) -> Recognition:
        """Return what a page says, turned upright before it is read."""
        crops, quads = self._detect(pixels)
        turn = self._orientation.turn_deg(pixels, quads) if quads else 0
        if turn:
            pixels = np.ascontiguousarray(np.rot90(pixels, -turn // 90))
            crops, quads = self._detect(pixels)
        lines = [
            Line(text, score, quad)
            for (text, score), quad in zip(self._read(crops), quads, strict=True)
            if text.strip() and score >= TRUSTED_SCORE
        ]
        height, width = pixels.shape[:2]
        ordered = (line for row in reading_rows(lines) for line in row)
        return Recognition(reading_text(lines), place_on_sent_image(ordered, turn, (width, height)), turn)

    def _detect(self, pixels: Pixels) -> tuple[list[Any], list[Quad]]:
        """Return the lines' pixels, upright as far as a line alone tells, and where they stand."""
        # Strips are padded: the detector sees no text in a line without paper around it.
        padded, operations = apply_vertical_padding(pixels, {}, STRIP_RATIO, STRIP_HEIGHT_PX)
        quads = self._find(padded, COARSE_EDGE_PX)
        # Small type all over a large page is too small for the coarse look; blank paper need not be looked at twice.
        if max(padded.shape[:2]) > COARSE_EDGE_PX and (quads or not _is_uniform(pixels)):
            edge_px = fine_edge_px(max(padded.shape[:2]), quads)
            quads = merge_scales(quads, self._find(padded, max(edge_px, COARSE_EDGE_PX)))
        crops = self._ocr.crop_text_regions(padded, np.array(quads, dtype=np.float32))
        top = operations["padding_1"]["top"]
        return crops, [_shift_up(quad, top) for quad in quads]

    def _find(self, pixels: Pixels, edge_px: int) -> list[Quad]:
        self._ocr.text_det.limit_side_len = edge_px
        boxes = self._ocr.text_det(pixels).boxes
        return [] if boxes is None else [_quad(box) for box in boxes.tolist()]

    def _read(self, crops: list[Any]) -> list[tuple[str, float]]:
        read = [("", 0.0)] * len(crops)
        if not crops:
            return read
        by_width: dict[int, list[int]] = defaultdict(list)
        for i, crop in enumerate(crops):
            by_width[_padded_width(crop.shape[1], crop.shape[0])].append(i)
        for width, members in by_width.items():
            self._ocr.text_rec.rec_image_shape = [3, LINE_HEIGHT_PX, width]
            result = self._ocr.recognize_txt([crops[i] for i in members])
            for i, text, score, words in zip(members, result.txts, result.scores, result.word_results, strict=True):
                columns = [column for word in words.word_cols for column in word]
                read[i] = (set_widths(text, columns), float(score))
        return read


def _is_uniform(pixels: Pixels) -> bool:
    return int(pixels.max()) - int(pixels.min()) < FAINTEST_INK


def _padded_width(width_px: int, height_px: int) -> int:
    natural = LINE_HEIGHT_PX * width_px / height_px
    stepped = math.ceil(natural / WIDTH_STEP_PX) * WIDTH_STEP_PX
    return min(max(stepped, NARROWEST_PX), WIDEST_PX)


def _quad(box: list[list[float]]) -> Quad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = box
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def _shift_up(quad: Quad, top_px: float) -> Quad:
    return _quad([[x, y - top_px] for x, y in quad])


def _parameters(backend: Backend, threads: int) -> dict[str, Any]:
    models = Path(rapidocr.__file__).parent / "models"
    kind = rapidocr.EngineType(backend)
    detector, recogniser = models / "PP-OCRv6_det_small.onnx", models / "PP-OCRv6_rec_small.onnx"
    for model in (detector, recogniser):
        if not model.is_file():
            # Named outright, so that RapidOCR never tries to download it.
            raise EngineError(f"RapidOCR's model {model.name} is missing: {INSTALL_HINT}")
    return {
        "Global.log_level": "error",
        "Global.use_cls": False,
        # Where characters stand along their line.
        "Global.return_word_box": True,
        "Det.engine_type": kind,
        "Det.model_path": str(detector),
        # "min", the default, would enlarge a blank 1×500 strip until it takes 8 GiB.
        "Det.limit_type": "max",
        "Rec.engine_type": kind,
        "Rec.model_path": str(recogniser),
        "Rec.rec_batch_num": 1,
        "EngineConfig.openvino.inference_num_threads": threads,
        # Pinned threads of several workers would share the first cores.
        "EngineConfig.openvino.enable_cpu_pinning": False,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
