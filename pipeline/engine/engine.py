"""The recognition engine: one a worker process, since its inference requests cannot be shared by threads.

RapidOCR's own line classifier stays off (it raises the error rate on clean pages from 0.07 % to 5.3 %); a page is
turned as a whole instead.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rapidocr
from rapidocr.main import RapidOCRError
from rapidocr.utils.process_img import apply_vertical_padding

from pipeline.engine.detection_scales import COARSE_EDGE_PX, EDGE_STEP_PX, finer_edge_px, merge_detections
from pipeline.engine.geometry import place_on_sent_image
from pipeline.engine.line_reader import CAREFUL, QUICK, LineRecogniser, Reader, Reading, decode
from pipeline.engine.orientation import OrientationClassifier
from pipeline.engine.pixels import Pixels, decode_bgr
from pipeline.engine.punctuation import cut_line, set_widths
from pipeline.engine.reading_order import reading_rows, reading_text
from pipeline.engine.recognition import Line, Quad, Recognition
from pipeline.engine.runtime import Backend, EngineName, find_models
from pipeline.engine.vertical import read_lines

WIDTH_STEP_PX = 64
"""Lines are padded to multiples of this: few input shapes, so that the runtime's compiled kernels are used again, and
one line at a time: a batch of them takes as long as its lines one by one, and more memory."""

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

    def __init__(self, backend: Backend, threads: int, engine: EngineName = "accurate") -> None:
        cv2.setNumThreads(threads)
        models = find_models(engine)
        runtime = _runtime(backend, threads)
        self._ocr: Any = rapidocr.RapidOCR(params=runtime | _detector(models.detector))
        # RapidOCR loads its models when they are used first.
        with suppress(RapidOCRError):  # its word for a page without text
            self._ocr.detect_and_crop(np.full((STRIP_HEIGHT_PX * 2, NARROWEST_PX, 3), 255, np.uint8), {})
        quick = LineModel(models.quick, models.quick_characters, QUICK.space_chance, runtime)
        careful = LineModel(models.careful, None, CAREFUL.space_chance, runtime) if models.careful else None
        self._reader = Reader(
            LineRecogniser(quick.read, QUICK), LineRecogniser(careful.read, CAREFUL) if careful else None
        )
        self._orientation = OrientationClassifier(models.orientation, backend, threads)

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
            part
            for reading, quad in zip(read_lines(self._reader.read, crops, quads), quads, strict=True)
            if reading.text.strip() and reading.score >= TRUSTED_SCORE
            for part in cut_line(Line(set_widths(reading.text, reading.columns), reading.score, quad), reading.columns)
        ]
        rows = reading_rows(lines)
        height, width = pixels.shape[:2]
        ordered = (line for row in rows for line, _ in row)
        return Recognition(reading_text(rows), place_on_sent_image(ordered, turn, (width, height)), turn)

    def _detect(self, pixels: Pixels) -> tuple[list[Any], list[Quad]]:
        """Return the lines' pixels, upright as far as a line alone tells, and where they stand."""
        # Strips are padded: the detector sees no text in a line that fills the picture.
        padded, operations = apply_vertical_padding(pixels, {}, STRIP_RATIO, STRIP_HEIGHT_PX)
        # Blank paper need not be looked at closer.
        quads = self._detect_at(padded, is_blank=_is_uniform(pixels))
        crops = self._ocr.crop_text_regions(padded, np.array(quads, dtype=np.float32))
        top = operations["padding_1"]["top"]
        return crops, [_shift_up(quad, top) for quad in quads]

    def _detect_at(self, pixels: Pixels, *, is_blank: bool) -> list[Quad]:
        """Return the lines of a page, looked at until the small ones are seen well, too."""
        height, width = pixels.shape[:2]
        edge_px: int | None = min(COARSE_EDGE_PX, max(width, height))
        found: list[Quad] = []
        while edge_px:
            found = merge_detections(found, self._find(pixels, edge_px))
            edge_px = None if is_blank else finer_edge_px((width, height), edge_px, found)
        return found

    def _find(self, pixels: Pixels, edge_px: int) -> list[Quad]:
        height, width = pixels.shape[:2]
        scale = edge_px / max(width, height)
        size = _in_steps(width * scale), _in_steps(height * scale)
        resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        self._ocr.text_det.limit_side_len = max(size)
        boxes = self._ocr.text_det(resized).boxes
        return [] if boxes is None else [_quad(box) for box in (boxes * (width / size[0], height / size[1])).tolist()]


