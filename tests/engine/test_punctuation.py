"""Full-width punctuation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.punctuation import cut_line, is_wide, set_widths
from pipeline.engine.recognition import Line, Quad
from tests.engine.geometry import line, quad

ADVANCES_EM = {"(": 0.35, ")": 0.35, ",": 0.28, ";": 0.28, " ": 0.25}
INK_EM = {"（": 0.75, "《": 0.75, "，": 0.25, "；": 0.25, "）": 0.25, "》": 0.25, "。": 0.25}


def columns(printed: str, em: float = 5.0) -> list[float]:
    """Return where the recogniser sees the characters of a printed line: in whole steps of its grid."""
    places, x = [], 0.0
    for character in printed:
        advance = 1.0 if is_wide(character) else ADVANCES_EM.get(character, 0.55)
        if character != " ":
            places.append(float(round((x + INK_EM.get(character, advance / 2)) * em)))
        x += advance
    return places


@pytest.mark.parametrize(
    ("read", "printed"),
    [
        pytest.param("《黄茶医院》(29卷)由移交", "《黄茶医院》（29卷）由移交", id="brackets"),
        pytest.param("据说;尚未,编目", "据说；尚未，编目", id="marks"),
        pytest.param("(29卷)由移交", "（29卷）由移交", id="first-bracket-follows-the-second"),
        pytest.param("一书(新版)", "一书（新版）", id="last-bracket-follows-the-first"),
        pytest.param("(新版", "（新版", id="alone-at-the-end"),
        pytest.param("与Renthorwell(1829年)修建", "与Renthorwell（1829年）修建", id="pair-has-one-width"),
        pytest.param("(787卷）由滁佛编写", "（787卷）由滁佛编写", id="mate-of-a-full-width"),
    ],
)
def test_a_mark_with_the_room_of_a_full_width_is_written_so(read: str, printed: str) -> None:
    """The recogniser gave the ASCII form."""
    assert set_widths(read, columns(printed)) == printed


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param("据说(无栽)桥梁", id="brackets"),
        pytest.param("据说(无栽", id="one-bracket"),
        pytest.param("一书;尚未,编目", id="marks"),
        pytest.param("见 Smith (1890) 一书", id="english-brackets"),
        pytest.param("in (29) May, 1890; (see below)", id="english"),
        pytest.param("(1)", id="no-chinese"),
    ],
)
def test_a_narrow_mark_stays_narrow(printed: str) -> None:
    """What was printed in half the width, or beside Latin letters."""
    assert set_widths(printed, columns(printed)) == printed


def test_without_places_nothing_changes() -> None:
    """As many places as characters are needed."""
    assert set_widths("据说(无栽)桥梁", []) == "据说(无栽)桥梁"


@given(st.text(alphabet="档案文字ab 1(),;（），", max_size=20), st.lists(st.floats(0, 500), max_size=20))
def test_only_the_form_of_marks_changes(text: str, places: list[float]) -> None:
    """Wherever the characters stand."""
    narrow = str.maketrans("（），；", "(),;")
    assert set_widths(text, places).translate(narrow) == text.translate(narrow)


HEIGHT_PX = 20.0


def places(*runs: tuple[float, str]) -> list[float]:
    """Return where characters of half the line's height stand, each run from its place in px, of a line of 400 px."""
    return [(x + HEIGHT_PX / 2 * (i + 0.5)) / 400 for x, text in runs for i, c in enumerate(text) if c != " "]


def edges(parts: list[Line]) -> list[float]:
    """Return the left and right edges of upright lines."""
    return [corner[0] for part in parts for corner in part.corners[:2]]


def test_a_line_ends_where_its_text_does() -> None:
    """The detector's box reaches over it by two heights, and the next column begins there."""
    (part,) = cut_line(line("a word or two", 0, 0, width=400), places((10, "a word or two")))
    assert part.text == "a word or two"
    assert edges([part]) == pytest.approx([8, 142])


def test_wide_white_makes_two_lines_of_one() -> None:
    """Two columns were detected as one line."""
    both = line("left text right", 100, 50, width=400)
    parts = list(cut_line(both, places((0, "left text "), (200, "right"))))
    assert [part.text for part in parts] == ["left text", "right"]
    assert edges(parts) == pytest.approx([100, 192, 298, 352])
    assert {part.confidence for part in parts} == {both.confidence}


@pytest.mark.parametrize("space_px", [0, 5, 15])
def test_a_space_between_words_cuts_nothing(space_px: float) -> None:
    """Nor does that of a justified line."""
    assert len(list(cut_line(line("one two", 0, 0, width=400), places((0, "one"), (30 + space_px, "two"))))) == 1


def test_the_parts_of_a_leaning_line_lean() -> None:
    """They lie on it."""
    leaning = line("ab cd", 0, 0, width=400, slope_deg=10)
    parts = list(cut_line(leaning, places((0, "ab"), (300, "cd"))))
    assert len(parts) == 2
    for part in parts:
        (x0, y0), (x1, y1) = part.corners[:2]
        assert math.degrees(math.atan2(y1 - y0, x1 - x0)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "shares", "corners"),
    [
        pytest.param("ab", [0.1], quad(0, 0, 400, 20), id="a-place-is-missing"),
        pytest.param(" ", [], quad(0, 0, 400, 20), id="no-text"),
        pytest.param("ab", [0.1, 0.9], quad(0, 0, 20, 400), id="on-its-side"),
        pytest.param("ab", [0.1, 0.9], quad(0, 0, 0, 0), id="no-extent"),
    ],
)
def test_what_cannot_be_placed_stays_as_it_is(text: str, shares: list[float], corners: Quad) -> None:
    """Nothing is lost."""
    assert list(cut_line(Line(text, 0.9, corners), shares)) == [Line(text, 0.9, corners)]


@given(st.text("字a ，b", min_size=1, max_size=12), st.lists(st.floats(0, 1.1), max_size=12))
def test_no_character_is_lost(text: str, shares: list[float]) -> None:
    """Whatever the places: the parts make the text, but for white space, and stand on the line."""
    parts = list(cut_line(line(text, 0, 0, width=400), sorted(shares)))
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())
    assert all(0 <= part.corners[0][0] <= part.corners[1][0] <= 400 for part in parts)
