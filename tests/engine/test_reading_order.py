"""Reading order: columns before rows."""

import random
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import reading_order
from pipeline.engine.gutters import Gutter, find_gutters
from pipeline.engine.reading_order import MAX_COMPARED, cut_into_regions, reading_rows, reading_text
from pipeline.engine.recognition import Line
from pipeline.engine.rows import Box
from tests.engine.geometry import column, line, quad
from tests.evaluation.layouts import LAYOUTS, Layout, make_page
from tests.evaluation.pages import Page
from tests.evaluation.writing import LANGUAGES


def order(boxes: list[Box]) -> list[list[int]]:
    """Return the indices of the boxes by region; the boxes are given in random order."""
    shuffled = random.Random(len(boxes)).sample(boxes, len(boxes))
    return [sorted(box.index for box in region) for region in cut_into_regions(shuffled)]


def indices(*counts: int) -> list[list[int]]:
    """Return consecutive indices in lists of these lengths."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [list(range(end - count, end)) for count, end in zip(counts, ends, strict=True)]


def test_a_blank_page_has_no_region() -> None:
    assert cut_into_regions([]) == []


def test_one_column_is_one_region() -> None:
    assert order(column(0, 0, 10)) == indices(10)


@pytest.mark.parametrize("offset", [0, 7, 15])
def test_two_columns_are_read_one_after_the_other(offset: float) -> None:
    """Whether or not their lines are level."""
    assert order(column(0, 0, 10) + column(425, offset, 10, first=10)) == indices(10, 10)


def test_a_heading_across_the_page_is_read_before_its_three_columns() -> None:
    heading = [Box(100, -80, 1100, -40, 0)]
    boxes = heading + [box for i in range(3) for box in column(425 * i, 0, 10, first=1 + 10 * i)]
    assert order(boxes) == indices(1, 10, 10, 10)


def test_a_short_heading_ends_the_gutters_that_it_does_not_reach() -> None:
    """It is alone above the middle column, in larger type."""
    first = [box for i in range(3) for box in column(425 * i, 0, 10, first=10 * i)]
    heading = [Box(500, 330, 700, 360, 30)]
    second = [box for i in range(3) for box in column(425 * i, 390, 10, first=31 + 10 * i)]
    assert order(first + heading + second) == indices(10, 10, 10, 1, 10, 10, 10)


def test_a_heading_in_a_column_stays_in_it() -> None:
    """There is text beside it."""
    left = [*column(0, 0, 5), Box(100, 160, 300, 186, 5), *column(0, 205, 5, first=6)]
    assert order(left + column(425, 0, 12, first=11)) == indices(11, 12)


def test_the_high_box_of_a_short_last_line_is_not_a_heading() -> None:
    """There is a picture beside it."""
    left = [*column(0, 0, 7), Box(0, 206, 30, 234, 7), *column(0, 240, 6, first=8)]
    assert order(left + column(425, 0, 6, first=14) + column(425, 240, 6, first=20)) == indices(14, 6, 6)


def test_a_band_across_the_page_ends_the_columns() -> None:
    """For example, a picture."""
    above = column(0, 0, 6) + column(425, 0, 6, first=6)
    below = column(0, 400, 6, first=12) + column(425, 400, 6, first=18)
    assert order(above + below) == indices(6, 6, 6, 6)


def test_small_type_at_the_foot_of_the_left_column_is_read_last() -> None:
    """Footnotes belong to both columns when there is nothing beside them."""
    text = column(0, 0, 10) + column(425, 0, 10, first=10)
    assert order(text + column(0, 340, 3, width=200, height=16, first=20)) == indices(10, 10, 3)


def test_a_longer_left_column_is_not_split() -> None:
    """Its last lines are as large as the others."""
    assert order(column(0, 0, 14) + column(425, 0, 10, first=14)) == indices(14, 10)


def test_a_quotation_between_two_columns_is_read_after_them() -> None:
    """It pushes the lines of both columns aside."""
    left = [*column(0, 0, 5), *column(0, 150, 5, width=250, first=5), *column(0, 300, 5, first=10)]
    right = [*column(425, 0, 5, first=15), *column(575, 150, 5, width=250, first=20), *column(425, 300, 5, first=25)]
    quotation = column(300, 150, 3, width=225, height=32, first=30)
    assert order(left + right + quotation) == indices(15, 15, 3)


def test_an_introduction_at_the_head_of_the_columns_is_read_before_them() -> None:
    """The columns are narrower beside it."""
    introduction = column(220, 0, 4, width=360, height=26)
    left = [*column(0, 0, 5, width=200, first=4), *column(0, 150, 12, first=9)]
    right = [*column(600, 0, 5, width=225, first=21), *column(425, 150, 12, first=26)]
    assert order(introduction + left + right) == indices(4, 17, 17)


def test_a_heading_across_two_of_three_columns_ends_only_their_gutter() -> None:
    """The third column is beside it."""
    heading = [Box(0, 310, 825, 336, 20)]
    left = column(0, 0, 10) + column(425, 0, 10, first=10) + heading
    below = column(0, 350, 10, first=21) + column(425, 350, 10, first=31)
    assert order(left + below + column(850, 7, 24, first=41)) == indices(10, 10, 1, 10, 10, 24)


def test_columns_with_level_lines_beside_a_picture_are_not_a_table() -> None:
    """Most of their lines are as short as a table's cells, and so are the lines next to them."""
    left = [*column(0, 0, 6), *column(0, 180, 14, width=200, first=6)]
    right = [*column(425, 0, 6, first=20), *column(625, 180, 14, width=200, first=26)]
    assert order(left + right) == indices(20, 20)


