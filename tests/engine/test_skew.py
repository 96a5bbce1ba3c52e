"""The slopes of a page's lines."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.recognition import Quad
from pipeline.engine.skew import Skew, measure_skew
from tests.engine.geometry import quad

places = st.tuples(st.floats(0, 4000), st.floats(0, 4000), st.floats(1, 2000), st.floats(1, 300), st.floats(-180, 180))


def bend(quads: list[Quad], drop: Callable[[float, float], float]) -> list[Quad]:
    """Return the quads with each corner moved down by `drop(x, y)` px."""

    def move(corner: tuple[float, float]) -> tuple[float, float]:
        return corner[0], corner[1] + drop(*corner)

    return [(move(a), move(b), move(c), move(d)) for a, b, c, d in quads]


def table(rng: random.Random) -> list[Quad]:
    """Return three cells of each of 20 rows, far apart and of different widths."""
    return [
        quad(x, 40 * row, rng.uniform(90, width), 20)
        for row in range(20)
        for x, width in ((0, 300), (600, 150), (880, 120))
    ]


def heights(quads: list[Quad], skew: Skew) -> list[float]:
    """Return the distances of the cells' middles from the row's first cell, on the page without skew."""
    middles = [sum(skew.straighten(corner)[1] for corner in each) / 4 for each in quads]
    return [middle - middles[i - i % 3] for i, middle in enumerate(middles)]


def test_a_page_without_long_lines_has_no_skew() -> None:
    assert measure_skew([]) == measure_skew([quad(0, 0, 20, 20, 3)]) == Skew()


@pytest.mark.parametrize(
    "drop",
    [
        pytest.param(lambda x, _: 0.05 * x, id="skewed"),
        pytest.param(lambda x, _: 0.00005 * x * x, id="curled"),
        pytest.param(lambda x, y: 0.00008 * x * (y - 400), id="perspective"),
        pytest.param(lambda x, y: 0.02 * x + 0.00004 * x * (x - y), id="all-of-them"),
    ],
)
def test_the_cells_of_a_row_are_level_again(drop: Callable[[float, float], float]) -> None:
    """Though each bends by a row or more."""
    quads = bend(table(random.Random(5)), drop)
    assert max(map(abs, heights(quads, Skew()))) > 20
    assert heights(quads, measure_skew(quads)) == pytest.approx([0.0] * len(quads), abs=4)


def test_lines_in_a_picture_do_not_bend_the_page() -> None:
    quads = table(random.Random(6)) + [quad(900 + 10 * i, -300 - 40 * i, 100, 20, 20) for i in range(4)]
    assert heights(quads[:60], measure_skew(quads)) == pytest.approx([0.0] * 60, abs=1)


@given(st.lists(places, max_size=20), st.floats(0.1, 10), st.floats(-500, 500))
def test_scale_and_place_of_a_page_do_not_change_its_slopes(
    places: list[tuple[float, float, float, float, float]], scale: float, shift: float
) -> None:
    skew = measure_skew([quad(*place) for place in places])
    moved = measure_skew([quad(x * scale, y * scale, w * scale, h * scale, deg) for x, y, w, h, deg in places])
    assert moved.angle_rad == pytest.approx(skew.angle_rad, abs=1e-6)
    assert moved.slope == pytest.approx(skew.slope, abs=1e-3)
    point = skew.straighten((shift, shift))
    assert moved.straighten((shift * scale, shift * scale)) == pytest.approx(
        (point[0] * scale, point[1] * scale), rel=1e-2, abs=1
    )
