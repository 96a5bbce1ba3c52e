"""The geometry of quadrilaterals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.geometry import area, is_tall, shared_areas, slice_quad, thickness
from pipeline.engine.recognition import Quad
from tests.engine.geometry import quad

quads = st.builds(
    quad, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100), st.sampled_from([0.0, 7.0])
)
upright = st.builds(quad, *(st.integers(low, high) for low, high in ((0, 1000), (0, 1000), (1, 500), (1, 100))))


@given(quads, st.floats(0, 1), st.floats(0, 1))
def test_a_slice_is_that_part_of_a_line(line: Quad, one: float, other: float) -> None:
    """It stands between the line's long edges."""
    start, end = sorted((one, other))
    part = slice_quad(line, start, end)
    expected = pytest.approx((end - start) * area(line), rel=1e-6, abs=1e-6)
    assert area(part) == expected
    assert shared_areas([line], [part]) == expected


@given(st.lists(upright, max_size=5), st.lists(upright, max_size=5))
def test_shared_areas_are_those_of_the_rectangles_in_common(some: list[Quad], others: list[Quad]) -> None:
    """For each with each, whichever way round they go."""
    expected = [[_shared(one, other) for other in others] for one in some]
    mirrored = [(other[3], other[2], other[1], other[0]) for other in others]
    assert shared_areas(some, others) == pytest.approx(np.reshape(expected, (len(some), len(others))))
    assert shared_areas(mirrored, some) == pytest.approx(np.reshape(expected, (len(some), len(others))).T)


def _shared(one: Quad, other: Quad) -> float:
    width = min(one[1][0], other[1][0]) - max(one[0][0], other[0][0])
    height = min(one[2][1], other[2][1]) - max(one[0][1], other[0][1])
    return max(0.0, width) * max(0.0, height)


def test_a_standing_line_is_as_thick_as_one_that_lies() -> None:
    """Type has its size whichever way it runs."""
    lying, standing = quad(0, 0, 200, 20), quad(0, 0, 20, 200)
    assert thickness(lying) == thickness(standing) == 20
    assert (is_tall(lying), is_tall(standing)) == (False, True)
