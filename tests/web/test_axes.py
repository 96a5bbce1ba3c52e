"""Axes: few, round labels that do not touch on a phone."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.axes import MOST_TICKS, TimeAxis, nice_ticks, short_number

PLOT_PX = 275
"""Width of a plot on a screen of 390 px."""
DIGIT_PX = 6.7
"""Of sans-serif digits at 12 px."""

FIRST, LAST = datetime.fromisoformat("0001-01-01"), datetime.fromisoformat("9999-12-31")
MOMENTS = st.datetimes(FIRST, LAST - timedelta(minutes=1))
SPANS = st.floats(1, 1e10).map(lambda seconds: timedelta(minutes=1, seconds=seconds))


@given(MOMENTS, SPANS)
def test_labels_of_any_time_are_few_and_do_not_touch(begin: datetime, span: timedelta) -> None:
    ticks = TimeAxis(begin, begin + min(span, LAST - begin)).ticks()
    assert 1 <= len(ticks) <= MOST_TICKS
    assert all(0 <= tick.position <= 1 for tick in ticks)
    for left, right in pairwise(ticks):
        width_px = DIGIT_PX * (len(left.label) + len(right.label)) / 2
        assert (right.position - left.position) * PLOT_PX > width_px


@pytest.mark.parametrize(
    ("begin", "end", "labels"),
    [
        pytest.param("2026-11-30 02:13", "2026-11-30 02:21", ["02:14", "02:16", "02:18", "02:20"], id="minutes"),
        pytest.param(
            "2026-11-29 22:00", "2026-11-30 02:00", ["22:00", "23:00", "30 Nov", "01:00", "02:00"], id="night"
        ),
        pytest.param("2026-11-24", "2026-12-01", ["24 Nov", "26 Nov", "28 Nov", "30 Nov"], id="week"),
        pytest.param("2026-11-01", "2026-12-01", ["2 Nov", "9 Nov", "16 Nov", "23 Nov", "30 Nov"], id="Mondays"),
        pytest.param("2025-12-01", "2026-12-01", ["2026-01", "2026-04", "2026-07", "2026-10"], id="year"),
        pytest.param("2025-12-01", "2036-01-01", ["2030", "2035"], id="decade"),
    ],
)
def test_labels_are_round(begin: str, end: str, labels: list[str]) -> None:
    axis = TimeAxis(datetime.fromisoformat(begin), datetime.fromisoformat(end))
    assert [tick.label for tick in axis.ticks()] == labels


@given(st.floats(1e-9, 1e15), st.booleans())
def test_a_scale_begins_at_0_and_reaches_the_largest_value(most: float, whole: bool) -> None:  # noqa: FBT001
    ticks = nice_ticks(most, whole=whole)
    assert ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-9)
    assert 2 <= len(ticks) <= 6
    assert not whole or all(tick == int(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("most", "whole", "ticks"),
    [(1, True, [0, 1]), (1, False, [0, 0.25, 0.5, 0.75, 1]), (900, True, [0, 250, 500, 750, 1000]), (0, True, [0, 1])],
)
def test_scales_are_round(most: float, whole: bool, ticks: list[float]) -> None:  # noqa: FBT001
    assert nice_ticks(most, whole=whole) == ticks


@given(st.floats(0.05, 9e14), st.booleans())
def test_numbers_of_a_scale_fit_beside_it(most: float, whole: bool) -> None:  # noqa: FBT001
    assert max(len(short_number(tick)) for tick in nice_ticks(most, whole=whole)) <= 5


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.25, "0.25"), (950, "950"), (1500, "1.5k"), (12_000, "12k"), (2_500_000, "2.5M")]
)
def test_numbers_of_an_axis_are_short(number: float, text: str) -> None:
    assert short_number(number) == text
