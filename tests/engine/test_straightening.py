"""Lines of a curled page, made level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from pipeline.engine.pixels import Pixels
from pipeline.engine.straightening import WIDENING, LevelLine, straighten, straighten_and_widen
from tests.engine.geometry import quad

TEXT = "The unusual warehouse of Thorbelham was transferred on 3 May"


def bent_line(bow_px: float, sway_px: float = 0.0, *, height: int = 44, neighbours: bool = False) -> Pixels:
    """Return a line of text of 24 px whose columns are moved down along a curve, its middle by `bow_px`."""
    picture = Image.new("L", (640, 160), 255)
    draw = ImageDraw.Draw(picture)
    for y in (24, 64, 104) if neighbours else (64,):
        draw.text((4, y), TEXT, 0, ImageFont.load_default(22))
    pixels = np.asarray(picture)
    places = np.linspace(-1, 1, 640)
    curve = bow_px * (1 - places**2) + sway_px * (places**3 - places)
    curve -= (curve.max() + curve.min()) / 2
    rows = np.arange(height)[:, None] + 78 - height // 2 - np.rint(curve).astype(int)[None, :]
    return np.repeat(pixels[rows, np.arange(640)[None, :]][..., None], 3, axis=2)


def sharpness(line: Pixels) -> float:
    """Return how much of a line's ink is in few of its rows."""
    profile = (255 - line[..., 0].astype(float)).sum(axis=1)
    return float((profile**2).sum() / profile.sum() ** 2)


@given(st.floats(8, 14) | st.floats(-14, -8), st.floats(-6, 6), st.booleans())
def test_a_line_that_bends_becomes_level(bow_px: float, sway_px: float, neighbours: bool) -> None:  # noqa: FBT001
    level, line = bent_line(0), bent_line(bow_px, sway_px, neighbours=neighbours)
    straightened = straighten(line).pixels
    assert straightened.shape[1] == line.shape[1]
    assert straightened.shape[0] < line.shape[0]
    assert sharpness(straightened) > 0.85 * sharpness(level)


@given(st.floats(8, 14) | st.floats(-14, -8))
def test_the_box_of_a_line_that_sways_is_trimmed_to_the_line(sway_px: float) -> None:
    """The text is 22 px high, the box 44; the line rises or falls by less than a quarter of that over its length."""
    box = straighten(bent_line(0, sway_px)).trim(quad(0, 0, 640, 44))
    assert max(math.dist(box[0], box[3]), math.dist(box[1], box[2])) < 34
    assert np.mean([y for _, y in box]) == pytest.approx(22, abs=5)


def test_the_box_of_a_level_line_keeps_its_corners() -> None:
    box = quad(10, 20, 640, 44, 3.0)
    assert np.array(LevelLine(bent_line(0)).trim(box)) == pytest.approx(np.array(box))


def test_a_level_line_stays_as_it_is() -> None:
    line = bent_line(0)
    assert straighten(line) == LevelLine(line)


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_crop_keeps_its_width(width: int, height: int, seed: int) -> None:
    """Also noise, an even crop, and one that is short."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    for line in (noise, np.full_like(noise, 200)):
        assert straighten(line).pixels.shape[1:] == (width, 3)
        assert straighten(line).pixels.shape[0] >= 1
    (wide,), _ = straighten_and_widen([noise], [quad(0, 0, 300, 60)])
    assert wide.shape[1] == pytest.approx(WIDENING * width, abs=1)


def test_a_column_of_vertical_writing_stays_as_it_is() -> None:
    """Its pixels lie on their side: cut along the line, the column would lose its ends."""
    line, column = bent_line(12), quad(100, 50, 40, 600)
    lines, quads = straighten_and_widen([line], [column])
    assert lines[0] is line
    assert quads == [column]


def test_a_line_without_contrast_stays_as_it_is() -> None:
    assert straighten(np.full((40, 400, 3), 200, np.uint8)).start == (0.0, 1.0)
