"""Which recogniser reads a line."""

import numpy as np
import pytest

from pipeline.server.engine.decode import Pixels
from pipeline.server.engine.reader import SQUEEZE, SURE, Reader, Reading, Script, decode, script_of


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


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Page 3, “see above”", Script.LETTERS),
        ("1961", Script.LETTERS),
        ("", Script.LETTERS),
        ("第三章，1961年", Script.WIDE),
        ("（二）", Script.WIDE),
        ("见 Page 3", Script.MIXED),
        ("größer als 三", Script.MIXED),
    ],
)
def test_a_script_is_told_by_the_characters(text: str, script: Script) -> None:
    """Figures and marks go with either."""
    assert script_of(text) is script


def test_letters_are_left_to_the_quick_recogniser_as_long_as_it_is_sure() -> None:
    """A doubt about one character asks the careful one."""
    for least, asked in ((SURE, []), (SURE - 0.01, [(100, SQUEEZE[Script.LETTERS])])):
        quick, careful = ScriptedRecogniser({100: "quick"}, least), ScriptedRecogniser({100: "careful"})
        (reading,) = Reader(quick.read, careful.read).read([line(100)])
        assert quick.asked == [(100, 1.0)]
        assert careful.asked == asked
        assert reading.text == ("careful" if asked else "quick")


def test_chinese_is_never_left_to_the_quick_recogniser() -> None:
    """However sure it is: it knows a third of the characters."""
    quick, careful = ScriptedRecogniser({100: "娥卷戚檔"}), ScriptedRecogniser({100: "娥卷戚擋"})
    (reading,) = Reader(quick.read, careful.read).read([line(100)])
    assert reading.text == "娥卷戚擋"
    assert careful.asked == [(100, SQUEEZE[Script.WIDE])]


def test_a_line_after_a_chinese_one_is_expected_to_be_chinese() -> None:
    """The quick recogniser is not asked; letters that come up are read at the width that they need."""
    quick = ScriptedRecogniser({100: "第一"})
    careful = ScriptedRecogniser({100: "第一", 200: "第二", 300: "第三 Page", 400: "第四 Page"})
    readings = Reader(quick.read, careful.read).read([line(width) for width in (400, 300, 200, 100)])
    assert [reading.text for reading in readings] == ["第四 Page", "第三 Page", "第二", "第一"]
    assert quick.asked == [(100, 1.0)]
    wide, mixed = SQUEEZE[Script.WIDE], SQUEEZE[Script.MIXED]
    assert careful.asked == [(100, wide), (200, wide), (300, wide), (300, mixed), (400, mixed)]


def test_letters_among_mixed_lines_are_read_at_the_width_that_they_need() -> None:
    """They bear less."""
    quick = ScriptedRecogniser({100: "见 Page"})
    careful = ScriptedRecogniser({100: "见 Page", 200: "Page"})
    Reader(quick.read, careful.read).read([line(100), line(200)])
    assert [squeeze for width, squeeze in careful.asked if width == 200] == [
        SQUEEZE[Script.MIXED],
        SQUEEZE[Script.LETTERS],
    ]


def test_without_a_careful_recogniser_the_quick_one_reads_all() -> None:
    """The fast engine."""
    quick = ScriptedRecogniser({100: "第一", 200: "second"}, least=0.1)
    assert [reading.text for reading in Reader(quick.read).read([line(100), line(200)])] == ["第一", "second"]
    assert Reader(quick.read).read([]) == []


def answer(*steps: tuple[int, float], characters: int = 5) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return a recogniser's answer in which each step has one character with this chance."""
    probabilities = np.zeros((len(steps), characters), np.float32)
    for i, (character, chance) in enumerate(steps):
        probabilities[i, character] = chance
    return probabilities


def test_repeats_are_one_character_unless_a_blank_stands_between() -> None:
    """CTC's best path; white space has no column, and counts among the scores where it begins."""
    steps = answer((0, 1), (1, 0.5), (1, 0.75), (0, 1), (1, 1), (4, 1), (2, 1), (2, 0.25), (3, 0.5), (0, 0.25))
    reading = decode(steps, ["blank", "l", "o", "字", " "], 0.1)
    assert reading.text == "ll o字"
    assert reading.columns == pytest.approx((0.15, 0.45, 0.65, 0.85))
    assert reading.score == pytest.approx((0.5 + 1 + 1 + 1 + 0.5) / 5)
    assert reading.least == 0.5


def test_nothing_read_is_no_text() -> None:
    """A line of paper."""
    assert decode(answer((0, 1), (0, 0.9)), ["blank", "a"], 0.5) == Reading()
