"""Columns before rows."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.reading_order import reading_rows, reading_text, regions
from pipeline.engine.recognition import Line
from pipeline.engine.rows import Box
from tests.engine.geometry import column, line, quad
from tests.evaluation.layouts import LAYOUTS, Layout, make_page
from tests.evaluation.pages import Page
from tests.evaluation.writing import LANGUAGES


def order(boxes: list[Box]) -> list[list[int]]:
    """Return the boxes' numbers by region, whatever the order in which they are given."""
    shuffled = random.Random(len(boxes)).sample(boxes, len(boxes))
    return [sorted(box.number for box in region) for region in regions(shuffled)]


def numbers(*counts: int) -> list[list[int]]:
    """Return consecutive numbers in lists of these lengths."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [list(range(end - count, end)) for count, end in zip(counts, ends, strict=True)]


def test_nothing_has_no_region() -> None:
    """A blank page."""
    assert regions([]) == []


def test_one_column_is_one_region() -> None:
    """Nothing to cut."""
    assert order(column(0, 0, 10)) == numbers(10)


@pytest.mark.parametrize("offset", [0, 7, 15])
def test_two_columns_are_read_one_after_the_other(offset: float) -> None:
    """Whether or not their lines stand level."""
    assert order(column(0, 0, 10) + column(425, offset, 10, first=10)) == numbers(10, 10)


def test_three_columns_under_a_heading_across_the_page() -> None:
    """The heading ends the gutters, and comes first."""
    heading = [Box(100, -80, 1100, -40, 0)]
    boxes = heading + [box for i in range(3) for box in column(425 * i, 0, 10, first=1 + 10 * i)]
    assert order(boxes) == numbers(1, 10, 10, 10)


def test_a_short_heading_ends_the_gutters_that_it_does_not_reach() -> None:
    """It stands alone above the middle column, in larger type."""
    first = [box for i in range(3) for box in column(425 * i, 0, 10, first=10 * i)]
    heading = [Box(500, 330, 700, 360, 30)]
    second = [box for i in range(3) for box in column(425 * i, 390, 10, first=31 + 10 * i)]
    assert order(first + heading + second) == numbers(10, 10, 10, 1, 10, 10, 10)


def test_a_heading_in_a_column_stays_in_it() -> None:
    """Text stands beside it."""
    left = [*column(0, 0, 5), Box(100, 160, 300, 186, 5), *column(0, 205, 5, first=6)]
    assert order(left + column(425, 0, 12, first=11)) == numbers(11, 12)


def test_the_high_box_of_a_last_short_word_is_no_heading() -> None:
    """A picture stands beside it."""
    left = [*column(0, 0, 7), Box(0, 206, 30, 234, 7), *column(0, 240, 6, first=8)]
    assert order(left + column(425, 0, 6, first=14) + column(425, 240, 6, first=20)) == numbers(14, 6, 6)


def test_white_across_the_page_ends_columns() -> None:
    """A picture stands there."""
    above = column(0, 0, 6) + column(425, 0, 6, first=6)
    below = column(0, 400, 6, first=12) + column(425, 400, 6, first=18)
    assert order(above + below) == numbers(6, 6, 6, 6)


def test_small_notes_at_the_foot_of_the_left_column_end_the_page() -> None:
    """They belong to both columns when nothing stands beside them."""
    text = column(0, 0, 10) + column(425, 0, 10, first=10)
    assert order(text + column(0, 340, 3, width=200, height=16, first=20)) == numbers(10, 10, 3)


def test_a_longer_left_column_is_not_torn() -> None:
    """Its last lines are as large as the others."""
    assert order(column(0, 0, 14) + column(425, 0, 10, first=14)) == numbers(14, 10)


def test_columns_that_run_around_a_quotation_are_read_one_after_the_other() -> None:
    """It stands in the gutter, pushes both aside, and is read after them."""
    left = [*column(0, 0, 5), *column(0, 150, 5, width=250, first=5), *column(0, 300, 5, first=10)]
    right = [*column(425, 0, 5, first=15), *column(575, 150, 5, width=250, first=20), *column(425, 300, 5, first=25)]
    quotation = column(300, 150, 3, width=225, height=32, first=30)
    assert order(left + right + quotation) == numbers(15, 15, 3)


def test_an_introduction_at_the_head_of_the_columns_is_read_before_them() -> None:
    """The columns are narrower beside it."""
    introduction = column(220, 0, 4, width=360, height=26)
    left = [*column(0, 0, 5, width=200, first=4), *column(0, 150, 12, first=9)]
    right = [*column(600, 0, 5, width=225, first=21), *column(425, 150, 12, first=26)]
    assert order(introduction + left + right) == numbers(4, 17, 17)


def test_a_heading_across_two_of_three_columns_ends_only_their_gutter() -> None:
    """The third column stands beside it in its full width."""
    heading = [Box(0, 310, 825, 336, 20)]
    left = column(0, 0, 10) + column(425, 0, 10, first=10) + heading
    below = column(0, 350, 10, first=21) + column(425, 350, 10, first=31)
    assert order(left + below + column(850, 7, 24, first=41)) == numbers(10, 10, 1, 10, 10, 24)


def test_columns_that_stand_level_beside_a_picture_are_columns() -> None:
    """Most of their lines are shorter than the column, as a table's cells are, but so are those next to them."""
    left = [*column(0, 0, 6), *column(0, 180, 14, width=200, first=6)]
    right = [*column(425, 0, 6, first=20), *column(625, 180, 14, width=200, first=26)]
    assert order(left + right) == numbers(20, 20)


