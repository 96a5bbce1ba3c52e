"""Errors: one line per message, an exit code for each error that ends a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import one_line


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert one_line(line) == line
    if text.isprintable():
        assert line == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("書簡/1.png", "書簡/1.png", id="chinese"),
        pytest.param("a\nb\x1b[31m", r"a\nb\x1b[31m", id="control-characters"),
        pytest.param("a\u2028b\u202ec", r"a\u2028b\u202ec", id="line-end-and-text-direction"),
        pytest.param("caf\udce9.png", r"caf\xe9.png", id="byte-that-is-not-utf-8"),
        pytest.param("a\ud800b", r"a\ud800b", id="lone-surrogate"),
        pytest.param("\U000e0001", r"\U000e0001", id="beyond-the-basic-plane"),
    ],
)
def test_a_character_that_is_not_printable_is_escaped(text: str, line: str) -> None:
    assert one_line(text) == line