class LineModel:
    """A model that reads a line.

    Args:
        model: Its file.
        characters: What it tells apart, one a line; None when its file says so.
        space_chance: From which a space is read between two characters.
        runtime: RapidOCR's settings of what runs it.
    """

    def __init__(self, model: Path, characters: Path | None, space_chance: float, runtime: dict[str, Any]) -> None:
        named = {"Rec.rec_keys_path": str(characters)} if characters else {}
        ocr: Any = rapidocr.RapidOCR(params=runtime | {"Rec.model_path": str(model)} | named)
        ocr.recognize_txt([np.full((LINE_HEIGHT_PX, NARROWEST_PX, 3), 255, np.uint8)])
        self._infer = ocr.text_rec.session
        self._characters: list[str] = ocr.text_rec.postprocess_op.character
        self._space = self._characters.index(" ")
        self._space_chance = space_chance

    def read(self, line: Pixels, squeeze: float) -> Reading:
        """Return what a line says, looked at in this part of its natural width."""
        natural = LINE_HEIGHT_PX * line.shape[1] / line.shape[0]
        # Short lines are padded anyhow; of two characters in half their width one was lost.
        width = round(min(max(natural * squeeze, min(natural, NARROWEST_PX)), WIDEST_PX)) or 1
        resized = cv2.resize(line, (width, LINE_HEIGHT_PX), interpolation=cv2.INTER_AREA)
        padded = max(math.ceil(width / WIDTH_STEP_PX) * WIDTH_STEP_PX, NARROWEST_PX)
        batch = np.zeros((1, 3, LINE_HEIGHT_PX, padded), np.float32)
        batch[0, :, :, :width] = resized.transpose(2, 0, 1) / np.float32(127.5) - 1
        probabilities = self._infer(batch)[0]
        step = padded / len(probabilities) / width
        return decode(probabilities, self._characters, step, space=self._space, space_chance=self._space_chance)


def _in_steps(edge_px: float) -> int:
    return max(1, round(edge_px / EDGE_STEP_PX)) * EDGE_STEP_PX


def _is_uniform(pixels: Pixels) -> bool:
    return int(pixels.max()) - int(pixels.min()) < FAINTEST_INK


def _quad(box: list[list[float]]) -> Quad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = box
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def _shift_up(quad: Quad, top_px: float) -> Quad:
    return _quad([[x, y - top_px] for x, y in quad])


def _detector(model: Path) -> dict[str, Any]:
    # Files are named outright, so that RapidOCR never tries to download them; "min", its default, would enlarge a blank
    # 1×500 strip until it takes 8 GiB.
    return {"Det.model_path": str(model), "Det.limit_type": "max"}


def _runtime(backend: Backend, threads: int) -> dict[str, Any]:
    kind = rapidocr.EngineType("openvino" if backend == "openvino" else "onnxruntime")
    return {
        "Global.log_level": "error",
        "Det.engine_type": kind,
        "Rec.engine_type": kind,
        "EngineConfig.openvino.inference_num_threads": threads,
        # Pinned threads of several workers would share the first cores.
        "EngineConfig.openvino.enable_cpu_pinning": False,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": backend == "cuda",
        # The default tries all algorithms for each new width of a line.
        "EngineConfig.onnxruntime.cuda_ep_cfg.cudnn_conv_algo_search": "HEURISTIC",
    }
