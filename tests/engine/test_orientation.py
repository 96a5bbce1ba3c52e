"""Page orientation: the decisions around the classifier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.orientation import MAX_VIEWS, view_windows
from pipeline.engine.orientation_model import VIEW_EDGE_PX, choose_turn
from tests.engine.geometry import quad


@pytest.mark.parametrize(
    ("classified_deg", "turn_deg"),
    [
        pytest.param(0, 0, id="upright"),
        pytest.param(90, 270, id="turned-clockwise"),
        pytest.param(180, 180, id="upside-down"),
        pytest.param(270, 90, id="turned-counter-clockwise"),
    ],
)
def test_the_turn_completes_the_classified_one_to_360_degrees(classified_deg: int, turn_deg: int) -> None:
    probabilities = [0.02] * 4
    probabilities[classified_deg // 90] = 0.94
    assert choose_turn([probabilities]) == turn_deg


def test_a_page_without_letters_is_not_turned() -> None:
    """On blank paper the highest probability was measured at 0.26."""
    assert choose_turn([[0.25, 0.24, 0.25, 0.26]]) == 0


def test_one_view_among_three_does_not_turn_a_page() -> None:
    """A drawing or an upside-down stamp may be classified wrongly."""
    upright, odd = [0.92, 0.02, 0.04, 0.02], [0.02, 0.02, 0.94, 0.02]
    assert choose_turn([upright, odd, upright]) == 0


def test_the_window_grows_with_the_type() -> None:
    small = view_windows([quad(100, 100, 900, 24), quad(100, 200, 900, 24)])
    large = view_windows([quad(100, 100, 900, 96), quad(100, 300, 900, 96)])
    assert {window.edge_px for window in small} == {VIEW_EDGE_PX}
    assert {window.edge_px for window in large} == {4 * VIEW_EDGE_PX}


@given(st.lists(st.tuples(*[st.floats(0, 4000)] * 2, *[st.floats(0, 4000)] * 2), min_size=1, max_size=20))
def test_there_are_one_to_four_views_and_none_is_empty(places: list[tuple[float, float, float, float]]) -> None:
    windows = view_windows([quad(*place) for place in places])
    assert 1 <= len(windows) <= MAX_VIEWS
    assert all(window.edge_px >= 1 for window in windows)
