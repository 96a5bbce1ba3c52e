"""Maps between images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pixels.affine import Affine, orienting, rotated_size_px, rotating, scaling, shift
from pipeline.pixels.orientation import turn_upright, upright_size_px

SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
DEGREES = st.floats(-180, 180)
MAPS = st.one_of(
    st.builds(scaling, SIZES, SIZES),
    st.builds(shift, st.floats(-5000, 5000), st.floats(-5000, 5000)),
    st.builds(orienting, SIZES, st.integers(1, 8)),
    st.builds(rotating, SIZES, DEGREES, SIZES),
)
POINTS = st.tuples(st.floats(0, 5000), st.floats(0, 5000))


@given(MAPS, POINTS)
def test_the_inverse_leads_back(moved: Affine, point: tuple[float, float]) -> None:
    assert moved.inverse().map(*moved.map(*point)) == pytest.approx(point, abs=1e-4)


@given(MAPS, MAPS, POINTS)
def test_one_map_after_another_is_their_composition(first: Affine, second: Affine, point: tuple[float, float]) -> None:
    assert first.then(second).map(*point) == pytest.approx(second.map(*first.map(*point)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_moves_points_as_it_moves_pixels(orientation: int) -> None:
    stored = Image.new("L", (5, 3))
    stored.putpixel((4, 0), 255)
    upright = turn_upright(stored, orientation)
    x, y = orienting(stored.size, orientation).map(4.5, 0.5)
    assert upright.getpixel((int(x), int(y))) == 255
    assert upright.size == upright_size_px(stored.size, orientation)


@given(SIZES, DEGREES)
def test_a_turned_image_is_inside_its_canvas(size_px: tuple[int, int], degrees: float) -> None:
    canvas_px = rotated_size_px(size_px, degrees)
    turned = rotating(size_px, degrees, canvas_px)
    for corner in ((0, 0), (size_px[0], 0), (0, size_px[1]), size_px):
        x, y = turned.map(*corner)
        assert -1e-6 <= x <= canvas_px[0] + 1e-6
        assert -1e-6 <= y <= canvas_px[1] + 1e-6


def test_a_turn_is_clockwise() -> None:
    """The right end of a level line goes down."""
    assert rotating((10, 10), 90, (10, 10)).map(10, 5) == pytest.approx((5, 10))
