"""Detection passes at several scales, and how their boxes are merged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.detection_scales import (
    COARSE_EDGE_PX,
    MAX_AREA_PX,
    finer_edge_px,
    merge_detections,
    overlap_areas_px,
)
from pipeline.engine.recognition import Quad
from tests.engine.geometry import quad

upright = st.builds(quad, *(st.integers(low, high) for low, high in ((0, 1000), (0, 1000), (1, 500), (1, 100))))
boxes = st.builds(quad, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100))


def test_a_line_that_only_the_coarse_pass_finds_is_kept() -> None:
    """A few words on an otherwise blank page are found at a small scale only."""
    assert merge_detections([quad(0, 0, 100, 20)], []) == [quad(0, 0, 100, 20)]


def test_a_line_found_in_both_passes_has_the_fine_box() -> None:
    assert merge_detections([quad(0, 0, 100, 20)], [quad(2, 1, 97, 18)]) == [quad(2, 1, 97, 18)]


def test_a_line_found_in_part_by_the_fine_pass_has_the_coarse_box() -> None:
    assert merge_detections([quad(0, 0, 160, 60)], [quad(10, 5, 45, 45)]) == [quad(0, 0, 160, 60)]


def test_a_coarse_box_over_two_rows_is_dropped() -> None:
    """Even where the fine pass found only one of the rows."""
    assert merge_detections([quad(0, 0, 300, 40)], [quad(0, 0, 300, 18)]) == [quad(0, 0, 300, 18)]


@given(st.lists(boxes, max_size=8), st.lists(boxes, max_size=8))
def test_merged_boxes_are_boxes_of_a_pass(coarse: list[Quad], fine: list[Quad]) -> None:
    merged = merge_detections(coarse, fine)
    assert bool(merged) == bool(coarse or fine)
    assert set(merged) <= {*coarse, *fine}


@pytest.mark.parametrize(
    ("size_px", "edge_px", "heights_px", "finer_px"),
    [
        pytest.param((1654, 2339), 736, [90] * 10, None, id="a-poster"),
        pytest.param((1654, 2339), 736, [36] * 30, 1472, id="A4-at-200-dpi"),
        pytest.param((1654, 2339), 1472, [36] * 30, None, id="A4-at-200-dpi-legible"),
        pytest.param((1654, 2339), 1472, [36] * 20 + [24] * 10, 2944, id="with-small-notes"),
        pytest.param((1654, 2339), 2976, [8] * 30, None, id="memory-limit"),
        pytest.param((2339, 1654), 736, [], 1472, id="nothing-found"),
        pytest.param((800, 4000), 2944, [16] * 30, 5600, id="a-strip-is-not-shrunk"),
        pytest.param((640, 400), 640, [12] * 10, 1280, id="tiny-type-is-enlarged"),
        pytest.param((640, 400), 1280, [6] * 10, None, id="finest-scale"),
        pytest.param((100, 1), 100, [], 192, id="a-hairline"),
    ],
)
def test_passes_become_finer_until_small_lines_are_legible(
    size_px: tuple[int, int], edge_px: int, heights_px: list[int], finer_px: int | None
) -> None:
    assert finer_edge_px(size_px, edge_px, heights_px) == finer_px


@given(st.integers(1, 4000), st.integers(1, 4000), st.lists(st.floats(0.1, 500.0), max_size=8))
def test_passes_end_within_the_memory_limit(width_px: int, height_px: int, types_px: list[float]) -> None:
    edges = [min(COARSE_EDGE_PX, max(width_px, height_px))]
    while finer := finer_edge_px((width_px, height_px), edges[-1], types_px):
        edges.append(finer)
    assert edges == sorted(set(edges))
    assert len(edges) <= 7
    shape = min(width_px, height_px) / max(width_px, height_px)
    assert all(edge * edge * shape <= MAX_AREA_PX for edge in edges[1:])


@given(st.lists(upright, max_size=5), st.lists(upright, max_size=5))
def test_overlap_areas_are_those_of_the_intersections(some: list[Quad], others: list[Quad]) -> None:
    """In either orientation of the corners."""
    expected = [[_overlap_px(one, other) for other in others] for one in some]
    mirrored = [(other[3], other[2], other[1], other[0]) for other in others]
    assert overlap_areas_px(some, others) == pytest.approx(np.reshape(expected, (len(some), len(others))))
    assert overlap_areas_px(mirrored, some) == pytest.approx(np.reshape(expected, (len(some), len(others))).T)


def _overlap_px(one: Quad, other: Quad) -> float:
    width = min(one[1][0], other[1][0]) - max(one[0][0], other[0][0])
    height = min(one[2][1], other[2][1]) - max(one[0][1], other[0][1])
    return max(0.0, width) * max(0.0, height)
