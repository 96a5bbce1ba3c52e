"""Lines found at two scales."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.engine.boxes import FINE_EDGE_PX, area, fine_edge_px, intersection_area, merge_scales
from pipeline.server.recognition import Quad


def box(x: float, y: float, width: float, height: float) -> Quad:
    """Return an upright rectangle."""
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)


boxes = st.builds(box, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 500), st.floats(1, 100))


def test_a_line_that_only_the_coarse_look_finds_is_kept() -> None:
    """A few words on an empty page are found at the small scale alone."""
    assert merge_scales([box(0, 0, 100, 20)], []) == [box(0, 0, 100, 20)]


def test_a_line_found_at_both_scales_is_kept_once() -> None:
    """The fine box is the exact one."""
    assert merge_scales([box(0, 0, 100, 20)], [box(2, 1, 97, 18)]) == [box(2, 1, 97, 18)]


def test_a_line_known_only_in_part_is_replaced_by_the_whole() -> None:
    """The first of three characters is no line."""
    assert merge_scales([box(0, 0, 160, 60)], [box(10, 5, 45, 45)]) == [box(0, 0, 160, 60)]


def test_rows_run_together_by_the_coarse_look_stay_apart() -> None:
    """One box over two rows is dropped, even where the fine look found one row of them only."""
    assert merge_scales([box(0, 0, 300, 40)], [box(0, 0, 300, 18)]) == [box(0, 0, 300, 18)]


def test_a_line_run_across_a_gutter_is_cut_where_the_coarse_lines_end() -> None:
    """At full scale two columns come as one line."""
    left, right = box(0, 0, 400, 20), box(420, 1, 400, 20)
    (one, other) = merge_scales([left, right], [box(2, 0, 816, 21)])
    assert [one[0][0], one[1][0]] == pytest.approx([2, 400])
    assert [other[0][0], other[1][0]] == pytest.approx([420, 818])
    assert {one[2][1], other[2][1]} == {21}


def test_words_that_the_coarse_look_parts_without_white_stay_one_line() -> None:
    """Its boxes touch."""
    line = box(0, 0, 400, 20)
    assert merge_scales([box(0, 0, 198, 20), box(201, 0, 199, 20)], [line]) == [line]


@given(st.lists(boxes, max_size=8), st.lists(boxes, max_size=8))
def test_merging_invents_nothing(coarse: list[Quad], fine: list[Quad]) -> None:
    """What comes out is a line that went in, or a part of a fine one; none comes out while both looks were empty."""
    merged = merge_scales(coarse, fine)
    assert bool(merged) == bool(coarse or fine)
    for quad in set(merged) - set(coarse):
        assert any(intersection_area(quad, other) >= area(quad) * 0.999 - 1e-6 for other in fine)


@pytest.mark.parametrize(
    ("page_edge_px", "heights_px", "edge_px"),
    [
        pytest.param(2339, [36] * 30, 1408, id="A4-at-200-dpi"),
        pytest.param(2339, [36] * 20 + [24] * 10, FINE_EDGE_PX, id="with-small-notes"),
        pytest.param(4000, [20] * 30, FINE_EDGE_PX, id="small-type-on-a-large-page"),
        pytest.param(2339, [90] * 10, 640, id="a-poster"),
        pytest.param(4000, [], FINE_EDGE_PX, id="nothing-found"),
    ],
)
def test_the_fine_look_is_as_fine_as_the_small_lines_need(
    page_edge_px: int, heights_px: list[int], edge_px: int
) -> None:
    """Lines of 20 px are found; more pixels cost time, and gutters."""
    assert fine_edge_px(page_edge_px, [box(0, 0, 500, height) for height in heights_px]) == edge_px


@given(boxes, boxes)
def test_the_shared_area_is_that_of_the_rectangle_in_common(one: Quad, other: Quad) -> None:
    """Clipping agrees with the formula for upright rectangles, either way round."""
    width = min(one[1][0], other[1][0]) - max(one[0][0], other[0][0])
    height = min(one[2][1], other[2][1]) - max(one[0][1], other[0][1])
    expected = max(0.0, width) * max(0.0, height)
    assert intersection_area(one, other) == pytest.approx(expected, abs=1e-6 * area(one) + 1e-6)
    assert intersection_area(other, one) == pytest.approx(expected, abs=1e-6 * area(other) + 1e-6)
    mirrored = (other[3], other[2], other[1], other[0])
    assert intersection_area(one, mirrored) == pytest.approx(expected, abs=1e-6 * area(one) + 1e-6)
