"""Ink and paper of a page, found or left alone."""

from itertools import accumulate

import pytest
from PIL import Image, ImageDraw

from pipeline.inputs.tone import Levels, measure_levels
from tests.inputs.skewed import drawing, photograph, text_page, toned, vertical_page, yellowed
from tests.rendering import render

DARK_INK = 60

PAGE = text_page(21)
NUMBER = render("17", size_px=(1000, 1300), type_px=60).convert("L")


def ink_and_paper(page: Image.Image) -> tuple[int, int]:
    """Return the level of the darkest 1/5000 of the pixels, and the most frequent one."""
    histogram = page.convert("L").histogram()
    reached = list(accumulate(histogram))
    return next(level for level in range(256) if reached[level] >= reached[-1] / 5000), histogram.index(max(histogram))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(toned(PAGE, 190, 235), id="faint"),
        pytest.param(toned(PAGE, 190, 235, noise=3), id="faint-with-noise"),
        pytest.param(toned(PAGE, 212, 236, noise=2), id="very-faint"),
        pytest.param(toned(PAGE, 90, 150, noise=4), id="grey"),
        pytest.param(toned(vertical_page(21), 180, 230, noise=2), id="vertical"),
        pytest.param(yellowed(PAGE), id="yellowed"),
        pytest.param(toned(NUMBER, 190, 235, noise=2), id="a-page-number"),
    ],
)
def test_faint_ink_becomes_black_and_paper_white(page: Image.Image) -> None:
    levels = measure_levels(page)
    assert levels is not None
    changed = levels.apply(page)
    ink, paper = ink_and_paper(changed)
    assert ink <= DARK_INK
    assert paper == 255
    assert changed.mode == page.mode


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(PAGE, id="clean"),
        pytest.param(toned(PAGE, 40, 240, noise=3), id="good-scan"),
        pytest.param(toned(PAGE, 20, 180), id="black-on-grey"),
        pytest.param(toned(PAGE, 100, 250), id="grey-type"),
        pytest.param(Image.merge("RGB", [toned(PAGE, 0, level) for level in (90, 170, 230)]), id="blue-ground"),
        pytest.param(PAGE.point(lambda level: 255 - level), id="light-on-dark"),
        pytest.param(toned(PAGE, 200, 40), id="light-on-dark-grey"),
        pytest.param(photograph(), id="photograph"),
        pytest.param(Image.new("L", (1000, 1300), 236), id="empty"),
        pytest.param(Image.effect_noise((1000, 1300), 12).point(lambda level: min(255, level + 100)), id="paper-noise"),
        pytest.param(drawing(), id="drawing"),
        pytest.param(Image.new("L", (8, 8), 200), id="tiny"),
    ],
)
def test_other_pages_are_left_alone(page: Image.Image) -> None:
    assert measure_levels(page) is None


def test_coloured_ink_keeps_its_colour() -> None:
    """With a black of its own for each channel, blue ink would become black."""
    page = Image.new("RGB", (1000, 1300), (215, 212, 205))
    ImageDraw.Draw(page).rectangle((200, 200, 700, 240), fill=(60, 70, 190))
    ImageDraw.Draw(page).rectangle((200, 400, 700, 440), fill=(120, 118, 114))
    levels = measure_levels(page)
    assert levels is not None
    red, _, blue = levels.apply(page).getpixel((400, 220))  # type: ignore[misc]
    assert blue - red > 120


def test_the_dark_parts_of_a_picture_keep_their_details() -> None:
    page = toned(PAGE, 150, 220)
    page.paste(photograph().resize((500, 500)), (250, 600))
    levels = measure_levels(page)
    assert levels is None


def test_the_curve_is_a_straight_line_that_can_be_mapped_back() -> None:
    levels = Levels(100, (200,))
    page = Image.new("L", (256, 1))
    page.putdata(range(256))
    seen = list(levels.apply(page).tobytes())
    for level in range(101, 200):
        assert round(100 + seen[level] * (200 - 100) / 255) == level
