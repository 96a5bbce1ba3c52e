"""The angle of a page's lines, found or left alone."""

import pytest
from PIL import Image

from pipeline.inputs.skew_angle import measure_skew_deg
from tests.inputs.skewed import (
    curled,
    drawing,
    framed,
    hatching,
    photograph,
    scribbles,
    skewed,
    stamped,
    table,
    text_page,
    vertical_page,
)
from tests.rendering import render, turned

PRECISION_DEG = 0.15


@pytest.mark.parametrize("degrees", [0.6, -0.8, 1.5, -3.0, 5.0, -8.0, 14.0])
@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
def test_the_angle_is_found(degrees: float, *, chinese: bool) -> None:
    page = skewed(text_page(21, chinese=chinese), degrees)
    assert measure_skew_deg(page) == pytest.approx(degrees, abs=PRECISION_DEG)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(skewed(vertical_page(21), 4), id="vertical-writing"),
        pytest.param(skewed(turned(text_page(21), 90), 4), id="turned-by-90"),
        pytest.param(skewed(turned(text_page(21), 180), 4), id="upside-down"),
        pytest.param(skewed(text_page(21), 4, paper=0), id="black-around-the-page"),  # OCRmyPDF issue 374
        pytest.param(skewed(table(), 4), id="ruled-table"),
        pytest.param(skewed(text_page(21), 4).convert("RGB"), id="colour"),
        pytest.param(skewed(text_page(21), 4).point(lambda level: 255 - level), id="light-on-dark"),
    ],
)
def test_four_degrees_are_found(page: Image.Image) -> None:
    assert measure_skew_deg(page) == pytest.approx(4, abs=PRECISION_DEG)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(text_page(22), id="level"),  # OCRmyPDF issue 1549, Tesseract issue 4445: tilted by 1.4 degrees
        pytest.param(text_page(22, chinese=True), id="level-chinese"),
        pytest.param(skewed(text_page(22), 0.4), id="hardly-skewed"),
        pytest.param(vertical_page(22), id="vertical-writing"),
        pytest.param(table(), id="ruled-table"),
        pytest.param(stamped(text_page(22, lines=14)), id="slanted-stamp"),
        pytest.param(curled(text_page(22)), id="curled"),
        pytest.param(drawing(), id="drawing"),
        pytest.param(hatching(), id="hatching"),
        pytest.param(scribbles(), id="scribbles"),
        pytest.param(photograph(), id="photograph"),
        pytest.param(framed(skewed(text_page(22), 4)), id="skewed-in-a-straight-frame"),  # jdeskew issue 15
        pytest.param(render("For my father", size_px=(1000, 1300)), id="one-line"),  # unpaper issue 230
        pytest.param(Image.new("L", (1000, 1300), 255), id="empty"),  # galfar/deskew issue 71
        pytest.param(Image.effect_noise((1000, 1300), 60), id="noise"),
        pytest.param(render("a label", size_px=(260, 110)), id="small"),
        pytest.param(Image.new("L", (8, 1000), 255), id="strip"),
        pytest.param(skewed(text_page(22), 30), id="laid-on-purpose"),  # leptonica issue 738
    ],
)
def test_a_page_without_a_sure_angle_is_left_alone(page: Image.Image) -> None:
    assert measure_skew_deg(page) == 0


def test_the_angle_does_not_depend_on_the_resolution() -> None:
    page = skewed(text_page(23), 3)
    large = page.resize((2 * page.width, 2 * page.height), Image.Resampling.BICUBIC)
    assert measure_skew_deg(large) == pytest.approx(3, abs=PRECISION_DEG)
