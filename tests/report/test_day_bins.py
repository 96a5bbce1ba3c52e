"""Bins of days: few columns, whatever the days span, and each day in one of them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.day_bins import LEAST_COLUMNS, MOST_COLUMNS, DayBins

DAYS = st.integers(0, date.max.toordinal() - 1)


@given(DAYS, DAYS, st.data())
def test_any_days_fill_few_columns(one: int, other: int, data: st.DataObject) -> None:
    first, last = sorted((one, other))
    bins = DayBins.covering(first, last)
    assert len(bins.edges) - 1 <= MOST_COLUMNS
    assert len(bins.edges) - 1 >= LEAST_COLUMNS or bins.edges[0] == 0
    assert list(bins.edges) == sorted(set(bins.edges))
    day = data.draw(st.integers(first, last))
    place = bins.find(day)
    assert bins.edges[place] <= day < bins.edges[place + 1]
    assert len(list(bins.names())) == len(bins.edges) - 1
    bins.axis().ticks()


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - 1


@pytest.mark.parametrize(
    ("first", "last", "unit", "names"),
    [
        pytest.param("2026-11-30", "2026-11-30", "night", ("24 Nov 2026", "30 Nov 2026"), id="one-night"),
        pytest.param("2026-10-01", "2026-11-30", "night", ("1 Oct 2026", "30 Nov 2026"), id="two-months"),
        pytest.param("2025-12-01", "2026-11-30", "week", ("week of 1 Dec 2025", "week of 30 Nov 2026"), id="one-year"),
        pytest.param("2024-01-01", "2026-11-30", "month", ("2024-01", "2026-11"), id="three-years"),
        pytest.param(
            "2016-12-01", "2026-11-30", "quarter", ("2016-10 to 2016-12", "2026-10 to 2026-12"), id="ten-years"
        ),
        pytest.param("0001-01-01", "9999-12-31", "millennium", ("1 to 999", "9000 to 9999"), id="all"),
    ],
)
def test_units_suit_the_range(first: str, last: str, unit: str, names: tuple[str, str]) -> None:
    bins = DayBins.covering(day(first), day(last))
    found = list(bins.names())
    assert (bins.unit, found[0], found[-1]) == (unit, *names)
