"""Blank bands of a page: between its lines, beside rules and panels, and none where something is printed."""

import pytest
from PIL import Image, ImageDraw

from pipeline.inputs.quiet import find_bands
from tests.rendering import render

LINES = ["harvest letter invoice"] * 8


@pytest.fixture
def page() -> Image.Image:
    """Eight lines of 32 px type, 57.6 px from one to the next; the first one begins at y = 48."""
    return render(*LINES, size_px=(1080, 600))


def test_the_gaps_between_lines_are_found(page: Image.Image) -> None:
    bands = find_bands(page, 6)
    assert len(bands) == len(LINES) + 1
    assert (bands[0][0], bands[-1][1]) == (0, 600)
    for begin, end in bands:
        assert page.crop((0, begin, 1080, end)).getextrema() == ((255, 255),) * 3


def test_rules_and_panels_along_the_page_do_not_hide_them(page: Image.Image) -> None:
    bands = find_bands(page, 6)
    draw = ImageDraw.Draw(page)
    draw.rectangle((900, 0, 903, 600), fill="grey")
    draw.rectangle((1000, 0, 1079, 600), fill="navy")
    assert find_bands(page, 6) == bands
    assert find_bands(page.convert("L"), 6) == bands


def test_light_type_on_dark_is_print_too(page: Image.Image) -> None:
    bands = find_bands(page, 6)
    assert find_bands(page.point(lambda level: 255 - level), 6) == bands


def test_noise_of_jpeg_in_paper_is_not_print(page: Image.Image) -> None:
    noisy = Image.blend(page.convert("L"), Image.effect_noise(page.size, 20), 0.2)
    assert len(find_bands(noisy, 6)) == len(LINES) + 1


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda d: d.line((0, 0, 1080, 600), fill="black", width=3), id="a-slanted-stroke"),
        pytest.param(
            lambda d: [d.rectangle((100, y, 110, y + 3), fill="black") for y in range(0, 600, 8)], id="dashes"
        ),
    ],
)
def test_there_is_none_through_print(page: Image.Image, draw: object) -> None:
    assert callable(draw)
    draw(ImageDraw.Draw(page))
    assert find_bands(page, 6) == []


def test_the_upright_strokes_of_a_line_are_no_gap() -> None:
    """A row through the middle of "1111" changes neither above nor below it."""
    page = render("1 1 1 1 1", "l l l l", "I I I I", size_px=(600, 400), type_px=48)
    draw_end = max(y for y in range(400) if page.crop((0, y, 600, y + 1)).getextrema() != ((255, 255),) * 3)
    for begin, end in find_bands(page, 6):
        assert page.crop((0, begin, 600, end)).getextrema() == ((255, 255),) * 3
        assert end <= 400
    assert draw_end < 400


def test_a_band_lower_than_demanded_is_none(page: Image.Image) -> None:
    assert all(end - begin >= 40 for begin, end in find_bands(page, 40))
    assert find_bands(page.crop((0, 0, 1080, 30)), 40) == []


def test_a_strip_of_one_px_has_none() -> None:
    assert find_bands(Image.new("L", (1, 500), 255), 6) == []
