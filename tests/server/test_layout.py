"""Reading order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.layout import reading_rows, reading_text
from pipeline.server.recognition import Line, Point


def line(text: str, x: float, y: float, *, width: float = 100, height: float = 20, slope_deg: float = 0.0) -> Line:
    """Return a line whose top left corner stands at (x, y), turned about the page's origin."""
    cos, sin = math.cos(math.radians(slope_deg)), math.sin(math.radians(slope_deg))

    def turn(px: float, py: float) -> Point:
        return (px * cos - py * sin, px * sin + py * cos)

    corners = (turn(x, y), turn(x + width, y), turn(x + width, y + height), turn(x, y + height))
    return Line(text, 0.99, corners)


def test_a_page_without_lines_has_no_text() -> None:
    """Nothing found is the empty text."""
    assert reading_text([]) == ""


def test_rows_are_read_from_the_top_and_boxes_from_the_left() -> None:
    """A space joins the boxes of a row, a newline the rows."""
    lines = [line("d", 200, 50), line("a", 0, 0), line("c", 0, 52), line("b", 200, 3)]
    assert reading_text(lines) == "a b\nc d"


def test_touching_rows_stay_apart() -> None:
    """Lines that share less than half their height are two rows."""
    assert reading_text([line("lower", 0, 11), line("upper", 0, 0)]) == "upper\nlower"


def test_small_type_beside_large_type_is_one_row() -> None:
    """The smaller height decides what level means."""
    assert reading_text([line("No.", 0, 25, height=12), line("INVOICE", 120, 0, height=60)]) == "No. INVOICE"


@pytest.mark.parametrize("slope_deg", [-3, -1, 1, 3])
def test_a_slanted_scan_keeps_its_rows(slope_deg: float) -> None:
    """At 3 degrees the end of a row of three boxes stands lower than the start of the next row."""
    names = [[f"r{row}c{column}" for column in range(3)] for row in range(6)]
    lines = [
        line(names[row][column], 420 * column, 40 * row, width=400, slope_deg=slope_deg)
        for row in range(6)
        for column in range(3)
    ]
    assert reading_text(reversed(lines)) == "\n".join(" ".join(row) for row in names)


places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


@given(st.lists(places, max_size=30))
def test_every_line_is_read_exactly_once(places: list[tuple[float, float, float, float, float]]) -> None:
    """Whatever their places, no line is lost and none is doubled."""
    lines = [
        line(str(i), x, y, width=width, height=height, slope_deg=slope)
        for i, (x, y, width, height, slope) in enumerate(places)
    ]
    read = [found.text for row in reading_rows(lines) for found in row]
    assert sorted(read) == sorted(str(i) for i in range(len(lines)))
    assert all(reading_rows(lines))
