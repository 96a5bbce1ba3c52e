"""The recognition engine: from an encoded image to its text, on this machine.

The stages of a page, each in its module::

    decode    pixels.py             file → array
    detect    tiles.py              page much taller than wide → tiles
              detection_scales.py   array → boxes of lines, in passes from coarse to fine
              box_scores.py         which of these count as lines
    turn      orientation.py        upright? if not, the page is turned and detected again
    cut       ruled_cells.py        lines of several cells → cells, at the rules between them
    read      vertical.py           columns of vertical writing → rows
              line_reader.py        which recogniser, at which width
              ctc.py                probabilities → text, positions, confidence
              rereading.py          low-scored lines are read again, in other ways, before they are dropped
    correct   punctuation.py        full-width forms of punctuation marks
              line_cutting.py       boxes that cover two columns are cut, boxes are trimmed to their text
    order     reading_order.py      boxes → columns and rows → text
    unwarp    unwarping.py, grid.py do the lines bend? the page is flattened and read again
              straightening.py      crops of lines that bend → level ones
    check     ink.py, looks.py      much ink unread? the page is looked at again with more contrast

An engine serves one thread: OpenVINO's inference requests cannot be shared ("Infer Request is busy"), so a worker
process has an engine of its own.
"""

import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np
import rapidocr
from rapidocr.main import RapidOCRError
from rapidocr.utils.process_img import apply_vertical_padding

from pipeline.engine.box_scores import score_long_boxes_by_outline
from pipeline.engine.bullets import add_bullets
from pipeline.engine.ctc import Reading, ctc_decode, restrict
from pipeline.engine.detection_scales import COARSE_EDGE_PX, EDGE_MULTIPLE_PX, finer_edge_px, merge_detections
from pipeline.engine.geometry import place_on_sent_image
from pipeline.engine.ink import has_strokes, measure_unread, type_px
from pipeline.engine.line_cutting import cut_line
from pipeline.engine.line_reader import CAREFUL, QUICK, LineRecogniser, Reader
from pipeline.engine.looks import DOUBTFUL_SHARE, LOOKS, shows_more
from pipeline.engine.orientation import OrientationClassifier
from pipeline.engine.pixels import Pixels, decode_bgr, resize_line
from pipeline.engine.precision import Precision, check_compiled, loading_in, require_native
from pipeline.engine.punctuation import has_wide, set_widths
from pipeline.engine.reading_order import reading_rows, reading_text
from pipeline.engine.recognition import Line, Quad, Recognition
from pipeline.engine.rereading import MIN_LINE_CONFIDENCE, read_low_scored
from pipeline.engine.ruled_cells import cut_at_rules
from pipeline.engine.runtime import Backend, EngineName, find_models
from pipeline.engine.straightening import straighten_and_widen
from pipeline.engine.tiles import detect_in_tiles
from pipeline.engine.unwarping import Unwarper, is_better_flat, is_curled
from pipeline.engine.vertical import read_lines

WIDTH_MULTIPLE_PX: Final = 64
"""Lines are padded to multiples of this width, so that there are few input shapes and the runtime's compiled kernels
are reused. Lines are read one at a time: a batch takes as long as its lines one by one, and more memory."""

STRIP_ASPECT: Final = 8
STRIP_HEIGHT_PX: Final = 30
"""RapidOCR's defaults, `width_height_ratio` and `min_height`."""

LINE_HEIGHT_PX: Final = 48
MIN_LINE_WIDTH_PX: Final = 192
MAX_LINE_WIDTH_PX: Final = 12_800
"""The recogniser's input. A line that would be wider (type of 15 px across 4000 px) is narrowed to bound the memory."""

BLANK_CONTRAST: Final = 16
"""A page whose levels, 0 to 255, differ by less is blank: that much is noise of JPEG."""


