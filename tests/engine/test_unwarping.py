"""Curled pages: when they are unwarped, and where their lines are on the image as sent."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.engine import unwarping
from pipeline.engine.pixels import Pixels
from pipeline.engine.recognition import Line, Quad, Recognition
from pipeline.engine.unwarping import INPUT_SIZE_PX, Unwarper, confident_characters, is_better_flat, is_curled
from tests.accuracy import character_error_rate
from tests.engine.geometry import line, quad
from tests.evaluation.damage import DAMAGES
from tests.evaluation.layouts import make_page

PAGE: Pixels = np.random.default_rng(1).integers(0, 255, (300, 200, 3), np.uint8)


def unwarper(monkeypatch: pytest.MonkeyPatch, output: NDArray[Any]) -> Unwarper:
    """Return an unwarper whose model gives this grid."""

    def infer(batch: NDArray[Any]) -> NDArray[Any]:
        assert batch.shape == (1, 3, *INPUT_SIZE_PX[::-1])
        assert batch.dtype == np.dtype(np.float16)
        assert 0 <= float(batch.min()) <= float(batch.max()) <= 1
        return output.astype(np.float16)

    monkeypatch.setattr(unwarping, "load_model", lambda *_: infer)
    return Unwarper(Path("uvdoc.onnx"), "openvino", 1, "f32")


def even_grid(reach: float = 1.0) -> NDArray[np.float64]:
    """Return the grid of a flat page that fills this share of the image around its centre."""
    x, y = np.meshgrid(np.linspace(-reach, reach, 31), np.linspace(-reach, reach, 45))
    return np.stack([x, y])[None]


def test_a_flat_page_that_fills_the_image_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    page = unwarper(monkeypatch, even_grid()).unwarp(PAGE, 0)
    assert page is not None
    assert page.pixels.shape == PAGE.shape
    assert np.abs(page.pixels.astype(int) - PAGE).mean() < 2


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_lines_are_placed_on_the_image_as_sent(monkeypatch: pytest.MonkeyPatch, turn_deg: int) -> None:
    """Also where the page was turned before it was unwarped, and fills the middle half of the image."""
    page = unwarper(monkeypatch, even_grid(0.5)).unwarp(PAGE, turn_deg)
    assert page is not None
    height, width = page.pixels.shape[:2]
    corners: Quad = (0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)
    placed = page.place(Recognition("text", (Line("text", 0.9, corners),), 0, 0.2))
    upright = {0: (0, 1, 2, 3), 90: (3, 0, 1, 2), 180: (2, 3, 0, 1), 270: (1, 2, 3, 0)}[turn_deg]
    expected = [((50, 75), (150, 75), (150, 225), (50, 225))[i] for i in upright]
    assert np.array(placed.lines[0].corners) == pytest.approx(np.array(expected), abs=1)
    assert (placed.text, placed.turn_deg, placed.unread_ink) == ("text", turn_deg, 0.2)


def test_a_turn_of_the_flat_page_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    page = unwarper(monkeypatch, even_grid()).unwarp(PAGE, 270)
    assert page is not None
    assert page.place(Recognition("", (), 180)).turn_deg == 90


def test_no_page_and_strips_are_not_unwarped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unwarper(monkeypatch, even_grid(0.1)).unwarp(PAGE, 0) is None
    assert unwarper(monkeypatch, even_grid()).unwarp(np.zeros((400, 100, 3), np.uint8), 0) is None


def test_a_page_is_curled_when_the_slopes_of_its_lines_differ() -> None:
    slopes_deg = (-2, -1, 0, 1, 2)
    assert is_curled([quad(0, 50 * i, 400, 20, slope) for i, slope in enumerate(slopes_deg)])
    assert not is_curled([quad(0, 50 * i, 400, 20, 2) for i in range(5)])
    assert not is_curled([])


def test_characters_count_by_the_confidence_of_their_line() -> None:
    assert confident_characters(Recognition("", (line("a b", 0, 0), line("cd", 0, 50)))) == pytest.approx(4 * 0.99)


def test_a_flat_page_is_kept_unless_it_has_fewer_characters() -> None:
    found, more, fewer = (Recognition("", (line("a" * count, 0, 0),)) for count in (100, 99, 97))
    assert is_better_flat(more, found)
    assert not is_better_flat(fewer, found)
    assert not is_better_flat(Recognition(""), Recognition(""))


@pytest.fixture(scope="module")
def engine() -> Any:
    """Return the engine, on ONNX Runtime: all other tests use OpenVINO."""
    from pipeline.engine.engine import Engine  # noqa: PLC0415 - needs the engine's packages

    return Engine("onnxruntime", 1)


@pytest.mark.engine
def test_a_curled_page_is_read_and_its_lines_are_on_the_image(engine: Any) -> None:
    page = make_page("single", "en", "curled page")
    picture = DAMAGES["curled"](page.draw(), random.Random(5))
    pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
    found = engine.recognise_pixels(pixels)
    assert character_error_rate(page.truth, found.text) < 0.02
    corners = np.array([line.corners for line in found.lines])
    assert corners.min() >= 0
    assert (corners.reshape(-1, 2).max(axis=0) <= picture.size).all()
