"""Ink outside the lines that were read, and the rows that a box holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from pipeline.engine.ink import count_rows, has_strokes, measure_unread, type_px
from pipeline.engine.looks import LOOKS, stretch
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from tests.runs import ROOT


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


@given(st.floats(-6, 6), st.integers(1, 5))
def test_the_rows_of_a_skewed_box_are_counted_without_its_neighbours(skew_deg: float, rows: int) -> None:
    """The upright rectangle around such a box holds parts of the rows above and below it."""
    leading, above = 24, 3
    level = Image.fromarray(page(rows + 2 * above, type_size=18, leading=leading))
    skewed = level.rotate(-skew_deg, Image.Resampling.BICUBIC, fillcolor=(255,) * 3)
    sine, cosine = np.sin(np.radians(skew_deg)), np.cos(np.radians(skew_deg))
    x0, y0 = level.width / 2, level.height / 2
    (a, b, c, d) = (
        (x0 + cosine * (x - x0) - sine * (y - y0), y0 + sine * (x - x0) + cosine * (y - y0))
        for x, y in box(15, 18 + above * leading, 700, 20 + (above + rows) * leading)
    )
    assert count_rows(np.asarray(skewed), (a, b, c, d)) == rows


def test_a_box_without_ink_or_area_has_one_row() -> None:
    pixels = page(1, ink=255)
    assert count_rows(pixels, box(0, 0, 800, 60)) == 1
    assert count_rows(pixels, box(3, 3, 3, 3)) == 1


def test_ink_outside_the_lines_is_unread() -> None:
    pixels = page(10)
    lines = [box(18, 20 + 20 * row, 780, 38 + 20 * row) for row in range(10)]
    assert measure_unread(pixels, lines).share < 0.05
    assert measure_unread(pixels, lines[:5]).share == pytest.approx(0.5, abs=0.1)
    assert measure_unread(pixels, []).share == 1.0


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (225, 240), (255, 0)])
def test_faint_and_inverted_type_is_ink_too(ink: int, paper: int) -> None:
    pixels = page(10, ink=ink, paper=paper)
    assert measure_unread(pixels, []).share == 1.0
    lines = [box(18, 20 + 20 * row, 780, 38 + 20 * row) for row in range(5)]
    assert measure_unread(pixels, lines).share == pytest.approx(0.5, abs=0.1)


def test_a_page_without_ink_has_none_unread() -> None:
    assert measure_unread(page(3, ink=255), []).share == 0.0


def test_of_the_ink_outside_the_lines_type_is_told_from_rules_and_pictures() -> None:
    lines = [box(18, 20 + 20 * row, 780, 38 + 20 * row) for row in range(10)]
    pixels = page(10)
    assert measure_unread(pixels, lines[:5]).type_share == pytest.approx(0.5, abs=0.1)
    assert measure_unread(pixels, lines).type_share < 0.05
    picture = Image.fromarray(page(40))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 240, 800, 840), "white")
    draw.rectangle((60, 300, 740, 500), outline="black", width=6)
    draw.ellipse((200, 320, 500, 480), "grey", outline="black", width=8)
    for y in range(540, 820, 30):
        draw.line((20, y, 780, y), "black", width=2)
    drawn = np.asarray(picture)
    unread = measure_unread(drawn, lines)
    assert unread.share > 0.3
    assert unread.type_share < 0.05


def test_without_a_line_nothing_is_known_about_type() -> None:
    assert measure_unread(page(3), []).type_share == 0.0
    assert measure_unread(page(3, ink=255), [box(18, 20, 780, 38)]).type_share == 0.0


@pytest.mark.parametrize("noise", [0, 2, 5, 10, 20])
def test_grain_of_the_paper_is_no_stroke(noise: float) -> None:
    grain = np.random.default_rng(1).normal(235, noise, (900, 700))
    blank = np.repeat(np.clip(grain, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    assert not has_strokes(blank)
    blank[850:852, 340:360] = 90
    assert has_strokes(blank)


def test_a_blank_scan_has_no_strokes_and_faint_type_among_noise_has() -> None:
    back = Image.open(ROOT / "sample_data/journals/blank-back.png").convert("RGB")
    assert not has_strokes(np.asarray(back))
    faint = page(10, ink=228, paper=240) + np.random.default_rng(1).normal(0, 3, (240, 800, 1))
    assert has_strokes(np.clip(faint, 0, 255).astype(np.uint8))


def test_stretched_levels_have_the_full_range() -> None:
    faint = page(10, ink=225, paper=240)
    assert int(faint.max()) - int(faint.min()) == 15
    assert (int(stretch(faint).min()), int(stretch(faint).max())) == (0, 255)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_changes_no_size_and_survives_an_even_page(look: object) -> None:
    assert callable(look)
    even = np.full((30, 40, 3), 200, np.uint8)
    assert look(even).shape == even.shape
