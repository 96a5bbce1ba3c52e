"""Lines as long as their text, and cut at wide white."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.pieces import cut_line
from pipeline.engine.recognition import Line, Quad
from tests.engine.geometry import line, quad

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
