"""Cells of several lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.cells import find_stacks
from pipeline.engine.rows import Box

places = st.lists(st.tuples(*[st.floats(0, 1000)] * 2, st.floats(1, 400), st.floats(1, 60)), max_size=25)


def stacks(boxes: list[Box]) -> list[list[int]]:
    """Return the indices of the boxes of each stack of several lines."""
    return sorted([box.index for box in stack] for stack in find_stacks(boxes) if len(stack) > 1)


def names(*tops: float) -> list[Box]:
    """Return the lines of a column of names, 20 px high."""
    return [Box(0, top, 180, top + 20, i) for i, top in enumerate(tops)]


def numbers(*tops: float) -> list[Box]:
    """Return the lines of a column of numbers beside it."""
    return [Box(220, top, 300, top + 20, 100 + i) for i, top in enumerate(tops)]


@pytest.mark.parametrize("pitch", [18, 20, 24])
def test_two_lines_around_the_line_beside_them_are_a_cell(pitch: float) -> None:
    tops = [row * 70 + line * pitch for row in range(4) for line in range(2)]
    assert stacks(names(*tops) + numbers(*(row * 70 + pitch / 2 for row in range(4)))) == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
    ]


def test_three_lines_around_the_line_beside_them_are_a_cell() -> None:
    tops = [row * 90 + line * 22 for row in range(3) for line in range(3)]
    assert stacks(names(*tops) + numbers(*(row * 90 + 22 for row in range(3)))) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize("lean", [0, 6])
def test_two_lines_of_which_the_first_is_level_with_the_row_are_a_cell(lean: float) -> None:
    """A column has several, with more white between them; the far end of the rows is not quite level."""
    tops = [row * 66 + line * 24 for row in range(3) for line in range(2)]
    firsts = [row * 66 for row in range(3)]
    dates = [Box(500, top - lean, 600, top - lean + 20, 200 + i) for i, top in enumerate(firsts)]
    assert stacks(names(*tops) + numbers(*firsts) + dates) == [[0, 1], [2, 3], [4, 5]]


def test_a_cell_of_three_lines_among_cells_of_two_is_whole() -> None:
    """Its first two lines alone would be a cell, too, as the distances of lines are not quite equal."""
    tops = [0, 22, 49, 90, 114, 156, 180]
    assert stacks(names(*tops) + numbers(0, 90, 156)) == [[0, 1, 2], [3, 4], [5, 6]]


def test_tables_of_both_kinds_on_one_page_have_their_stacks() -> None:
    """Above, numbers are level with the middle of a cell, and below with its first line."""
    tops = [row * 60 + line * 24 for row in range(6) for line in range(2)]
    middles = [row * 60 + (12 if row < 3 else 0) for row in range(6)]
    assert stacks(names(*tops) + numbers(*middles)) == [[2 * row, 2 * row + 1] for row in range(6)]


def test_lines_below_the_items_of_a_receipt_are_rows() -> None:
    """They are as far from the next item as from their own."""
    tops = [row * 48 + line * 24 for row in range(5) for line in range(2)]
    assert stacks(names(*tops) + numbers(*(row * 48 for row in range(5)))) == []


def test_an_item_between_two_lines_of_its_own_is_three_rows() -> None:
    """Its number is level with the middle line, as the number of any row is."""
    assert stacks(names(0, 24, 48, 74, 98) + numbers(24, 74)) == []


def test_a_line_across_all_columns_is_in_no_stack() -> None:
    """A paragraph above labels and values is level with no box, as the first line of a cell would be."""
    paragraph = Box(0, 0, 400, 20, 50)
    assert stacks([paragraph, *names(24, 48), *numbers(24, 48)]) == []


def test_rows_of_single_lines_have_no_stacks() -> None:
    """Level with each other, or off by a part of a line on a page that is not quite straight."""
    for off in (0, 4, 11, 15):
        tops = [22 * row for row in range(8)]
        assert stacks(names(*tops) + numbers(*(top + off for top in tops))) == []


def test_a_label_of_several_rows_does_not_join_them() -> None:
    """It is centred beside rows that have cells of their own."""
    tops = [0, 22, 60, 82]
    cells = [Box(320, top, 400, top + 20, 200 + i) for i, top in enumerate(tops)]
    assert stacks(names(*tops) + numbers(11, 71) + cells) == []


def test_running_text_has_no_stacks() -> None:
    assert stacks(names(*(24 * i for i in range(30)))) == []


@given(places)
def test_every_box_is_in_exactly_one_stack(places: list[tuple[float, float, float, float]]) -> None:
    boxes = [Box(x, y, x + width, y + height, i) for i, (x, y, width, height) in enumerate(places)]
    assert sorted(box.index for stack in find_stacks(boxes) for box in stack) == list(range(len(boxes)))
