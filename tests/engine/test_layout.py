"""Reading order."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.layout import reading_rows, reading_text
from pipeline.engine.recognition import Line
from tests.engine.geometry import line, quad
from tests.evaluation.layouts import LAYOUTS, Layout, make_page
from tests.evaluation.pages import Page
from tests.evaluation.writing import LANGUAGES


def text(lines: Iterable[Line]) -> str:
    """Return what lines make when they are read in order."""
    return reading_text(reading_rows(lines))


def test_a_page_without_lines_has_no_text() -> None:
    """Nothing found is the empty text."""
    assert text([]) == ""


def test_rows_are_read_from_the_top_and_boxes_from_the_left() -> None:
    """A space joins the boxes of a row, a newline the rows."""
    lines = [line("d", 200, 50), line("a", 0, 0), line("c", 0, 52), line("b", 200, 3)]
    assert text(lines) == "a b\nc d"


def test_touching_rows_stay_apart() -> None:
    """Lines that share less than half their height are two rows."""
    assert text([line("lower", 0, 11), line("upper", 0, 0)]) == "upper\nlower"


def test_small_type_beside_large_type_is_one_row() -> None:
    """The smaller height decides what level means."""
    assert text([line("No.", 0, 25, height=12), line("INVOICE", 120, 0, height=60)]) == "No. INVOICE"


@pytest.mark.parametrize("slope_deg", [-3, -1, 1, 3])
def test_a_slanted_scan_keeps_its_rows(slope_deg: float) -> None:
    """At 3 degrees the end of a row of three boxes stands lower than the start of the next row."""
    names = [[f"r{row}c{column}" for column in range(3)] for row in range(6)]
    lines = [
        line(names[row][column], 420 * column, 40 * row, width=200, slope_deg=slope_deg)
        for row in range(6)
        for column in range(3)
    ]
    assert text(reversed(lines)) == "\n".join(" ".join(row) for row in names)


places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


@given(st.lists(places, max_size=30))
def test_every_line_is_read_exactly_once(places: list[tuple[float, float, float, float, float]]) -> None:
    """Whatever their places, no line is lost and none is doubled."""
    lines = [
        line(str(i), x, y, width=width, height=height, slope_deg=slope)
        for i, (x, y, width, height, slope) in enumerate(places)
    ]
    read = [found.text for row in reading_rows(lines) for found, _ in row]
    assert sorted(read) == sorted(str(i) for i in range(len(lines)))
    assert all(reading_rows(lines))


def detected(page: Page, source: random.Random, slope_deg: float) -> list[Line]:
    """Return a page's lines as a detector gives them: in any order, a few pixels off, the page at an angle."""
    lines = []
    for word in (word for row in page.rows for word in row):
        left, _, right, _ = word.box
        top, height = word.y + 0.1 * word.font.size, 1.25 * word.font.size
        x, y = left - 4 + source.uniform(-2, 2), top + source.uniform(-2, 2)
        lines.append(Line(word.text, 0.9, quad(x, y, right - left + 8, height, slope_deg)))
    source.shuffle(lines)
    return lines


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("slope_deg", [0.0, 1.7, -1.7])
def test_pages_are_read_in_the_order_in_which_they_were_set(layout: Layout, slope_deg: float) -> None:
    """Columns, headings across them and in them, tables, captions, footnotes; Chinese and English."""
    source = random.Random(f"{layout} {slope_deg}")
    for language in LANGUAGES:
        page = make_page(layout, language, f"order {slope_deg}")
        assert text(detected(page, source, slope_deg)) == page.truth


def test_chinese_lines_that_touch_are_one() -> None:
    """The detector parts lines at a comma; there is no space between Chinese characters."""
    assert text([line("入冬之前，", 0, 0), line("重修桥梁", 104, 1)]) == "入冬之前，重修桥梁"


@pytest.mark.parametrize(
    ("one", "other", "x"),
    [
        pytest.param("数量", "单价", 130, id="cells"),
        pytest.param("the first", "and the second", 104, id="words"),
        pytest.param("档案", "No. 7", 104, id="two-scripts"),
    ],
)
def test_a_space_parts_what_stands_apart_and_latin_words(one: str, other: str, x: float) -> None:
    """White of half a line's height counts, and any between Latin words."""
    assert text([line(other, x, 0), line(one, 0, 0)]) == f"{one} {other}"


def test_vertical_columns_are_read_from_the_right() -> None:
    """Chinese as it was set for two thousand years."""
    columns = [line(text, 100 - 40 * i, 5 * i, width=30, height=400) for i, text in enumerate("甲乙丙")]
    assert text(reversed(columns)) == "甲\n乙\n丙"
