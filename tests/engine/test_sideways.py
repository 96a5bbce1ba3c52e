"""Text that runs up or down a page of rows."""

import pytest

from pipeline.engine.rows import Box
from pipeline.engine.sideways import insert_sideways, is_sideways
from tests.engine.geometry import column


def order(rows: list[list[Box]], *sideways: tuple[Box, str]) -> list[int]:
    """Return the indices of the boxes in reading order."""
    return [box.index for row in insert_sideways(rows, sideways) for box in row]


def cells(count: int) -> list[list[Box]]:
    """Return rows that are no running text."""
    return [[Box(0, 30 * i, 300, 30 * i + 20, i, is_prose=False)] for i in range(count)]


@pytest.mark.parametrize(
    ("text", "width", "height", "expected"),
    [("87332450", 20, 100, True), ("87332450", 100, 20, False), ("《", 20, 40, False), ("成品包材", 20, 80, True)],
)
def test_a_tall_box_of_several_characters_is_sideways(
    text: str, width: float, height: float, *, expected: bool
) -> None:
    assert is_sideways(Box(0, 0, width, height, 0), text) is expected


def test_a_number_in_the_margin_is_read_after_the_row_at_its_middle() -> None:
    assert order(cells(6), (Box(400, 20, 420, 140, 9), "87332450")) == [0, 1, 2, 9, 3, 4, 5]


def test_a_paragraph_is_not_interrupted() -> None:
    paragraph = [[box] for box in column(0, 0, 6)]
    assert order([*paragraph, [Box(0, 400, 300, 420, 6)]], (Box(420, 20, 440, 140, 9), "87332450")) == [*range(6), 9, 6]


def test_sideways_text_below_all_rows_is_read_last() -> None:
    assert order(cells(2), (Box(400, 200, 420, 320, 9), "87332450")) == [0, 1, 9]
    assert order([], (Box(400, 200, 420, 320, 9), "87332450")) == [9]


def test_columns_of_vertical_writing_are_read_from_the_right() -> None:
    columns = [(Box(400 + 30 * i, 200, 420 + 30 * i, 320, 7 + i), "春眠不觉晓") for i in range(3)]
    assert order(cells(2), *columns) == [0, 1, 9, 8, 7]