def test_a_heading_across_three_columns_does_not_hide_the_fourth() -> None:
    """It makes the widest line much wider than a column."""
    heading = [Box(0, 210, 825, 230, 14)]
    left = column(0, 0, 7) + column(425, 0, 7, first=7) + heading
    below = column(0, 240, 7, first=15) + column(425, 240, 7, first=22)
    assert order(left + below + column(850, 0, 15, first=29)) == indices(7, 7, 1, 7, 7, 15)


@pytest.mark.parametrize("skew", [-0.03, 0.03])
def test_a_gutter_may_be_skewed(skew: float) -> None:
    """A page that was curved on the scanner has no straight gutter."""
    boxes = column(0, 0, 20) + column(412, 0, 20, first=20)
    skewed = [
        Box(box.left + skew * box.top, box.top, box.right + skew * box.top, box.bottom, box.index) for box in boxes
    ]
    assert order(skewed) == indices(20, 20)


def test_a_table_is_one_region() -> None:
    """Its cells are short and level, and the white between them is wide."""
    cells = [
        Box(200 * i, 30 * row, 200 * i + 70 + 9 * (row % 3), 30 * row + 20, 4 * row + i)
        for row in range(8)
        for i in range(4)
    ]
    assert order(cells) == indices(32)


def test_a_numbered_list_is_one_region() -> None:
    """The indices are level with their lines."""
    items = [
        box
        for row in range(8)
        for box in (Box(0, 30 * row, 25, 30 * row + 20, 2 * row), Box(50, 30 * row, 450, 30 * row + 20, 2 * row + 1))
    ]
    assert order(items) == indices(16)


def test_marginal_notes_are_regions_of_their_own() -> None:
    """They are not level with the text."""
    margin = [Box(0, 37 + 130 * i, 90, 50 + 130 * i, i) for i in range(3)]
    assert order(margin + column(120, 0, 14, first=3)) == indices(1, 1, 1, 14)


@given(
    counts=st.lists(st.integers(4, 20), min_size=2, max_size=4),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    seed=st.integers(0, 10**6),
)
def test_shifts_of_a_pixel_do_not_change_the_order(counts: list[int], shift: tuple[float, float], seed: int) -> None:
    rng = random.Random(seed)
    boxes = [box for i, count in enumerate(counts) for box in column(425 * i, 0, count, first=sum(counts[:i]))]
    moved = [
        Box(
            box.left + shift[0] + rng.uniform(-1, 1),
            box.top + shift[1] + rng.uniform(-1, 1),
            box.right + shift[0] + rng.uniform(-1, 1),
            box.bottom + shift[1] + rng.uniform(-1, 1),
            box.index,
        )
        for box in boxes
    ]
    assert order(moved) == order(boxes) == indices(*counts)


@given(st.lists(st.tuples(*[st.floats(0, 3000)] * 2, *[st.floats(0, 1500)] * 2), max_size=40))
def test_every_box_is_in_exactly_one_region(places: list[tuple[float, float, float, float]]) -> None:
    boxes = [Box(x, y, x + width, y + height, i) for i, (x, y, width, height) in enumerate(places)]
    assert sorted(box.index for region in cut_into_regions(boxes) for box in region) == list(range(len(boxes)))


def text(lines: Iterable[Line]) -> str:
    """Return the text of lines in reading order."""
    return reading_text(reading_rows(lines))


def test_a_page_without_lines_has_no_text() -> None:
    assert text([]) == ""


