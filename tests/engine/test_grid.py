"""The grid over a curled page, and whether a page needs one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.engine.grid import Grid, slope_spread_deg
from pipeline.engine.recognition import Quad
from tests.engine.geometry import quad

sizes = st.tuples(st.integers(100, 4000), st.integers(100, 4000))
shares = st.floats(0, 1)


def even(rows: int = 45, columns: int = 31, reach: float = 1.0) -> NDArray[np.float64]:
    """Return a model's output for a flat page that fills this share of the image around its centre."""
    x, y = np.meshgrid(np.linspace(-reach, reach, columns), np.linspace(-reach, reach, rows))
    return np.stack([x, y])


def curled(bow: float, slant: float = 0.0) -> NDArray[np.float64]:
    """Return a model's output for a page whose lines bow and whose sides slant, each by a share of the image."""
    x, y = even(reach=0.8)
    return np.stack([x + slant * y, y + bow * np.cos(np.pi / 2 * x)])


@given(sizes, shares, shares)
def test_an_even_grid_leaves_every_point_where_it_is(size_px: tuple[int, int], across: float, down: float) -> None:
    grid = Grid.from_shares(even(), size_px)
    point = across * (size_px[0] - 1), down * (size_px[1] - 1)
    assert grid.place(point, size_px) == pytest.approx(point, abs=0.01)


def test_an_even_grid_has_the_size_of_the_image() -> None:
    grid = Grid.from_shares(even(), (1200, 900))
    assert grid.flat_size_px((1200, 900)) == (1200, 900)
    assert grid.is_plausible((1200, 900))


def test_the_flat_page_is_as_long_as_the_paper_along_its_curve() -> None:
    """Half of the image, and longer than half where it bows."""
    flat_px, _ = Grid.from_shares(even(reach=0.5), (1001, 801)).flat_size_px((1001, 801))
    bowed_px, _ = Grid.from_shares(curled(0.3), (1001, 801)).flat_size_px((1001, 801))
    assert flat_px == 501
    assert bowed_px > 0.8 * 1000


@given(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.tuples(shares, shares), sizes)
def test_every_pixel_of_the_flat_page_is_placed_where_it_was_taken_from(
    bow: float, slant: float, place: tuple[float, float], size_px: tuple[int, int]
) -> None:
    """Resampling goes from the flat page to the image, as positions do, so that they need no inverse."""
    grid = Grid.from_shares(curled(bow, slant), size_px)
    flat_px = 90, 120
    x, y = round(place[0] * 89), round(place[1] * 119)
    assert grid.place((x, y), flat_px) == pytest.approx(grid.sample(flat_px)[y, x].tolist(), abs=0.01)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-500, 5000), st.floats(-500, 5000))
def test_corners_stay_inside_the_image(bow: float, slant: float, x: float, y: float) -> None:
    """Also those of a box that the detector found to extend beyond the flat page, on a grid that makes no sense."""
    grid = Grid.from_shares(curled(bow, slant), (1500, 2000))
    corners = grid.place_quad(quad(x, y, 300, 40), (1400, 1900))
    assert all(0 <= x <= 1500 and 0 <= y <= 2000 for x, y in corners)


@given(st.floats(-0.15, 0.15), st.floats(-0.1, 0.1), st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
def test_a_point_is_found_again_on_the_flat_page(bow: float, slant: float, place: tuple[float, float]) -> None:
    """Within a pixel: the nearest of the flat page's pixels to a place on the image is the one that it came from."""
    grid = Grid.from_shares(curled(bow, slant), (400, 500))
    width, height = grid.flat_size_px((400, 500))
    x, y = place[0] * (width - 1), place[1] * (height - 1)
    distances = np.linalg.norm(grid.sample((width, height)) - grid.place((x, y), (width, height)), axis=2)
    found_y, found_x = divmod(int(distances.argmin()), width)
    assert math.dist((found_x, found_y), (x, y)) < 1.5


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(even()[:, :, ::-1], id="mirrored"),
        pytest.param(even(reach=0.1), id="a-stamp"),
        pytest.param(even(reach=0.0), id="a-point"),
        pytest.param(np.where(np.arange(31) == 12, even()[:, :, [20]], even()), id="folded"),
    ],
)
def test_a_grid_that_is_no_page_is_not_plausible(output: NDArray[np.float64]) -> None:
    assert not Grid.from_shares(output, (1000, 1400)).is_plausible((1000, 1400))


def test_a_curled_grid_is_plausible() -> None:
    assert Grid.from_shares(curled(0.2, 0.1), (1000, 1400)).is_plausible((1000, 1400))


def lines(*slopes_deg: float, turned_deg: float = 0.0) -> list[Quad]:
    """Return long lines with these slopes."""
    return [quad(100, 40 * i, 400, 20, slope_deg + turned_deg) for i, slope_deg in enumerate(slopes_deg)]


@given(st.floats(-180, 180), st.integers(3, 20))
def test_lines_of_a_flat_page_have_one_slope_however_it_is_turned(turned_deg: float, count: int) -> None:
    assert slope_spread_deg(lines(*[0.0] * count, turned_deg=turned_deg)) == pytest.approx(0, abs=1e-6)


@given(st.floats(-180, 180))
def test_the_spread_is_the_mean_deviation_from_the_median(turned_deg: float) -> None:
    assert slope_spread_deg(lines(-3, 0, 0, 0, 3, turned_deg=turned_deg)) == pytest.approx(6 / 5)


def test_short_lines_show_no_slope() -> None:
    short = [quad(0, 40 * i, 80, 20, 10.0 * i) for i in range(5)]
    assert slope_spread_deg(lines(0, 0, 0) + short) == pytest.approx(0, abs=1e-6)
    assert slope_spread_deg(lines(0, 5) + short) is None
    assert slope_spread_deg([]) is None
