"""Which recogniser reads a line."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.ctc import Reading
from pipeline.engine.line_reader import (
    CAREFUL,
    MAX_SECOND_LENGTH,
    MIN_PAGE_CONFIDENCE,
    MIN_QUICK_CONFIDENCE,
    MIN_SCRIPT_CONFIDENCE,
    MIN_SURE_CONFIDENCE,
    QUICK,
    LineRecogniser,
    Reader,
    choose_doubtful,
)
from pipeline.engine.pixels import Pixels
from pipeline.engine.punctuation import has_wide


class ScriptedRecogniser:
    """Returns scripted texts by the width of the line.

    Attributes:
        calls: The width and the horizontal scale of each line that was read.
    """

    def __init__(self, texts: dict[int, str], min_confidence: float = 1.0) -> None:
        self.calls: list[tuple[int, float]] = []
        self._texts = texts
        self._min_confidence = min_confidence

    def read(self, line: Pixels, width_scale: float, *, only_narrow: bool = False) -> Reading:
        """Return the line's text."""
        assert not only_narrow
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


def says(text: str, confidence: float, min_confidence: float = 0.9) -> Reading:
    """Return a reading."""
    positions = tuple(0.01 * i for i in range(len(text.replace(" ", ""))))
    return Reading(text, confidence, positions, min_confidence)


def read_page(
    quick: Callable[[Pixels, float, bool], Reading], careful: Callable[[Pixels, float, bool], Reading], *widths: int
) -> list[str]:
    """Return the texts of lines of these widths; the recognisers get the scale, and whether wide characters count."""

    def recogniser(read: Callable[[Pixels, float, bool], Reading]) -> LineRecogniser:
        def read_line(line: Pixels, width_scale: float, *, only_narrow: bool = False) -> Reading:
            return read(line, width_scale, only_narrow)

        return LineRecogniser(read_line, CAREFUL)

    readings = Reader(recogniser(quick), recogniser(careful)).read([line(width) for width in widths])
    return [reading.text for reading in readings]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        pytest.param(says("Dete", 0.93, 0.7), says("Date", 0.97), "Date", id="the-second-is-surer"),
        pytest.param(says("4.60", 0.97, 0.7), says("4,60", 0.95), "4.60", id="the-first-is-surer"),
        pytest.param(says("Date", 0.95, MIN_SURE_CONFIDENCE), says("Dale", 0.99), "Date", id="sure-enough"),
        pytest.param(says("248.015", 0.97, 0.7), says("248.05", 1.0), "248.05", id="a-number"),
        pytest.param(says("= 1", 0.93, 0.7), says("二 1", 0.99), "= 1", id="no-chinese-by-the-way"),
    ],
)
def test_on_a_doubtful_page_the_surer_reading_of_a_doubtful_line_is_kept(
    first: Reading, second: Reading, text: str
) -> None:
    assert first.confidence < MIN_PAGE_CONFIDENCE
    assert read_page(lambda *_: first, lambda *_: second, 100) == [text]


def test_on_a_good_page_a_doubtful_line_is_left_to_the_quick_recogniser() -> None:
    good, doubtful = says("a line of a good page" * 10, 1.0), says("Dete", 0.93, 0.7)
    quick = {100: doubtful, 900: good}
    assert read_page(lambda line, *_: quick[line.shape[1]], lambda *_: says("Date", 1.0), 100, 900)[0] == "Dete"


@pytest.mark.parametrize(("min_confidence", "text"), [(0.7, "Village"), (0.2, "Vi11age")])
def test_of_two_widths_the_least_certain_character_counts(min_confidence: float, text: str) -> None:
    def careful(_line: Pixels, width_scale: float, _only_narrow: bool) -> Reading:  # noqa: FBT001
        return says("Village", 0.97, min_confidence) if width_scale == 1 else says("Vi11age", 0.96, 0.6)

    assert read_page(lambda *_: says("?", 0.6, 0.3), careful, 100) == [text]


WITH_WIDE, WITHOUT = says("家家 GST Summary 家", MIN_SCRIPT_CONFIDENCE - 0.05, 0.3), says("** GST Summary *", 0.8)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        pytest.param(says("Cashier", 1.0), WITHOUT.text, id="no-chinese"),
        pytest.param(says("一", 0.9), WITHOUT.text, id="a-dash-is-no-chinese"),
        pytest.param(says("收银员", 0.9), WITH_WIDE.text, id="chinese"),
    ],
)
def test_on_a_page_without_chinese_a_mark_is_not_read_as_chinese(other: Reading, text: str) -> None:
    """Asterisks of a dot-matrix printer look like Chinese characters."""

    def read(line: Pixels, _width_scale: float, only_narrow: bool) -> Reading:  # noqa: FBT001
        if line.shape[1] == 100:
            return says("Cashier", 0.8) if only_narrow else other
        return WITHOUT if only_narrow else WITH_WIDE

    assert read_page(read, read, 100, 900)[1] == text


@pytest.mark.parametrize(
    ("row", "marks"),
    [
        pytest.param(says("家家家家", 0.6, 0.1), says("≈≈44", 0.7), id="no-surer-reading"),
        pytest.param(says("家家家家", 0.35, 0.1), says("****", 0.9), id="a-row-that-is-dropped"),
    ],
)
def test_a_reading_without_wide_characters_is_not_taken_for_its_own_sake(row: Reading, marks: Reading) -> None:
    assert read_page(lambda *_: row, lambda *args: marks if args[-1] else row, 900) == ["家家家家"]


@pytest.mark.parametrize(
    ("first", "narrow", "text"),
    [
        pytest.param(says("3月", 0.99), says("3", 1.0), "3月", id="a-character-is-lost"),
        pytest.param(says("：C1", 0.96), says(": C1", 0.99), ": C1", id="a-mark-is-replaced"),
    ],
)
def test_the_only_chinese_character_of_a_page_is_kept(first: Reading, narrow: Reading, text: str) -> None:
    """No narrow character is like it, so without wide ones its place is blank."""
    assert read_page(lambda *_: first, lambda *args: narrow if args[-1] else first, 900) == [text]


@given(
    st.lists(
        st.tuples(st.sampled_from(["total", "12.50", "合计"]), st.floats(0, 1), st.floats(0, 1), st.integers(1, 2000)),
        max_size=30,
    )
)
def test_few_lines_are_read_twice(page: list[tuple[str, float, float, int]]) -> None:
    readings = [says(text, confidence, least) for text, confidence, least, _ in page]
    lines = [line(width) for *_, width in page]
    chosen = choose_doubtful(readings, lines)
    assert sum(lines[i].shape[1] / lines[i].shape[0] for i in chosen) <= MAX_SECOND_LENGTH
    assert len(chosen) == len(set(chosen))
    assert not any(has_wide(readings[i].text) or readings[i].confidence < 0.5 for i in chosen)
    assert all(readings[i].min_confidence < MIN_SURE_CONFIDENCE for i in chosen)
