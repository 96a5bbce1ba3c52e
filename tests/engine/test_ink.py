"""Ink outside the lines that were read, and the rows that a box holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from pipeline.engine.ink import count_rows, type_px, unread_share
from pipeline.engine.looks import LOOKS, stretch
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad


def page(rows: int, *, type_size: int = 15, leading: int = 20, ink: int = 0, paper: int = 255) -> Pixels:
    """Return a page of 800 px width; each row of type begins 20 px from the left, the first 20 px from the top."""
    picture = Image.new("RGB", (800, 40 + rows * leading), (paper,) * 3)
    draw = ImageDraw.Draw(picture)
    for row in range(rows):
        draw.text((20, 20 + row * leading), "The quick brown fox " * 4, (ink,) * 3, ImageFont.load_default(type_size))
    return np.asarray(picture)


def box(left: float, top: float, right: float, bottom: float) -> Quad:
    return (left, top), (right, top), (right, bottom), (left, bottom)


@given(st.integers(1, 12), st.sampled_from([12, 15, 24]))
def test_the_rows_of_a_box_are_counted(rows: int, type_size: int) -> None:
    leading = round(1.4 * type_size)
    pixels = page(rows, type_size=type_size, leading=leading)
    quad = box(15, 15, 700, 25 + rows * leading)
    assert count_rows(pixels, quad) == rows
    assert type_px(pixels, quad) == pytest.approx((10 + rows * leading) / rows)


def test_the_columns_of_a_tall_box_are_counted() -> None:
    pixels = np.ascontiguousarray(np.rot90(page(3)))
    height = pixels.shape[0]
    assert count_rows(pixels, box(15, 20, 85, height - 20)) == 3


def test_a_box_without_ink_or_area_has_one_row() -> None:
    pixels = page(1, ink=255)
    assert count_rows(pixels, box(0, 0, 800, 60)) == 1
    assert count_rows(pixels, box(3, 3, 3, 3)) == 1


def test_ink_outside_the_lines_is_unread() -> None:
    pixels = page(10)
    lines = [box(18, 20 + 20 * row, 780, 38 + 20 * row) for row in range(10)]
    assert unread_share(pixels, lines) < 0.05
    assert unread_share(pixels, lines[:5]) == pytest.approx(0.5, abs=0.1)
    assert unread_share(pixels, []) == 1.0


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (225, 240), (255, 0)])
def test_faint_and_inverted_type_is_ink_too(ink: int, paper: int) -> None:
    pixels = page(10, ink=ink, paper=paper)
    assert unread_share(pixels, []) == 1.0
    lines = [box(18, 20 + 20 * row, 780, 38 + 20 * row) for row in range(5)]
    assert unread_share(pixels, lines) == pytest.approx(0.5, abs=0.1)


def test_a_page_without_ink_has_none_unread() -> None:
    assert unread_share(page(3, ink=255), []) == 0.0


def test_stretched_levels_have_the_full_range() -> None:
    faint = page(10, ink=225, paper=240)
    assert int(faint.max()) - int(faint.min()) == 15
    assert (int(stretch(faint).min()), int(stretch(faint).max())) == (0, 255)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_changes_no_size_and_survives_an_even_page(look: object) -> None:
    assert callable(look)
    even = np.full((30, 40, 3), 200, np.uint8)
    assert look(even).shape == even.shape
