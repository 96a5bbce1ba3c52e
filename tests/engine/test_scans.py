"""How the order of real scans is judged."""

import pytest

from tests.benchmarks.scans import count_jumps

PHRASES = ["the first of all phrases", "one that comes second", "another in third place", "and what ends the page"]


def test_a_text_in_order_has_no_jump() -> None:
    """White space is of no account."""
    assert count_jumps(PHRASES, "\n".join(PHRASES).replace(" ", "  ")) == (4, 0)


def test_columns_that_are_read_row_by_row_jump() -> None:
    """Each line but the first does not follow the one before it."""
    assert count_jumps(PHRASES, "\n".join(PHRASES[i] for i in (0, 2, 1, 3))) == (4, 3)


@pytest.mark.parametrize("misread", ["one thal comes sccond", "0ne that comes second"])
def test_a_phrase_is_found_although_some_letters_are_wrong(misread: str) -> None:
    """The order is judged, not the letters."""
    assert count_jumps(PHRASES, "\n".join([PHRASES[0], misread, *PHRASES[2:]])) == (4, 0)


def test_a_phrase_that_nobody_read_is_no_jump() -> None:
    """The next one follows the one before it."""
    assert count_jumps(PHRASES, "\n".join([PHRASES[0], *PHRASES[2:]])) == (3, 0)
