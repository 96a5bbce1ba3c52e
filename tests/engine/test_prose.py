"""Lines of sentences, and cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.prose import is_item, is_prose


@pytest.mark.parametrize(
    "text",
    [
        "parish records of 1846 were moved to",
        "Dubrovnik I had heard but never seen.",
        "During a walk I saw",
        "and of nineteen forges",
        "THE TENANT SHALL PAY ALL RENT",
        "入冬之前，重修桥梁",
        "孟子见梁惠王王曰叟不远千里而来亦将有以利吾国乎",
        "数为基准；美股以综合指数",
    ],
)
def test_a_part_of_a_sentence_is_prose(text: str) -> None:
    assert is_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TOTAL SALES INCLUSIVE GST",
        "George R. Telford",
        "Please sign here:",
        "股东名称：",
        "成都工投资产经营有限公司",
        "652,418,000 18.0613%",
        "2 x 11.50 each",
        "discount",
        "Payment method",
        "Merchant order no.",
        "Handwritten widow",
    ],
)
def test_a_label_a_name_and_an_amount_are_not_prose(text: str) -> None:
    assert not is_prose(text)


@pytest.mark.parametrize(
    "text", ["• 943 forges rebuilt in 1824", "·负责人：母死汝", "– Owner: the harbour", "- 入冬之前"]
)
def test_a_line_after_a_bullet_or_a_dash_is_an_item(text: str) -> None:
    assert is_item(text)


@pytest.mark.parametrize("text", ["", "-", "-5.00", "- 5.00", "– 12 %", "□ male", "well-known"])
def test_an_amount_and_a_box_to_tick_are_no_items(text: str) -> None:
    assert not is_item(text)


@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    assert is_prose(text) in {True, False}
    assert is_prose(f" {text}\t") == is_prose(text)
    assert is_item(f" {text}\t") == is_item(text)
