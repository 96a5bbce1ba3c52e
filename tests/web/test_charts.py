"""Charts: well-formed, named for readers who do not see them, with all numbers in a table, and no markup from names."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from pipeline.web.axes import Tick
from pipeline.web.charts import Chart, Column, Line, Mark, Series, columns, lines
from pipeline.web.tables import Table, bars

HOSTILE = "<script>alert(1)</script>\u202e\0\ud800'\"&]]>"
VALUES = st.lists(st.integers(0, 10**9), min_size=1, max_size=70)


def chart(rows: int = 2, text: str = "text") -> Chart:
    table = Table((text, "pages"), [(text, str(number)) for number in range(rows)])
    return Chart("some", text, text, "pages", table, [Tick(0.5, "3 Nov")])


def places(number: int) -> list[Column]:
    return [Column(place / number, (place + 1) / number, f"column {place}") for place in range(number)]


def parse(html: Markup) -> ET.Element:
    """Return the elements of a fragment; fail when it is not well-formed."""
    return ET.fromstring(f"<div>{html}</div>")


def percent(element: ET.Element, name: str) -> float:
    return float(element.attrib[name].removesuffix("%"))


@given(VALUES, VALUES)
def test_stacked_columns_add_up_and_stay_inside(first: list[int], second: list[int]) -> None:
    number = min(len(first), len(second))
    series = [Series("done", first[:number], 1), Series("failed", second[:number], 4)]
    root = parse(columns(chart(), places(number), series))
    picture = root.find("svg[@role='img']")
    assert picture is not None
    rects = [rect for rect in picture.findall("rect") if "part" in rect.attrib["class"]]
    assert len(rects) == sum(map(bool, (*first[:number], *second[:number])))
    for rect in rects:
        assert 0 <= percent(rect, "x") <= percent(rect, "x") + percent(rect, "width") <= 100.01
        assert -0.01 <= percent(rect, "y") <= percent(rect, "y") + percent(rect, "height") <= 100.02
    said = [title.text for title in picture.iter("title")][1:]
    assert len(said) == sum(bool(a or b) for a, b in zip(first, second, strict=False))


def test_a_chart_says_what_it_is_and_has_its_numbers_in_a_table() -> None:
    root = parse(lines(chart(rows=9), [Line("calls", [[(0, 1), (1, 4)]], 1)], Mark(5, "quota 5")))
    picture = root.find("svg[@role='img']")
    assert picture is not None
    named = picture.attrib["aria-labelledby"].split()
    texts = {element.attrib["id"]: element.text for element in picture.iter() if "id" in element.attrib}
    assert [texts[name] for name in named] == ["text", "text"]
    assert len(root.findall("details/table/tbody/tr")) == 9
    assert "quota 5" in [text.text for text in picture.findall("text")]


def test_series_differ_by_more_than_their_colours() -> None:
    """Each look has strokes, a dash or a marker of its own."""
    html = columns(chart(), places(1), [Series(str(look), [1], look) for look in range(1, 6)])
    strokes = [tuple(path.attrib["d"] for path in tile.iter("path")) for tile in parse(html).iter("pattern")]
    assert len(set(strokes)) == 5
    drawn = parse(lines(chart(), [Line("a", [[(0, 1)]], 1), Line("b", [[(0, 1)]], 4)]))
    assert [len(list(drawn.iter(kind))) for kind in ("circle", "rect")] == [2, 2]  # one in the legend each


def test_names_are_text_in_tables_and_bars() -> None:
    html = bars([(HOSTILE, 3), ("x" * 10_000, 1)], "pages") + columns(
        chart(text=HOSTILE.replace("\ud800", "").replace("\0", "")), places(1), [Series("s", [1], 1)]
    )
    assert "<script" not in html
    assert html.count("\\u202e") == 3  # in the bar and in the table's rows
    assert len(bars([("x" * 10_000, 1)], "pages")) < 600


@pytest.mark.parametrize("number", [0, 1])
def test_bars_without_a_number_above_0_are_empty(number: int) -> None:
    rect = parse(bars([("none", number)], "pages")).find(".//rect")
    assert rect is not None
    assert percent(rect, "width") == 100 * number


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    pieces = [[(0.0, 1.0), (0.1, 2.0)], [(0.5, 1.0)]]
    root = parse(lines(chart(), [Line("median", pieces, 1)]))
    assert len(list(root.iter("polyline"))) == 1
    assert len(list(root.iter("circle"))) == 3
