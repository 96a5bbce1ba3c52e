"""Boxes on a deskewed page, and their rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import rows
from pipeline.engine.rows import Box, ByAxis, deskew, group_into_rows, is_level, type_height_px
from tests.engine.geometry import quad

SKEWS_DEG = st.floats(-4, 4)
boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height, 0),
    *[st.floats(0, 1000)] * 2,
    *[st.floats(0, 200)] * 2,
)
places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


@given(SKEWS_DEG)
def test_a_skewed_page_has_the_boxes_of_the_straight_one(slope_deg: float) -> None:
    straight = [quad(100, 50 * i, 400, 20) for i in range(5)]
    skewed = [quad(100, 50 * i, 400, 20, slope_deg) for i in range(5)]
    for one, other in zip(deskew(straight), deskew(skewed), strict=True):
        assert (one.left, one.top, one.right, one.bottom) == pytest.approx(
            (other.left, other.top, other.right, other.bottom), abs=1e-6
        )
        assert one.index == other.index


def test_the_rightmost_column_of_vertical_writing_is_the_first_row() -> None:
    boxes = deskew([quad(100 * i, 0, 30, 600) for i in range(4)])
    assert [box.index for row in group_into_rows(boxes) for box in row] == [3, 2, 1, 0]
    assert all(box.width > box.height for box in boxes)


def test_one_tall_character_does_not_make_a_page_vertical() -> None:
    """For example, a drop capital."""
    boxes = deskew([quad(0, 0, 40, 90), quad(60, 0, 400, 20), quad(60, 40, 400, 20), quad(60, 80, 400, 20)])
    assert [box.width for box in boxes] == pytest.approx([40, 400, 400, 400])


def test_a_curled_page_keeps_its_rows() -> None:
    """Neighbours are level, though the ends of a row are not."""
    boxes = [
        Box(110 * i, 30 * row + 4 * i, 110 * i + 100, 30 * row + 4 * i + 20, 10 * row + i)
        for row in (0, 1)
        for i in range(9)
    ]
    assert [[box.index for box in row] for row in group_into_rows(boxes)] == [list(range(9)), list(range(10, 19))]


@given(st.floats(1, 100), st.floats(1, 100), st.floats(-100, 100))
def test_being_level_is_symmetric(one_height: float, other_height: float, offset: float) -> None:
    one, other = Box(0, 0, 10, one_height, 0), Box(20, offset, 30, offset + other_height, 1)
    assert is_level(one, other) == is_level(other, one)


@given(st.lists(boxes, max_size=20), boxes)
def test_the_boxes_level_with_one_are_found_as_by_a_search_of_all(others: list[Box], box: Box) -> None:
    level = [other for other in sorted(others, key=lambda other: other.middle) if is_level(box, other)]
    assert ByAxis(others).level_with(box) == level


@given(st.lists(boxes, max_size=20), st.floats(0, 1200), st.floats(0, 1200))
def test_the_boxes_at_a_height_are_found_as_by_a_search_of_all(others: list[Box], top: float, bottom: float) -> None:
    from_top = sorted(others, key=lambda other: other.middle)
    assert ByAxis(others).between(top, bottom) == [other for other in from_top if top < other.middle < bottom]


def test_a_page_twice_as_long_takes_twice_the_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box is compared with the rows near it, not with all rows above it."""
    compared: list[Box] = []
    counts: list[int] = []

    def compare(one: Box, other: Box) -> bool:
        compared.append(one)
        return is_level(one, other)

    monkeypatch.setattr(rows, "is_level", compare)
    for count in (100, 200):
        compared.clear()
        assert len(group_into_rows(Box(0, 30 * i, 100, 30 * i + 20, i) for i in range(count))) == count
        counts.append(len(compared))
    assert counts[1] <= 2 * counts[0] + 1


def test_the_type_height_is_that_of_most_text() -> None:
    """Boxes are weighted by their width."""
    body = [Box(0, 40 * i, 600, 40 * i + 24, i) for i in range(5)]
    assert type_height_px([*body, Box(0, 900, 300, 960, 5), *(Box(0, 999, 20, 1011, i) for i in range(6, 20))]) == 24
    assert type_height_px([]) == 1


@given(st.lists(places, max_size=20))
def test_every_box_is_finite_and_its_edges_are_in_order(places: list[tuple[float, float, float, float, float]]) -> None:
    """Whatever the detector returns."""
    for box in deskew([quad(*place) for place in places]):
        assert box.left <= box.right
        assert box.top <= box.bottom
        assert math.isfinite(box.left + box.top + box.right + box.bottom)
