"""Lines cut at wide white, and boxes trimmed to their text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.line_cutting import cut_line
from pipeline.engine.recognition import Line, Quad
from tests.engine.geometry import line, quad

HEIGHT_PX = 20.0


def positions_of(*runs: tuple[float, str]) -> list[float]:
    """Return the positions, as shares of 400 px, of characters of half a line height; each run begins at its px."""
    return [(x + HEIGHT_PX / 2 * (i + 0.5)) / 400 for x, text in runs for i, c in enumerate(text) if c != " "]


def edges(parts: list[Line]) -> list[float]:
    """Return the left and right edges of horizontal lines."""
    return [corner[0] for part in parts for corner in part.corners[:2]]


def test_a_box_is_trimmed_to_its_text() -> None:
    """A detector's box can be two line heights longer than its text and reach into the next column."""
    (part,) = cut_line(line("a word or two", 0, 0, width=400), positions_of((10, "a word or two")))
    assert part.text == "a word or two"
    assert edges([part]) == pytest.approx([8, 142])


def test_a_box_over_two_columns_becomes_two_lines() -> None:
    both = line("left text right", 100, 50, width=400)
    parts = list(cut_line(both, positions_of((0, "left text "), (200, "right"))))
    assert [part.text for part in parts] == ["left text", "right"]
    assert edges(parts) == pytest.approx([100, 192, 298, 352])
    assert {part.confidence for part in parts} == {both.confidence}


@pytest.mark.parametrize("space_px", [0, 5, 15])
def test_a_space_between_words_does_not_cut_a_line(space_px: float) -> None:
    """The widest here is that of a justified line."""
    assert len(list(cut_line(line("one two", 0, 0, width=400), positions_of((0, "one"), (30 + space_px, "two"))))) == 1


def test_the_parts_of_a_skewed_line_have_its_angle() -> None:
    skewed = line("ab cd", 0, 0, width=400, slope_deg=10)
    parts = list(cut_line(skewed, positions_of((0, "ab"), (300, "cd"))))
    assert len(parts) == 2
    for part in parts:
        (x0, y0), (x1, y1) = part.corners[:2]
        assert math.degrees(math.atan2(y1 - y0, x1 - x0)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "positions", "corners"),
    [
        pytest.param("ab", [0.1], quad(0, 0, 400, 20), id="a-position-is-missing"),
        pytest.param(" ", [], quad(0, 0, 400, 20), id="no-text"),
        pytest.param("ab", [0.1, 0.9], quad(0, 0, 20, 400), id="vertical"),
        pytest.param("ab", [0.1, 0.9], quad(0, 0, 0, 0), id="no-extent"),
    ],
)
def test_a_line_that_cannot_be_measured_is_unchanged(text: str, positions: list[float], corners: Quad) -> None:
    assert list(cut_line(Line(text, 0.9, corners), positions)) == [Line(text, 0.9, corners)]


@given(st.text("字a ，b", min_size=1, max_size=12), st.lists(st.floats(0, 1.1), max_size=12))
def test_no_character_is_lost_and_no_part_leaves_the_line(text: str, positions: list[float]) -> None:
    """Whatever the positions are."""
    parts = list(cut_line(line(text, 0, 0, width=400), sorted(positions)))
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())
    assert all(0 <= part.corners[0][0] <= part.corners[1][0] <= 400 for part in parts)
