"""Lines found at two scales."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.detection_scales import COARSE_EDGE_PX, LARGEST_PX, finer_edge_px, merge_detections
from pipeline.engine.recognition import Quad
from tests.engine.geometry import quad

boxes = st.builds(quad, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100))


def test_a_line_that_only_the_coarse_look_finds_is_kept() -> None:
    """A few words on an empty page are found at the small scale alone."""
    assert merge_detections([quad(0, 0, 100, 20)], []) == [quad(0, 0, 100, 20)]


def test_a_line_found_at_both_scales_is_kept_once() -> None:
    """The fine box is the exact one."""
    assert merge_detections([quad(0, 0, 100, 20)], [quad(2, 1, 97, 18)]) == [quad(2, 1, 97, 18)]


def test_a_line_known_only_in_part_is_replaced_by_the_whole() -> None:
    """The first of three characters is no line."""
    assert merge_detections([quad(0, 0, 160, 60)], [quad(10, 5, 45, 45)]) == [quad(0, 0, 160, 60)]


def test_rows_run_together_by_the_coarse_look_stay_apart() -> None:
    """One box over two rows is dropped, even where the fine look found one row of them only."""
    assert merge_detections([quad(0, 0, 300, 40)], [quad(0, 0, 300, 18)]) == [quad(0, 0, 300, 18)]


@given(st.lists(boxes, max_size=8), st.lists(boxes, max_size=8))
def test_merging_invents_nothing(coarse: list[Quad], fine: list[Quad]) -> None:
    """What comes out is a line that went in; none comes out while both looks were empty."""
    merged = merge_detections(coarse, fine)
    assert bool(merged) == bool(coarse or fine)
    assert set(merged) <= {*coarse, *fine}


@pytest.mark.parametrize(
    ("size_px", "edge_px", "heights_px", "finer_px"),
    [
        pytest.param((1654, 2339), 736, [90] * 10, None, id="a-poster"),
        pytest.param((1654, 2339), 736, [36] * 30, 1472, id="A4-at-200-dpi"),
        pytest.param((1654, 2339), 1472, [36] * 30, None, id="A4-at-200-dpi-seen-well"),
        pytest.param((1654, 2339), 1472, [36] * 20 + [24] * 10, 2944, id="with-small-notes"),
        pytest.param((1654, 2339), 2976, [8] * 30, None, id="no-memory-for-more"),
        pytest.param((2339, 1654), 736, [], 1472, id="nothing-found"),
        pytest.param((800, 4000), 2944, [16] * 30, 5600, id="a-strip-is-not-shrunk"),
        pytest.param((640, 400), 640, [12] * 10, 1280, id="tiny-type-is-enlarged"),
        pytest.param((640, 400), 1280, [6] * 10, None, id="no-more-to-see"),
        pytest.param((100, 1), 100, [], 192, id="a-hairline"),
    ],
)
def test_the_next_look_is_finer_until_small_lines_are_seen_well(
    size_px: tuple[int, int], edge_px: int, heights_px: list[int], finer_px: int | None
) -> None:
    """More pixels cost time."""
    found = [quad(0, 0, 500, height) for height in heights_px]
    assert finer_edge_px(size_px, edge_px, found) == finer_px


@given(st.integers(1, 4000), st.integers(1, 4000), st.lists(boxes, max_size=8))
def test_looks_come_to_an_end(width_px: int, height_px: int, found: list[Quad]) -> None:
    """Each is finer than the last, and none takes more memory than the finest may."""
    edges = [min(COARSE_EDGE_PX, max(width_px, height_px))]
    while finer := finer_edge_px((width_px, height_px), edges[-1], found):
        edges.append(finer)
    assert edges == sorted(set(edges))
    assert len(edges) <= 7
    shape = min(width_px, height_px) / max(width_px, height_px)
    assert all(edge * edge * shape <= LARGEST_PX for edge in edges[1:])