def test_rows_are_read_from_the_top_and_their_boxes_from_the_left() -> None:
    lines = [line("d", 200, 50), line("a", 0, 0), line("c", 0, 52), line("b", 200, 3)]
    assert text(lines) == "a\tb\nc\td"


def test_rows_that_overlap_by_less_than_half_their_height_are_two() -> None:
    assert text([line("lower", 0, 11), line("upper", 0, 0)]) == "upper\nlower"


def test_small_type_beside_large_type_is_in_its_row() -> None:
    assert text([line("No.", 0, 25, height=12), line("INVOICE", 120, 0, height=60)]) == "No. INVOICE"


@pytest.mark.parametrize("slope_deg", [-3, -1, 1, 3])
def test_a_skewed_scan_keeps_its_rows(slope_deg: float) -> None:
    """At 3 degrees the end of a row of three boxes is below the beginning of the next row."""
    names = [[f"r{row}c{column}" for column in range(3)] for row in range(6)]
    lines = [
        line(names[row][column], 420 * column, 40 * row, width=200, slope_deg=slope_deg)
        for row in range(6)
        for column in range(3)
    ]
    assert text(reversed(lines)) == "\n".join("\t".join(row) for row in names)


places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


@given(st.lists(places, max_size=30))
def test_every_line_is_read_exactly_once(places: list[tuple[float, float, float, float, float]]) -> None:
    lines = [
        line(str(i), x, y, width=width, height=height, slope_deg=slope)
        for i, (x, y, width, height, slope) in enumerate(places)
    ]
    read = [found.text for row in reading_rows(lines) for found, _ in row]
    assert sorted(read) == sorted(str(i) for i in range(len(lines)))
    assert all(reading_rows(lines))


def detected(page: Page, rng: random.Random, slope_deg: float) -> list[Line]:
    """Return a page's lines as a detector gives them: in random order, a few pixels off, on a skewed page."""
    lines = []
    for word in (word for row in page.rows for word in row):
        left, _, right, _ = word.box
        top, height = word.y + 0.1 * word.font.size, 1.25 * word.font.size
        x, y = left - 4 + rng.uniform(-2, 2), top + rng.uniform(-2, 2)
        lines.append(Line(word.text, 0.9, quad(x, y, right - left + 8, height, slope_deg)))
    rng.shuffle(lines)
    return lines


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("slope_deg", [0.0, 1.7, -1.7])
def test_pages_are_read_in_the_order_in_which_they_were_typeset(layout: Layout, slope_deg: float) -> None:
    rng = random.Random(f"{layout} {slope_deg}")
    for language in LANGUAGES:
        page = make_page(layout, language, f"order {slope_deg}")
        # Cells that white separates have a tab between them.
        assert text(detected(page, rng, slope_deg)).replace("\t", " ") == page.truth


def test_labels_and_values_are_read_by_rows() -> None:
    """Though they are not quite level, and as long as lines of text."""
    labels = ["NAME OF SHIP", "PORT OF CALL", "MASTER'S NAME", "DATE OF ENTRY", "CARGO IN TONS"]
    values = ["Aurora of Riga", "Queenborough", "Henrik Lindqvist", "12 March 1846", "1,240.50"]
    lines = [line(label, 0, 30 * i) for i, label in enumerate(labels)]
    lines += [line(value, 120, 30 * i + 7, width=90) for i, value in enumerate(values)]
    assert text(lines) == "\n".join(map("\t".join, zip(labels, values, strict=True)))


def test_labels_in_lower_case_and_values_that_go_on_below_are_read_by_rows() -> None:
    """As the details of an order are shown on a telephone."""
    details = [
        ("Payment method", "Garston Bank debit card"),
        ("Current status", "Payment successful"),
        ("Billing description", "Three second-hand barns and"),
        ("", "a charter for Riga"),
        ("Merchant order no.", "Electronic receipt"),
        ("Deliver to", "Riga harbour"),
        ("Tracking number", "Widely known"),
    ]
    lines = [line(label, 0, 48 * i, width=120 + 5 * (i % 4)) for i, (label, _) in enumerate(details) if label]
    lines += [line(value, 180, 48 * i, width=150 + 80 * (i == 2)) for i, (_, value) in enumerate(details)]
    assert text(lines) == "\n".join(f"{label}\t{value}".strip() for label, value in details)


def test_justified_blocks_are_columns_whatever_their_words() -> None:
    """For example, in capitals."""
    names = [[f"ALL OF {letter} {i} WERE SOLD" for i in range(8)] for letter in "PQ"]
    lines = [line(name, 430 * i, 30 * row, width=400) for i, each in enumerate(names) for row, name in enumerate(each)]
    assert text(lines) == "\n".join(name for each in names for name in each)


