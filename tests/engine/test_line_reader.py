"""Which recogniser reads a line."""

from collections.abc import Mapping

import numpy as np
import pytest

from pipeline.engine.line_reader import CAREFUL, QUICK, SURE, LineRecogniser, Reader, Reading, decode, has_wide
from pipeline.engine.pixels import Pixels


class ScriptedRecogniser:
    """Reads what it was told of lines, which are known by their width.

    Attributes:
        asked: The width and the squeeze of each line that it was asked for.
    """

    def __init__(self, texts: dict[int, str], least: float = 1.0) -> None:
        self.asked: list[tuple[int, float]] = []
        self._texts = texts
        self._least = least

    def read(self, line: Pixels, squeeze: float) -> Reading:
        """Return the line's text."""
        self.asked.append((line.shape[1], squeeze))
        return Reading(self._texts[line.shape[1]], 0.9, least=self._least)


def line(width_px: int) -> Pixels:
    """Return a line's pixels."""
    return np.zeros((10, width_px, 3), np.uint8)


def reader(quick: ScriptedRecogniser, careful: ScriptedRecogniser | None = None) -> Reader:
    """Return a reader that asks these."""
    return Reader(LineRecogniser(quick.read, QUICK), LineRecogniser(careful.read, CAREFUL) if careful else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Page 3, “see above”", False),
        ("1961", False),
        ("", False),
        ("第三章，1961年", True),
        ("（", True),
        ("größer als 三", True),
    ],
)
def test_figures_and_marks_go_with_either_script(text: str, *, expected: bool) -> None:
    """Only what fills a square is Chinese."""
    assert has_wide(text) is expected


def test_letters_are_left_to_the_quick_recogniser_as_long_as_it_is_sure() -> None:
    """A doubt about one character asks the careful one."""
    for least, asked in ((SURE, []), (SURE - 0.01, [(100, CAREFUL.letters)])):
        quick, careful = ScriptedRecogniser({100: "quick"}, least), ScriptedRecogniser({100: "careful"})
        (reading,) = reader(quick, careful).read([line(100)])
        assert quick.asked == [(100, QUICK.letters)]
        assert careful.asked == asked
        assert reading.text == ("careful" if asked else "quick")


def test_chinese_is_never_left_to_the_quick_recogniser() -> None:
    """However sure it is: it knows a third of the characters."""
    quick, careful = ScriptedRecogniser({100: "娥卷戚檔"}), ScriptedRecogniser({100: "娥卷戚擋"})
    (reading,) = reader(quick, careful).read([line(100)])
    assert reading.text == "娥卷戚擋"
    assert careful.asked == [(100, CAREFUL.wide)]


def test_a_line_after_a_chinese_one_is_expected_to_be_chinese() -> None:
    """The quick recogniser is not asked."""
    quick = ScriptedRecogniser({100: "第一"})
    careful = ScriptedRecogniser({100: "第一", 200: "第二", 300: "第三 Page"})
    readings = reader(quick, careful).read([line(width) for width in (300, 200, 100)])
    assert [reading.text for reading in readings] == ["第三 Page", "第二", "第一"]
    assert quick.asked == [(100, QUICK.letters)]
    assert careful.asked == [(width, CAREFUL.wide) for width in (100, 200, 300)]


def test_letters_among_chinese_lines_are_read_at_the_width_that_they_need() -> None:
    """They bear less."""
    quick = ScriptedRecogniser({100: "第一"})
    careful = ScriptedRecogniser({100: "第一", 200: "Page"})
    reader(quick, careful).read([line(100), line(200)])
    assert careful.asked == [(100, CAREFUL.wide), (200, CAREFUL.wide), (200, CAREFUL.letters)]


def test_without_a_careful_recogniser_the_quick_one_reads_all() -> None:
    """The fast engine."""
    quick = ScriptedRecogniser({100: "第一", 200: "second"}, least=0.1)
    assert [reading.text for reading in reader(quick).read([line(100), line(200)])] == ["第一", "second"]
    assert quick.asked == [(100, QUICK.letters), (200, QUICK.wide), (200, QUICK.letters)]
    assert reader(quick).read([]) == []


CHARACTERS = ["blank", "l", "o", "字", " ", ")", "."]
SPACE = 4


def answer(*steps: Mapping[int, float]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return a recogniser's answer in which each step has these chances."""
    probabilities = np.zeros((len(steps), len(CHARACTERS)), np.float32)
    for i, chances in enumerate(steps):
        for character, chance in chances.items():
            probabilities[i, character] = chance
    return probabilities


def read(*steps: Mapping[int, float], space_chance: float = 0.25) -> Reading:
    """Return what an answer says, a step being a tenth of the line."""
    return decode(answer(*steps), CHARACTERS, 0.1, space=SPACE, space_chance=space_chance)


def test_repeats_are_one_character_unless_a_blank_stands_between() -> None:
    """CTC's best path; white space has no column, and counts among the scores where it begins."""
    best = (0, 1), (1, 0.5), (1, 0.75), (0, 1), (1, 1), (4, 1), (2, 1), (2, 0.25), (3, 0.5), (0, 0.25)
    reading = read(*({character: chance} for character, chance in best))
    assert reading.text == "ll o字"
    assert reading.columns == pytest.approx((0.15, 0.45, 0.65, 0.85))
    assert reading.score == pytest.approx((0.5 + 1 + 1 + 1 + 0.5) / 5)
    assert reading.least == 0.5


@pytest.mark.parametrize("letters", ["lo", "字l", "l字", "l)", ".字"])
def test_a_space_that_is_likely_enough_stands_between_two_characters(letters: str) -> None:
    """It counts for no score."""
    before, after = map(CHARACTERS.index, letters)
    reading = read({before: 1.0}, {0: 1.0}, {0: 0.75, SPACE: 0.25}, {0: 1.0}, {after: 1.0})
    assert reading.text == f"{letters[0]} {letters[1]}"
    assert (reading.score, reading.least, len(reading.columns)) == (1.0, 1.0, 2)
    doubted = read({before: 1.0}, {0: 0.75, SPACE: 0.25}, {after: 1.0}, space_chance=0.26)
    assert doubted.text == letters


@pytest.mark.parametrize("letters", ["字字", "字)", ")字", ".)"])
def test_what_only_looks_like_a_space_is_none(letters: str) -> None:
    """White in the squares of Chinese characters and their punctuation, or between two marks."""
    before, after = map(CHARACTERS.index, letters)
    assert read({before: 1.0}, {0: 0.5, SPACE: 0.5}, {after: 1.0}).text == letters


def test_a_space_comes_once() -> None:
    """White beside a space that was seen is the same."""
    white = {0: 0.5, SPACE: 0.5}
    for letters in ("lo", "字l", "l字"):
        before, after = map(CHARACTERS.index, letters)
        reading = read({before: 1.0}, white, {SPACE: 1.0}, white, {after: 1.0})
        assert reading.text == f"{letters[0]} {letters[1]}"


def test_without_a_gap_there_is_no_space() -> None:
    """Neighbouring steps have nothing between them."""
    assert read({1: 0.7, SPACE: 0.3}, {2: 0.7, SPACE: 0.3}).text == "lo"


def test_nothing_read_is_no_text() -> None:
    """A line of paper, be it with white that could be a space."""
    assert read({0: 1.0}, {0: 0.7, SPACE: 0.3}) == Reading()
