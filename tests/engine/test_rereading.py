"""Low-scored lines, read again in other ways before they are dropped."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.ctc import Reading
from pipeline.engine.geometry import height_px, length_px
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Quad
from pipeline.engine.rereading import (
    MAX_LENGTH,
    MIN_LINE_CONFIDENCE,
    MIN_SECOND_CONFIDENCE,
    find_cut_px,
    grow,
    join,
    read_low_scored,
)
from tests.engine.geometry import quad

LOW = Reading("l0w", MIN_LINE_CONFIDENCE - 0.01)
SURE = Reading("sure", MIN_SECOND_CONFIDENCE, (0.1, 0.3, 0.5, 0.7))
BOX = quad(100, 100, 200, 20)


def line(width: int = 200, height: int = 20) -> Pixels:
    """Return a line of grey stripes, which has ink except in its middle."""
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[height // 4 : height // 2, : width // 2 - 3] = 120
    pixels[height // 4 : height // 2, width // 2 + 3 :] = 120
    return pixels


def read_page(
    sure_if: Callable[[Pixels], bool],
    first: Reading = LOW,
    box: Quad = BOX,
    count: int = 1,
) -> tuple[list[Reading], list[Pixels]]:
    """Return the readings of a page of equal lines, and what was read again."""
    seen: list[Pixels] = []

    def read(pixels: Pixels) -> Reading:
        seen.append(pixels)
        return SURE if sure_if(pixels) else LOW

    def crop(quad: Quad) -> Pixels:
        return line(round(length_px(quad)), round(height_px(quad)))

    width, height = round(length_px(box)), round(height_px(box))
    return read_low_scored(read, crop, [line(width, height)] * count, [box] * count, [first] * count), seen


def test_a_confident_line_is_not_read_again() -> None:
    confident = Reading("as it was", MIN_LINE_CONFIDENCE)
    assert read_page(lambda _: True, confident) == ([confident], [])


@pytest.mark.parametrize(
    ("sure_if", "reads"),
    [
        pytest.param(lambda _: True, 1, id="the-other-recogniser"),
        pytest.param(lambda pixels: pixels.shape[0] > 20, 2, id="a-larger-crop"),
        pytest.param(lambda pixels: pixels.max() == 255, 3, id="more-contrast"),
    ],
)
def test_the_first_confident_reading_is_kept(sure_if: Callable[[Pixels], bool], reads: int) -> None:
    (reading,), seen = read_page(sure_if)
    assert reading.text == "sure"
    assert len(seen) == reads


def test_a_line_is_read_in_halves_when_nothing_else_helps() -> None:
    (reading,), seen = read_page(lambda pixels: pixels.shape[1] < 150)
    assert reading.text == "sure sure"
    assert [pixels.shape[1] for pixels in seen[-2:]] == [100, 100]


def test_a_short_line_is_not_cut() -> None:
    _, seen = read_page(lambda _: False, box=quad(0, 0, 60, 20))
    assert len(seen) == 3


def test_without_a_confident_reading_the_first_one_is_kept() -> None:
    """The engine drops it."""
    assert read_page(lambda _: False)[0] == [LOW]


def test_a_page_of_noise_costs_a_bounded_number_of_readings() -> None:
    assert len(read_page(lambda _: False, count=100)[1]) == 5 * MAX_LENGTH // 10


@pytest.mark.parametrize(("text", "is_kept"), [("日", False), ("8", True), ("日本", True)])
def test_a_single_chinese_character_is_not_believed(text: str, is_kept: bool) -> None:  # noqa: FBT001
    """Icons of screens are read as 日 and 品 with a confidence of 0.8 and more."""
    second = Reading(text, 0.95)
    (reading,) = read_low_scored(lambda _: second, lambda _: line(), [line(60)], [quad(0, 0, 60, 20)], [LOW])
    assert reading.text == (text if is_kept else LOW.text)


def test_tall_lines_are_left_as_they_are() -> None:
    assert read_page(lambda _: True, box=quad(0, 0, 20, 200)) == ([LOW], [])


def test_positions_in_a_larger_crop_are_shares_of_the_box() -> None:
    """The larger crop begins 5 px before the box of 200 px."""
    (reading,), _ = read_page(lambda pixels: pixels.shape[0] > 20)
    assert reading.positions == pytest.approx([(210 * x - 5) / 200 for x in SURE.positions])


@given(st.tuples(st.floats(1, 300), st.floats(1, 50)), st.floats(-40, 40), st.floats(0, 20))
def test_a_box_grows_by_the_same_margin_on_all_sides(
    size_px: tuple[float, float], slope_deg: float, margin_px: float
) -> None:
    box = quad(70, 90, *size_px, slope_deg)
    larger = grow(box, margin_px)
    assert length_px(larger) == pytest.approx(size_px[0] + 2 * margin_px, abs=1e-6)
    assert height_px(larger) == pytest.approx(size_px[1] + 2 * margin_px, abs=1e-6)
    assert np.mean(larger, axis=0) == pytest.approx(np.mean(box, axis=0), abs=1e-6)


@given(st.integers(2, 400), st.integers(2, 60))
def test_a_cut_leaves_two_parts(width: int, height: int) -> None:
    assert 0 < find_cut_px(np.full((height, width, 3), 255, np.uint8)) < width


def test_a_line_is_cut_between_words() -> None:
    pixels = np.full((30, 300, 3), 255, np.uint8)
    cv2.rectangle(pixels, (0, 5), (136, 25), (0, 0, 0), -1)
    cv2.rectangle(pixels, (142, 5), (300, 25), (0, 0, 0), -1)
    assert find_cut_px(pixels) == 139


def test_halves_of_chinese_lines_are_joined_without_a_space() -> None:
    left, right = Reading("第一", 0.9, (0.2, 0.8)), Reading("章 A", 0.8, (0.25, 0.75))
    assert join(left, right, 0.5) == Reading("第一章 A", 0.8, (0.1, 0.4, 0.625, 0.875))
    assert join(Reading("one", 0.9), Reading("two", 0.9), 0.5).text == "one two"