def test_long_names_beside_long_addresses_are_rows() -> None:
    """They differ in length by whole characters, and are no sentences."""
    lines = [line("名" * (10 + i % 4), 0, 30 * i, width=200 + 20 * (i % 4)) for i in range(12)]
    lines += [line("址" * (12 + i % 5), 290, 30 * i, width=240 + 20 * (i % 5)) for i in range(12)]
    assert [len(row.split("\t")) for row in text(lines).splitlines()] == [2] * 12


def test_two_lines_split_at_a_bracket_are_not_columns() -> None:
    """They are the last lines of a column, between shorter ones."""
    lines = [line("据说，费用由双方分担。", 0, 0, width=110), line("其中，《收据》", 0, 30, width=195)]
    lines += [line("（393卷）由图书馆保管；", 204, 30, width=196), line("移。另有《族谱》", 0, 60, width=195)]
    lines += [line("（973卷）由合作社收藏；", 204, 60, width=196)]
    assert text(lines).splitlines()[1:] == [
        "其中，《收据》（393卷）由图书馆保管；",
        "移。另有《族谱》（973卷）由合作社收藏；",
    ]


def test_lists_side_by_side_are_columns() -> None:
    """As on a slide: short items, level with each other, some overlooked bullets, and a heading above each."""
    left = ["Costs", "• Next review: 2020", "• Owner: Riga", "– 12 forges", "fell by 6 %", "• 1824年重修"]
    right = ["Plans", "· No barn", "· 费用下降", "12 ledgers", "- Harbour", "of Riga"]
    lines = [line(each, 600 * i, 40 * row, width=150 + 10 * row) for i, side in enumerate((left, right))
             for row, each in enumerate(side)]  # fmt: skip
    assert text(lines) == "\n".join(left + right)


def test_a_heading_beside_the_middle_of_its_text_is_read_with_it() -> None:
    """The texts are sentences of two lines, but their headings are centred beside them, row by row."""
    names = ["Costs", "Faded harbour", "1875-1962", "Riga"]
    texts = [(f"{i} forges of Riga were purchased at a", f"cost that was never explained to {i}") for i in range(4)]
    lines = [line(part, 200, 90 * i + 26 * row, width=400) for i, each in enumerate(texts)
             for row, part in enumerate(each)]  # fmt: skip
    lines += [line(name, 0, 90 * i + 13) for i, name in enumerate(names)]
    assert text(lines) == "\n".join(f"{name}\t{' '.join(each)}" for name, each in zip(names, texts, strict=True))


def test_names_of_nearly_one_length_are_no_justified_block() -> None:
    """Half of them are within half an em of each other, by chance."""
    names = [f"Name {i} {'of' * (i % 2)}" for i in range(12)]
    lines = [line(name, 0, 40 * i, width=200 - 40 * (i % 2)) for i, name in enumerate(names)]
    lines += [line(f"faded ballots {i}", 240, 40 * i, width=195) for i in range(12)]
    assert text(lines) == "\n".join(f"{name}\tfaded ballots {i}" for i, name in enumerate(names))


def test_a_caption_at_the_foot_of_a_text_is_read_after_it() -> None:
    """It is left of the text, below a picture."""
    texts = [f"and so it was {i} said, more than once" for i in range(12)]
    lines = [line(each, 420, 30 * i, width=400) for i, each in enumerate(texts)]
    lines += [line("the frame of", 0, 285), line("the bridge", 0, 315)]
    assert text(lines) == "\n".join([*texts, "the frame of", "the bridge"])


def test_a_name_in_two_lines_is_one_cell() -> None:
    """The numbers of its row are centred beside them."""
    lines = [line(name, 0, 50 * i + 22 * part) for i in range(3) for part, name in enumerate(("Bank of", f"Riga {i}"))]
    lines += [line(f"{i}00,000", 150, 50 * i + 11) for i in range(3)]
    assert text(lines) == "\n".join(f"Bank of Riga {i}\t{i}00,000" for i in range(3))


def test_a_number_in_the_margin_does_not_tear_a_row_apart() -> None:
    lines = [line(f"Item {i}", 0, 30 * i) for i in range(6)] + [line(f"{i}.50", 300, 30 * i) for i in range(6)]
    stamp = line("87332450", 500, 40, width=25, height=95)
    assert text([*lines, stamp]).replace("87332450\n", "") == "\n".join(f"Item {i}\t{i}.50" for i in range(6))


