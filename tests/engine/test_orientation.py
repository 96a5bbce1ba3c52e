"""Page orientation: the decisions around the classifier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.orientation import VIEW_EDGE_PX, VIEWS_AT_MOST, choose_turn, view_windows
from tests.engine.geometry import quad


@pytest.mark.parametrize(
    ("seen_deg", "turn_deg"),
    [
        pytest.param(0, 0, id="upright"),
        pytest.param(90, 270, id="lies-on-its-right-side"),
        pytest.param(180, 180, id="head-down"),
        pytest.param(270, 90, id="lies-on-its-left-side"),
    ],
)
def test_the_turn_undoes_what_was_seen(seen_deg: int, turn_deg: int) -> None:
    """A page turned clockwise is turned on until it stands."""
    probabilities = [0.02] * 4
    probabilities[seen_deg // 90] = 0.94
    assert choose_turn([probabilities]) == turn_deg


def test_a_page_without_letters_is_not_turned() -> None:
    """Measured on blank paper: 0.26 for the likeliest side."""
    assert choose_turn([[0.25, 0.24, 0.25, 0.26]]) == 0


def test_one_odd_view_does_not_turn_a_page() -> None:
    """A drawing, or a stamp upside down, is outvoted."""
    upright, odd = [0.92, 0.02, 0.04, 0.02], [0.02, 0.02, 0.94, 0.02]
    assert choose_turn([upright, odd, upright]) == 0


def test_small_type_is_seen_as_it_is_and_large_type_from_afar() -> None:
    """The window grows with the type, so that the classifier sees lines of one height."""
    small = view_windows([quad(100, 100, 900, 24), quad(100, 200, 900, 24)])
    large = view_windows([quad(100, 100, 900, 96), quad(100, 300, 900, 96)])
    assert {window.edge_px for window in small} == {VIEW_EDGE_PX}
    assert {window.edge_px for window in large} == {4 * VIEW_EDGE_PX}


@given(st.lists(st.tuples(*[st.floats(0, 4000)] * 2, *[st.floats(0, 4000)] * 2), min_size=1, max_size=20))
def test_views_are_few_and_cover_something(places: list[tuple[float, float, float, float]]) -> None:
    """Whatever was detected, there are one to four views, none of them empty."""
    windows = view_windows([quad(*place) for place in places])
    assert 1 <= len(windows) <= VIEWS_AT_MOST
    assert all(window.edge_px >= 1 for window in windows)