def test_a_heading_across_three_columns_does_not_make_a_table_of_two() -> None:
    """It makes the widest line much wider than the columns beside the fourth are."""
    heading = [Box(0, 210, 825, 230, 14)]
    left = column(0, 0, 7) + column(425, 0, 7, first=7) + heading
    below = column(0, 240, 7, first=15) + column(425, 240, 7, first=22)
    assert order(left + below + column(850, 0, 15, first=29)) == numbers(7, 7, 1, 7, 7, 15)


@pytest.mark.parametrize("lean", [-0.03, 0.03])
def test_a_gutter_may_lean(lean: float) -> None:
    """A page that was curved under the scanner has no straight one."""
    boxes = column(0, 0, 20) + column(412, 0, 20, first=20)
    leaning = [
        Box(box.left + lean * box.top, box.top, box.right + lean * box.top, box.bottom, box.number) for box in boxes
    ]
    assert order(leaning) == numbers(20, 20)


def test_a_table_is_one_region() -> None:
    """Its cells are short and level, and the white between them is wide."""
    cells = [
        Box(200 * i, 30 * row, 200 * i + 70 + 9 * (row % 3), 30 * row + 20, 4 * row + i)
        for row in range(8)
        for i in range(4)
    ]
    assert order(cells) == numbers(32)


def test_a_numbered_list_is_one_region() -> None:
    """The numbers stand level with their lines."""
    items = [
        box
        for row in range(8)
        for box in (Box(0, 30 * row, 25, 30 * row + 20, 2 * row), Box(50, 30 * row, 450, 30 * row + 20, 2 * row + 1))
    ]
    assert order(items) == numbers(16)


def test_notes_in_the_margin_are_read_apart() -> None:
    """They do not stand level with the text."""
    margin = [Box(0, 37 + 130 * i, 90, 50 + 130 * i, i) for i in range(3)]
    assert order(margin + column(120, 0, 14, first=3)) == numbers(1, 1, 1, 14)


@given(
    counts=st.lists(st.integers(4, 20), min_size=2, max_size=4),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    seed=st.integers(0, 10**6),
)
def test_small_shifts_change_nothing(counts: list[int], shift: tuple[float, float], seed: int) -> None:
    """A page moved as a whole, each of its boxes by a pixel more, is read in the same order."""
    source = random.Random(seed)
    boxes = [box for i, count in enumerate(counts) for box in column(425 * i, 0, count, first=sum(counts[:i]))]
    moved = [
        Box(
            box.left + shift[0] + source.uniform(-1, 1),
            box.top + shift[1] + source.uniform(-1, 1),
            box.right + shift[0] + source.uniform(-1, 1),
            box.bottom + shift[1] + source.uniform(-1, 1),
            box.number,
        )
        for box in boxes
    ]
    assert order(moved) == order(boxes) == numbers(*counts)


@given(st.lists(st.tuples(*[st.floats(0, 3000)] * 2, *[st.floats(0, 1500)] * 2), max_size=40))
def test_every_box_stands_in_one_region(places: list[tuple[float, float, float, float]]) -> None:
    """None is lost and none is doubled, however they overlap."""
    boxes = [Box(x, y, x + width, y + height, i) for i, (x, y, width, height) in enumerate(places)]
    assert sorted(box.number for region in regions(boxes) for box in region) == list(range(len(boxes)))


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
