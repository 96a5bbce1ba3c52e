"""Boxes on a straightened page, and their rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.rows import Box, is_level, rows, straighten, type_height
from tests.engine.geometry import quad

SLOPES_DEG = st.floats(-4, 4)
places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


@given(SLOPES_DEG)
def test_a_leaning_page_is_straightened(slope_deg: float) -> None:
    """The boxes are those of the upright page, in their order."""
    upright = [quad(100, 50 * i, 400, 20) for i in range(5)]
    leaning = [quad(100, 50 * i, 400, 20, slope_deg) for i in range(5)]
    for one, other in zip(straighten(upright), straighten(leaning), strict=True):
        assert (one.left, one.top, one.right, one.bottom) == pytest.approx(
            (other.left, other.top, other.right, other.bottom), abs=1e-6
        )
        assert one.number == other.number


def test_columns_of_vertical_writing_become_rows_from_the_right() -> None:
    """The rightmost column is the first row."""
    boxes = straighten([quad(100 * i, 0, 30, 600) for i in range(4)])
    assert [box.number for row in rows(boxes) for box in row] == [3, 2, 1, 0]
    assert all(box.width > box.height for box in boxes)


def test_one_tall_character_does_not_make_a_page_vertical() -> None:
    """A drop capital stands among lines."""
    boxes = straighten([quad(0, 0, 40, 90), quad(60, 0, 400, 20), quad(60, 40, 400, 20), quad(60, 80, 400, 20)])
    assert [box.width for box in boxes] == pytest.approx([40, 400, 400, 400])


def test_a_curled_page_keeps_its_rows() -> None:
    """Neighbours stand level, though the ends of a row do not."""
    boxes = [
        Box(110 * i, 30 * row + 4 * i, 110 * i + 100, 30 * row + 4 * i + 20, 10 * row + i)
        for row in (0, 1)
        for i in range(9)
    ]
    assert [[box.number for box in row] for row in rows(boxes)] == [list(range(9)), list(range(10, 19))]


@given(st.floats(1, 100), st.floats(1, 100), st.floats(-100, 100))
def test_level_is_mutual(one_height: float, other_height: float, offset: float) -> None:
    """Whichever is asked first."""
    one, other = Box(0, 0, 10, one_height, 0), Box(20, offset, 30, offset + other_height, 1)
    assert is_level(one, other) == is_level(other, one)


def test_the_height_of_type_is_that_of_most_text() -> None:
    """A heading and a page number weigh as much as they are wide."""
    body = [Box(0, 40 * i, 600, 40 * i + 24, i) for i in range(5)]
    assert type_height([*body, Box(0, 900, 300, 960, 5), *(Box(0, 999, 20, 1011, i) for i in range(6, 20))]) == 24
    assert type_height([]) == 1


@given(st.lists(places, max_size=20))
def test_every_box_is_finite_and_the_right_way_round(places: list[tuple[float, float, float, float, float]]) -> None:
    """Whatever the detector gives."""
    for box in straighten([quad(*place) for place in places]):
        assert box.left <= box.right
        assert box.top <= box.bottom
        assert math.isfinite(box.left + box.top + box.right + box.bottom)