class Engine:
    """Text detection, page orientation and text recognition."""

    def __init__(
        self, backend: Backend, threads: int, engine: EngineName = "accurate", precision: Precision = "f32"
    ) -> None:
        require_native(precision, backend)
        self._precision: Precision = precision
        with loading_in(precision, backend):
            self._load(backend, threads, engine)

    def _load(self, backend: Backend, threads: int, engine: EngineName) -> None:
        cv2.setNumThreads(threads)
        models = find_models(engine)
        runtime = runtime_settings(backend, threads)
        self._ocr: Any = rapidocr.RapidOCR(params=runtime | _detector_settings(models.detector))
        # RapidOCR loads its models at their first use.
        with suppress(RapidOCRError):  # raised for a page without text
            self._ocr.detect_and_crop(np.full((STRIP_HEIGHT_PX * 2, MIN_LINE_WIDTH_PX, 3), 255, np.uint8), {})
        score_long_boxes_by_outline(self._ocr.text_det.postprocess_op)
        quick = LineModel(models.quick, models.quick_characters, QUICK.space_threshold, runtime)
        careful = LineModel(models.careful, None, CAREFUL.space_threshold, runtime) if models.careful else None
        if backend == "openvino":
            for session in (self._ocr.text_det.session, quick.session, *([careful.session] if careful else [])):
                check_compiled(session.session, self._precision)
        self._reader = Reader(
            LineRecogniser(quick.read, QUICK), LineRecogniser(careful.read, CAREFUL) if careful else None
        )
        self._orientation = OrientationClassifier(models.orientation, backend, threads, self._precision)
        self._unwarper = Unwarper(models.unwarping, backend, threads, self._precision) if models.unwarping else None

    def recognise(self, image: bytes) -> Recognition:
        """Return the text of an encoded image.

        Raises:
            NotAnImageError: the data are in no format that the API accepts.
            TruncatedImageError: the data are damaged or incomplete.
        """
        pixels = decode_bgr(image)
        found = self.recognise_pixels(pixels)
        if not found.lines and (_is_blank(pixels) or not has_strokes(pixels)):
            return msgspec.structs.replace(found, unread_ink=0.0)
        return found

    def recognise_pixels(self, pixels: Pixels) -> Recognition:
        """Return the text of a page; a curled one is flattened, and read again if that gives more text."""
        found = self._look(pixels, pixels)
        if _is_blank(pixels):
            return found
        corners = [line.corners for line in found.lines]
        if self._unwarper and is_curled(corners) and (page := self._unwarper.unwarp(pixels, found.turn_deg)):
            flat = self._look(page.pixels, page.pixels, was_curled=True)
            if is_better_flat(flat, found):
                return page.place(self._look_closer(page.pixels, flat))
        return self._look_closer(pixels, found)

    def _look_closer(self, pixels: Pixels, best: Recognition) -> Recognition:
        """Return the text of a page; one of which much ink is unread is looked at again, with more contrast."""
        for change in LOOKS:
            if best.unread_ink < DOUBTFUL_SHARE:
                break
            found = self._look(change(pixels), pixels)
            best = found if shows_more(found.unread_ink, best.unread_ink) else best
        return best

    def _look(self, pixels: Pixels, sent: Pixels, *, was_curled: bool = False) -> Recognition:
        """Return the text of a page, which is turned upright before it is read; its ink is that of the sent pixels."""
        crops, quads = self._detect(pixels)
        turn_deg = self._orientation.turn_deg(pixels, quads) if quads else 0
        if turn_deg:
            pixels = np.ascontiguousarray(np.rot90(pixels, -turn_deg // 90))
            crops, quads = self._detect(pixels)
        if was_curled or is_curled(quads):
            crops, quads = straighten_and_widen(crops, quads)
        readings = read_lines(self._reader.read, crops, quads)
        readings = read_low_scored(self._reader.read_again, partial(self._crop, pixels), crops, quads, readings)
        found = [part for reading, quad in zip(readings, quads, strict=True) for part in _make_lines(reading, quad)]
        rows = reading_rows(add_bullets(pixels, found))
        height, width = pixels.shape[:2]
        ordered = (line for row in rows for line, _ in row)
        lines = place_on_sent_image(ordered, turn_deg, (width, height))
        unread = measure_unread(sent, [line.corners for line in lines])
        return Recognition(reading_text(rows), lines, turn_deg, unread.share, self._precision, unread.type_share)

    def _detect(self, pixels: Pixels) -> tuple[list[Any], list[Quad]]:
        """Return the pixels of the lines, deskewed and tall ones on their left side, and their boxes on the page."""
        # Strips are padded: the detector finds no text in a line that fills the image.
        padded, operations = apply_vertical_padding(pixels, {}, STRIP_ASPECT, STRIP_HEIGHT_PX)
        is_blank = _is_blank(pixels)
        quads = detect_in_tiles(padded, lambda part: self._detect_in_passes(part, is_blank=is_blank or _is_blank(part)))
        crop = partial(self._crop, padded)
        parts = [part for quad in quads for part in cut_at_rules(crop(quad), quad, crop)]
        top_px = operations["padding_1"]["top"]
        return [line for line, _ in parts], [_shift_up(quad, top_px) for _, quad in parts]

    def _crop(self, pixels: Pixels, quad: Quad) -> Pixels:
        """Return the pixels of a box, deskewed."""
        cropped: list[Pixels] = self._ocr.crop_text_regions(pixels, np.array([quad], dtype=np.float32))
        return cropped[0]

    def _detect_in_passes(self, pixels: Pixels, *, is_blank: bool) -> list[Quad]:
        """Return the boxes of all detection passes, merged; a blank page needs one pass."""
        height, width = pixels.shape[:2]
        edge_px: int | None = min(COARSE_EDGE_PX, max(width, height))
        found: list[Quad] = []
        while edge_px:
            found = merge_detections(found, self._detect_at_scale(pixels, edge_px))
            types_px = [type_px(pixels, quad) for quad in found]
            edge_px = None if is_blank else finer_edge_px((width, height), edge_px, types_px)
        return found

    def _detect_at_scale(self, pixels: Pixels, edge_px: int) -> list[Quad]:
        """Return the boxes found in the page scaled to this long edge, in the page's coordinates."""
        height, width = pixels.shape[:2]
        scale = edge_px / max(width, height)
        size_px = _round_to_multiple(width * scale), _round_to_multiple(height * scale)
        resized = cv2.resize(pixels, size_px, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        self._ocr.text_det.limit_side_len = max(size_px)
        boxes = self._ocr.text_det(resized).boxes
        if boxes is None:
            return []
        return [_quad(box) for box in (boxes * (width / size_px[0], height / size_px[1])).tolist()]


class LineModel:
    """A model that reads a line.

    Args:
        model: The model's file.
        characters: A file of the model's characters, one per line; None when the model's file contains them.
        space_threshold: Probability from which a space is inserted between two characters.
        runtime: RapidOCR's settings of the inference runtime.
    """

    def __init__(self, model: Path, characters: Path | None, space_threshold: float, runtime: dict[str, Any]) -> None:
        keys = {"Rec.rec_keys_path": str(characters)} if characters else {}
        ocr: Any = rapidocr.RapidOCR(params=runtime | {"Rec.model_path": str(model)} | keys)
        ocr.recognize_txt([np.full((LINE_HEIGHT_PX, MIN_LINE_WIDTH_PX, 3), 255, np.uint8)])
        self.session: Any = ocr.text_rec.session
        """RapidOCR's, which runs the model."""
        self._characters: list[str] = ocr.text_rec.postprocess_op.character
        self._is_narrow = np.array([not has_wide(character) for character in self._characters])
        self._space_index = self._characters.index(" ")
        self._space_threshold = space_threshold

    def read(self, line: Pixels, width_scale: float, *, only_narrow: bool = False) -> Reading:
        """Return the text of a line, read at this scale of its width, with or without wide characters."""
        natural_px = LINE_HEIGHT_PX * line.shape[1] / line.shape[0]
        # Short lines are not narrowed: they are padded anyway, and of two characters at half width one was lost.
        scaled_px = max(natural_px * width_scale, min(natural_px, MIN_LINE_WIDTH_PX))
        width_px = round(min(scaled_px, MAX_LINE_WIDTH_PX)) or 1
        resized = resize_line(line, (width_px, LINE_HEIGHT_PX))
        padded_px = max(math.ceil(width_px / WIDTH_MULTIPLE_PX) * WIDTH_MULTIPLE_PX, MIN_LINE_WIDTH_PX)
        batch = np.zeros((1, 3, LINE_HEIGHT_PX, padded_px), np.float32)
        batch[0, :, :, :width_px] = resized.transpose(2, 0, 1) / np.float32(127.5) - 1
        probabilities = self.session(batch)[0]
        if only_narrow:
            probabilities = restrict(probabilities, self._is_narrow)
        return ctc_decode(
            probabilities,
            self._characters,
            padded_px / len(probabilities) / width_px,
            space_index=self._space_index,
            space_threshold=self._space_threshold,
        )


def _make_lines(reading: Reading, quad: Quad) -> list[Line]:
    """Return the lines in a detected box: none when its reading is blank or not confident."""
    if not reading.text.strip() or reading.confidence < MIN_LINE_CONFIDENCE:
        return []
    line = Line(set_widths(reading.text, reading.positions), reading.confidence, quad)
    return list(cut_line(line, reading.positions))


def _is_blank(pixels: Pixels) -> bool:
    return int(pixels.max()) - int(pixels.min()) < BLANK_CONTRAST


def _round_to_multiple(edge_px: float) -> int:
    return max(1, round(edge_px / EDGE_MULTIPLE_PX)) * EDGE_MULTIPLE_PX


def _quad(box: list[list[float]]) -> Quad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = box
    return (x0, y0), (x1, y1), (x2, y2), (x3, y3)


def _shift_up(quad: Quad, distance_px: float) -> Quad:
    return _quad([[x, y - distance_px] for x, y in quad])


def _detector_settings(model: Path) -> dict[str, Any]:
    # A named file keeps RapidOCR from downloading one. Its default limit type, "min", would enlarge a blank strip of
    # 1×500 px until it takes 8 GiB.
    return {"Det.model_path": str(model), "Det.limit_type": "max"}


def runtime_settings(backend: Backend, threads: int) -> dict[str, Any]:
    """Return RapidOCR's settings of the inference runtime."""
    engine_type = rapidocr.EngineType("openvino" if backend == "openvino" else "onnxruntime")
    return {
        "Global.log_level": "error",
        "Det.engine_type": engine_type,
        "Rec.engine_type": engine_type,
        "EngineConfig.openvino.inference_num_threads": threads,
        # With pinning, the threads of all workers would share the first cores.
        "EngineConfig.openvino.enable_cpu_pinning": False,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": backend == "cuda",
        # The default, an exhaustive search, tries all algorithms for each new width of a line.
        "EngineConfig.onnxruntime.cuda_ep_cfg.cudnn_conv_algo_search": "HEURISTIC",
        # The default on NVIDIA GPUs since Ampere, TensorFloat-32, rounds to 10 bits what single precision keeps in 23.
        "EngineConfig.onnxruntime.cuda_ep_cfg.use_tf32": False,
    }
