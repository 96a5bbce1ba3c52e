"""Which recogniser reads a line."""

import numpy as np

from pipeline.engine.ctc import Reading
from pipeline.engine.line_reader import CAREFUL, MIN_QUICK_CONFIDENCE, QUICK, LineRecogniser, Reader
from pipeline.engine.pixels import Pixels


class ScriptedRecogniser:
    """Returns scripted texts by the width of the line.

    Attributes:
        calls: The width and the horizontal scale of each line that was read.
    """

    def __init__(self, texts: dict[int, str], min_confidence: float = 1.0) -> None:
        self.calls: list[tuple[int, float]] = []
        self._texts = texts
        self._min_confidence = min_confidence

    def read(self, line: Pixels, width_scale: float) -> Reading:
        """Return the line's text."""
        self.calls.append((line.shape[1], width_scale))
        return Reading(self._texts[line.shape[1]], 0.9, min_confidence=self._min_confidence)


def line(width_px: int) -> Pixels:
    """Return the pixels of a line."""
    return np.zeros((10, width_px, 3), np.uint8)


def reader(quick: ScriptedRecogniser, careful: ScriptedRecogniser | None = None) -> Reader:
    """Return a reader with these recognisers."""
    return Reader(LineRecogniser(quick.read, QUICK), LineRecogniser(careful.read, CAREFUL) if careful else None)


def test_the_careful_recogniser_reads_letters_only_when_the_quick_one_is_in_doubt() -> None:
    doubtful = MIN_QUICK_CONFIDENCE - 0.01
    for min_confidence, calls in ((MIN_QUICK_CONFIDENCE, []), (doubtful, [(100, CAREFUL.narrow_scale)])):
        quick, careful = ScriptedRecogniser({100: "quick"}, min_confidence), ScriptedRecogniser({100: "careful"})
        (reading,) = reader(quick, careful).read([line(100)])
        assert quick.calls == [(100, QUICK.narrow_scale)]
        assert careful.calls == calls
        assert reading.text == ("careful" if calls else "quick")


def test_the_careful_recogniser_reads_all_chinese() -> None:
    """The quick recogniser confidently takes the characters that it does not know for similar ones."""
    quick, careful = ScriptedRecogniser({100: "娥卷戚檔"}), ScriptedRecogniser({100: "娥卷戚擋"})
    (reading,) = reader(quick, careful).read([line(100)])
    assert reading.text == "娥卷戚擋"
    assert careful.calls == [(100, CAREFUL.wide_scale)]


def test_after_a_chinese_line_the_quick_recogniser_is_skipped() -> None:
    quick = ScriptedRecogniser({100: "第一"})
    careful = ScriptedRecogniser({100: "第一", 200: "第二", 300: "第三 Page"})
    readings = reader(quick, careful).read([line(width) for width in (300, 200, 100)])
    assert [reading.text for reading in readings] == ["第三 Page", "第二", "第一"]
    assert quick.calls == [(100, QUICK.narrow_scale)]
    assert careful.calls == [(width, CAREFUL.wide_scale) for width in (100, 200, 300)]


def test_letters_after_a_chinese_line_are_read_again_at_the_scale_of_letters() -> None:
    quick = ScriptedRecogniser({100: "第一"})
    careful = ScriptedRecogniser({100: "第一", 200: "Page"})
    reader(quick, careful).read([line(100), line(200)])
    assert careful.calls == [(100, CAREFUL.wide_scale), (200, CAREFUL.wide_scale), (200, CAREFUL.narrow_scale)]


def test_without_a_careful_recogniser_the_quick_one_reads_all() -> None:
    """The fast engine has no careful recogniser."""
    quick = ScriptedRecogniser({100: "第一", 200: "second"}, min_confidence=0.1)
    assert [reading.text for reading in reader(quick).read([line(100), line(200)])] == ["第一", "second"]
    assert quick.calls == [(100, QUICK.narrow_scale), (200, QUICK.wide_scale), (200, QUICK.narrow_scale)]
    assert reader(quick).read([]) == []
