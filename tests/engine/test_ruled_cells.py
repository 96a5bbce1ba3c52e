"""Lines that the rules of a table cross."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from pipeline.engine.ruled_cells import cut_at_rules, find_rules
from tests.engine.geometry import quad

TOP_PX, HEIGHT_PX = 40, 30
LINE = quad(0, TOP_PX, 260, HEIGHT_PX)


def page(*rules: int, ink: int = 0, paper: int = 255, reach_px: int = 40, width_px: int = 1) -> Pixels:
    """Return a page with a line of two numbers in it, and rules at these places, from the line's middle up and down."""
    pixels = np.full((110, 260, 3), paper, np.uint8)
    for text, x in (("652,418", 12), ("18.06", 150)):
        cv2.putText(pixels, text, (x, TOP_PX + 23), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (ink,) * 3, 2)
    middle = TOP_PX + HEIGHT_PX // 2
    for x in rules:
        grey = (2 * ink + paper) // 3
        pixels[middle - reach_px : middle + reach_px, x : x + width_px] = grey
    return pixels


def cut(pixels: Pixels) -> list[tuple[Pixels, Quad]]:
    """Return the parts of the page's line."""

    def crop(part: Quad) -> Pixels:
        (left, top), _, (right, bottom), _ = part
        return pixels[max(0, round(top)) : round(bottom), round(left) : round(right)]

    return list(cut_at_rules(crop(LINE), LINE, crop))


def edges(pixels: Pixels) -> list[tuple[int, int]]:
    """Return the edges of the parts, in px."""
    return [(round(place[0][0]), round(place[1][0])) for _, place in cut(pixels)]


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (240, 20), (90, 160)])
@pytest.mark.parametrize("width_px", [1, 2, 4])
def test_a_line_is_cut_at_a_rule(ink: int, paper: int, width_px: int) -> None:
    [(start, end), (next_start, next_end)] = edges(page(130, ink=ink, paper=paper, width_px=width_px))
    assert (start, next_end) == (0, 260)
    assert 130 + width_px <= end <= 132 + width_px
    assert 128 <= next_start <= 130


def test_rules_at_the_ends_are_erased() -> None:
    """The margins stay: without them the recogniser overlooks characters."""
    [(part, place)] = cut(page(2, 252))
    assert place == LINE
    assert (part == page()[TOP_PX : TOP_PX + HEIGHT_PX]).all()


def test_a_line_without_rules_stays_whole() -> None:
    assert edges(page()) == [(0, 260)]


def test_a_tall_character_is_not_a_rule() -> None:
    """It fills the line's box, but ends with it."""
    assert edges(page(130, reach_px=16)) == [(0, 260)]


def test_a_picture_is_not_a_rule() -> None:
    assert find_rules(page(*range(60, 230, 2))[TOP_PX : TOP_PX + HEIGHT_PX]) == []


def test_a_vertical_line_stays_whole() -> None:
    """Its pixels lie on their left side, and a rule across it is a stroke."""
    column = quad(0, 0, HEIGHT_PX, 260)
    line = page(130)[TOP_PX : TOP_PX + HEIGHT_PX]
    [(part, place)] = cut_at_rules(line, column, lambda _: line)
    assert part is line
    assert place == column


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 60), st.just(3))))
def test_the_parts_are_places_of_the_line(line: Pixels) -> None:
    """Whatever the pixels."""
    box = quad(0, 0, line.shape[1], line.shape[0])
    for part, place in cut_at_rules(line, box, lambda _: line):
        assert 0 <= place[0][0] <= place[1][0] <= line.shape[1] + 1e-9
        assert part.shape[1] == pytest.approx(place[1][0] - place[0][0])
