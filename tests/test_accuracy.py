"""The character error rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.accuracy import character_error_rate, edit_distance, spaced_text

short_texts = st.text(alphabet="ab文字 \n", max_size=12)


@pytest.mark.parametrize(
    ("truth", "text", "rate"),
    [
        pytest.param("档案", "档案", 0.0, id="same"),
        pytest.param("kitten", "sitting", 3 / 6, id="replaced-and-inserted"),
        pytest.param("abcd", "abd", 1 / 4, id="deleted"),
        pytest.param("abcd", "", 1.0, id="nothing-read"),
        pytest.param("a b\n文 字\n", "ab 文字", 0.0, id="white-space-ignored"),
        pytest.param("第一 卷", "第\u3000一卷", 0.0, id="ideographic-space-ignored"),
        pytest.param("，", ",", 1.0, id="full-width-is-not-half-width"),
        pytest.param("", "", 0.0, id="blank-page"),
        pytest.param(" \n", "", 0.0, id="only-white-space"),
        pytest.param("", "abc", 3.0, id="text-on-a-blank-page"),
    ],
)
def test_the_rate_is_edits_per_character_of_the_truth(truth: str, text: str, rate: float) -> None:
    assert character_error_rate(truth, text) == pytest.approx(rate)


@given(short_texts, short_texts, short_texts)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    """Zero for equal texts only, symmetric, and the triangle inequality holds."""
    assert (edit_distance(a, b) == 0) is (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


@given(short_texts, short_texts)
def test_the_edit_distance_is_between_the_difference_of_the_lengths_and_the_longer(a: str, b: str) -> None:
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_a_run_of_white_space_is_one_space() -> None:
    assert spaced_text(" a  b\n\u3000文\t字 \n") == "a b 文 字"
