"""Joining the texts of tiles: what both hold is there once, nothing is lost, and equal rows keep their number."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batch.joining import TileText, join_lines, join_texts
from pipeline.tiles import Joint, Tile

LINES = st.lists(st.text("abcdefghijklmnopqrstuvwxyz 0123456789", min_size=12, max_size=30), min_size=4, max_size=30)


def below(*texts: str, shared_px: int = 160, tile_px: int = 1000, joint: Joint = "overlap") -> list[TileText]:
    """Return tiles one below the other with these texts."""
    step = tile_px - shared_px
    return [
        TileText(
            Tile(i + 1, len(texts), (0, i * step, 500, i * step + tile_px), joint if i else "begin"),
            text,
        )
        for i, text in enumerate(texts)
    ]


def beside(*texts: str, shared_px: int = 100, tile_px: int = 1000, joint: Joint = "overlap") -> list[TileText]:
    """Return tiles side by side with these texts."""
    step = tile_px - shared_px
    return [
        TileText(
            Tile(i + 1, len(texts), (i * step, 0, i * step + tile_px, 500), joint if i else "begin"),
            text,
        )
        for i, text in enumerate(texts)
    ]


def rows(first: int, last: int) -> str:
    return "\n".join(f"{number:03d} row of the register no {number * 7919 % 1000}" for number in range(first, last))


def test_texts_that_meet_in_a_blank_band_follow_one_another_as_they_are() -> None:
    """Also when their lines are equal: nothing is printed in both tiles."""
    assert join_texts(below("a\nsame line", "same line\nb", joint="blank")) == "a\nsame line\nsame line\nb"


@given(LINES, st.integers(1, 4), st.integers(0, 30))
def test_the_lines_that_both_tiles_hold_are_there_once(lines: list[str], shared: int, cut: int) -> None:
    lines = [f"{number:03d} {line}" for number, line in enumerate(lines)]
    cut = min(cut, len(lines) - 1)
    upper, lower = lines[: cut + shared], lines[cut:]
    shared = len(upper) - cut
    assert join_lines(upper, lower, expected=shared, most=2 * shared + 2) == lines


@given(LINES, LINES)
def test_no_line_is_lost_where_tiles_share_none(upper: list[str], lower: list[str]) -> None:
    upper = [f"{number:04d}" * 5 + line for number, line in enumerate(upper)]
    lower = [f"{number + 5000:04d}" * 5 + line for number, line in enumerate(lower)]
    assert join_lines(upper, lower, expected=3, most=8) == [*upper, *lower]


@pytest.mark.parametrize("seed", range(20))
def test_readings_that_differ_in_a_few_characters_are_the_same_line(seed: int) -> None:
    rng = random.Random(seed)
    lines = [f"{number:03d} {rng.randrange(10**15):015d}" for number in range(40)]
    cut, shared = rng.randrange(10, 25), rng.randrange(2, 5)
    upper, lower = lines[: cut + shared], lines[cut:]
    spoiled = list(lower[0])
    spoiled[5] = "#"
    joined = join_lines(upper, ["".join(spoiled), *lower[1:]], expected=shared, most=2 * shared + 1)
    assert joined == lines


def test_the_reading_of_half_a_line_gives_way_to_that_of_the_whole_one() -> None:
    """The border cuts the last line of the upper tile, and the first one of the lower tile."""
    lines = rows(0, 30).split("\n")
    upper = [*lines[:16], lines[16][:20].replace("r", "n")]
    lower = ["-" + lines[12][4:18], *lines[13:]]
    assert join_lines(upper, lower, expected=4, most=9) == lines


def test_what_is_no_part_of_a_line_beside_the_match_is_kept() -> None:
    lines = rows(0, 30).split("\n")
    joined = join_lines([*lines[:16], "A PAGE NUMBER 7"], lines[13:], expected=3, most=8)
    assert [line for line in joined if line != "A PAGE NUMBER 7"] == lines
    assert "A PAGE NUMBER 7" in joined


@pytest.mark.parametrize("shared", range(7))
def test_equal_rows_stay_as_many_as_the_strip_says(shared: int) -> None:
    """A form has the same row 50 times: any number would match."""
    same = ["Name ____ Date ____"] * 50
    assert join_lines(same[: 20 + shared], same[20:], expected=shared, most=2 * shared + 1) == same


def test_alike_rows_beyond_the_strip_are_not_taken_for_those_in_it() -> None:
    """A page repeats ten rows; the strip can hold four."""
    block = [f"item {number} of the price list" for number in range(10)]
    upper, lower = block * 3, block * 3
    assert join_lines(upper, lower, expected=2, most=4) == [*upper, *lower]


def test_three_tiles() -> None:
    texts = below(rows(0, 25), rows(21, 46), rows(42, 60))
    assert join_texts(texts) == rows(0, 60)


@pytest.mark.parametrize("texts", [("", "a"), ("a", ""), ("a", "", ""), ("", "", "a")])
def test_a_tile_without_text_adds_nothing(texts: tuple[str, ...]) -> None:
    assert join_texts(below(*texts)) == "a"


def test_a_row_that_goes_on_in_the_next_tile_is_one_row() -> None:
    """Source of the number: mindee/doctr, issue 521, where it became 0000-XX-12-12-0001234."""
    assert join_texts(beside("0000-XX-12-", "-12-0001234", shared_px=300)) == "0000-XX-12-0001234"
    left, right = "the harvest reg\nof the parish o", "vest register\nrish of Aston"
    assert join_texts(beside(left, right, shared_px=400)) == "the harvest register\nof the parish of Aston"


def test_columns_that_are_not_the_same_rows_follow_one_another() -> None:
    assert join_texts(beside("left one\nleft two", "right")) == "left one\nleft two\nright"
    assert join_texts(beside("a\nb", "c\nd", joint="blank")) == "a\nb\nc\nd"


def test_a_line_that_is_cut_between_two_words_is_one_line() -> None:
    assert join_texts(beside("the harvest", "register", joint="blank")) == "the harvest register"
