"""Positions in replies: what is kept of them, however odd they are."""

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.positions import FoundLines, TextLine, describe_missing, line_fields, parse_positions
from pipeline.wire import parse_reply

BOX = (10.0, 20.0, 110.0, 20.0, 110.0, 40.0, 10.0, 40.0)
LINE = {"text": "第一行 𠮷", "location": [10, 20, 110, 20, 110, 40, 10, 40], "confidence": 0.98}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.dictionaries(st.sampled_from(["words_info", "text", "location", "rotate_rect", "confidence"]), inner)
    ),
    max_leaves=30,
)


def one(**fields: object) -> TextLine:
    found = parse_positions({"words_info": [{"text": "x", **fields}]})
    assert found is not None
    [line] = found.lines
    return line


def test_text_corners_and_confidence_are_kept() -> None:
    assert parse_positions({"words_info": [LINE]}) == FoundLines((TextLine("第一行 𠮷", BOX, 0.98),))


def test_corners_may_be_pairs_or_come_from_the_rectangle() -> None:
    assert one(location=[[10, 20], [110, 20], [110, 40], [10, 40]]).box == BOX
    assert one(rotate_rect=[60, 30, 100, 20, 0]).box == BOX
    turned = one(rotate_rect=[60, 30, 100, 20, 90]).box
    assert turned == (70.0, -20.0, 70.0, 80.0, 50.0, 80.0, 50.0, -20.0)


@pytest.mark.parametrize(
    "location", [None, [], [1] * 7, ["1"] * 8, [True] * 8, [1e300] * 8, [math.nan] * 8, [[1, 2]] * 3, {"x": 1}]
)
def test_a_line_without_a_usable_position_is_counted(location: object) -> None:
    found = parse_positions({"words_info": [{"text": "x", "location": location}, LINE]})
    assert found is not None
    assert (len(found.lines), found.unplaced) == (1, 1)
    assert describe_missing(found, "x") == "1 lines without a position"


@pytest.mark.parametrize("confidence", [None, "high", -0.1, 1.1, True, math.nan])
def test_an_odd_confidence_is_none(confidence: object) -> None:
    assert one(location=[0] * 8, confidence=confidence).confidence is None


def test_what_is_no_list_of_lines_is_none_and_noted_for_a_page_with_a_text() -> None:
    assert parse_positions(None) is None
    assert parse_positions({"words_info": {}}) is None
    assert describe_missing(None, "text") == "the reply has no positions"
    assert describe_missing(FoundLines(()), " \n") is None


def test_a_lone_surrogate_in_a_line_can_be_written() -> None:
    [fields] = line_fields([one(location=[0] * 8, text="a\ud800")]) or []
    assert orjson.loads(orjson.dumps(fields))["text"] == "a�"
    assert "confidence" not in fields


@given(JSON)
def test_nothing_in_the_positions_costs_the_text(value: object) -> None:
    found = parse_positions(value)
    if found is not None:
        assert all(math.isfinite(number) for line in found.lines for number in line.box)
        orjson.dumps(line_fields(found.lines))


def test_a_reply_keeps_its_lines() -> None:
    body = orjson.dumps({"id": "1", "content": "第一行 𠮷", "timestamp": 1, "ocrResult": {"words_info": [LINE]}})
    assert parse_reply(body).found == FoundLines((TextLine("第一行 𠮷", BOX, 0.98),))