def test_a_paragraph_beside_the_cells_of_a_table_is_read_first() -> None:
    """It is a merged cell, whose lines are not level with the others."""
    paragraph = [f"of the company shares, which {word} to the index" for word in ("rise", "fall", "hold", "move", "go")]
    lines = [line(each, 0, 26 * i, width=300) for i, each in enumerate(paragraph)]
    lines += [line(f"Class {i}", 320, 37 * i - 8, width=60) for i in range(4)]
    lines += [line(f"{i}.50%", 420, 37 * i - 8, width=60) for i in range(4)]
    cells = [f"Class {i}\t{i}.50%" for i in range(4)]
    assert text(lines) == "\n".join([*paragraph, *cells])


@given(
    rows=st.integers(2, 12),
    widths=st.lists(st.floats(60, 160), min_size=2, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_a_table_without_rules_is_read_by_rows(rows: int, widths: list[float], seed: int) -> None:
    """Whatever the widths of its cells, narrower than a column of text, and though they are not quite level."""
    rng = random.Random(seed)
    edges = [sum(widths[:i]) + 30 * i for i in range(len(widths))]
    names = [[f"{row}{'abcdef'[i]}" for i in range(len(widths))] for row in range(rows)]
    lines = [
        line(name, edge + rng.uniform(0, 9), 40 * row + rng.uniform(-3, 3), width=width * rng.uniform(0.5, 0.95))
        for row, cells in enumerate(names)
        for name, edge, width in zip(cells, edges, widths, strict=True)
    ]
    assert text(rng.sample(lines, len(lines))).split() == [name for cells in names for name in cells]


@given(
    counts=st.lists(st.integers(4, 12), min_size=2, max_size=3),
    offsets=st.lists(st.floats(0, 15), min_size=3, max_size=3),
    scale=st.floats(0.5, 4),
)
def test_columns_of_justified_text_are_read_one_by_one(counts: list[int], offsets: list[float], scale: float) -> None:
    """Whatever the size of the page, and whether or not the lines are level."""
    names = [[f"that {'abc'[i]}{row} was said" for row in range(count)] for i, count in enumerate(counts)]
    lines = [
        line(name, 430 * i * scale, (30 * row + offset) * scale, width=400 * scale, height=20 * scale)
        for i, (column_names, offset) in enumerate(zip(names, offsets, strict=False))
        for row, name in enumerate(column_names)
    ]
    assert text(reversed(lines)) == "\n".join(name for each in names for name in each)


def test_no_space_joins_chinese_lines_that_touch() -> None:
    """The detector splits lines at commas."""
    assert text([line("入冬之前，", 0, 0), line("重修桥梁", 104, 1)]) == "入冬之前，重修桥梁"


@pytest.mark.parametrize(
    ("one", "other", "x"),
    [
        pytest.param("数量", "单价", 108, id="cells"),
        pytest.param("《收据》", "（393卷）", 112, id="marks"),
        pytest.param("the first", "and the second", 104, id="words"),
        pytest.param("档案", "No. 7", 104, id="two-scripts"),
    ],
)
def test_a_space_joins_narrow_cells_and_words(one: str, other: str, x: float) -> None:
    assert text([line(other, x, 0), line(one, 0, 0)]) == f"{one} {other}"


def test_a_tab_joins_cells() -> None:
    """White that is wide for the row is between them."""
    assert text([line("23.00", 200, 0), line("2 x 11.50", 0, 0)]) == "2 x 11.50\t23.00"


def test_vertical_columns_are_read_from_the_right() -> None:
    columns = [line(text, 100 - 40 * i, 5 * i, width=30, height=400) for i, text in enumerate("甲乙丙")]
    assert text(reversed(columns)) == "甲\n乙\n丙"


def test_a_page_of_noise_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its boxes overlap, so that there are gutters everywhere and never a band; all of them are read."""
    sizes: list[int] = []

    def count(boxes: Sequence[Box], type_px: float) -> Iterator[Gutter]:
        sizes.append(len(boxes))
        return find_gutters(boxes, type_px)

    monkeypatch.setattr(reading_order, "find_gutters", count)
    monkeypatch.setattr(reading_order, "MAX_COMPARED", 100_000)
    dice = random.Random(1)
    boxes = [
        Box(left, top, left + dice.uniform(10, 300), top + dice.uniform(10, 40), number)
        for number in range(300)
        for left, top in [(dice.uniform(0, 2400), dice.uniform(0, 3300))]
    ]
    regions = cut_into_regions(boxes)
    assert sorted(box.index for region in regions for box in region) == list(range(300))
    assert 100_000 < sum(size**2 for size in sizes) <= 100_000 + 300**2
    assert MAX_COMPARED >= 2 * 1000**2  # a newspaper
