"""The charts of an overview, from values."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing import Calendar
from pipeline.ledger.base import MonthCalls
from pipeline.records import State
from pipeline.report.overview import Overview
from pipeline.report.overview_charts import draw_calls, draw_lengths, month_span
from pipeline.report.overview_html import render_overview

NOVEMBER = date(2026, 11, 1).toordinal() - 1
TAKEN = datetime.fromisoformat("2026-11-20T12:00")


def overview_with(
    months: Sequence[MonthCalls] = (), *, quota: int | None = None, lengths: Mapping[int, int] | None = None
) -> Overview:
    return Overview(
        taken=TAKEN,
        calendar=Calendar(),
        pages=dict.fromkeys(State, 0),
        pending_is_at_least=False,
        corrected=0,
        checked=0,
        days={},
        undated=0,
        rates=(),
        failures=(),
        scores=None,
        lengths=lengths or {},
        months=tuple(months),
        ledger_problem=None,
        quota=quota,
        unreadable=0,
    )


def points_of(html: str) -> list[tuple[float, float]]:
    """Return the points of the first line; y grows downwards."""
    match = re.search(r'points="([^"]+)"', html)
    assert match is not None
    return [(float(x), float(y)) for x, y in (point.split(",") for point in match[1].split())]


@given(st.dictionaries(st.integers(-1, 31), st.integers(1, 10**6), min_size=1), st.integers(0, 1000))
def test_calls_only_rise_within_a_month(days: dict[int, int], base: int) -> None:
    """Also a call on the last day of October that may be billed in November, and one of a clock that ran ahead."""
    month = MonthCalls("2026-11", base, {NOVEMBER + day: number for day, number in days.items()}, 0)
    points = points_of(draw_calls(overview_with([month], quota=500)))
    assert points[0][0] == 0
    assert max(x for x, _ in points) <= 1000
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in pairwise(points))


def test_calls_end_at_the_present() -> None:
    month = MonthCalls("2026-11", 0, {NOVEMBER + 4: 10, NOVEMBER + 9: 5}, 15)
    html = draw_calls(overview_with([month], quota=20))
    points = points_of(html)
    assert points == [(0, 1000), (133.3, 1000), (166.7, 500), (300, 500), (333.3, 250), (650, 250)]
    assert "quota 20" in html
    assert "quota" not in draw_calls(overview_with([month]))


@pytest.mark.parametrize(
    ("month", "reset_day", "begin", "end"),
    [
        ("2026-11", 1, "2026-11-01", "2026-12-01"),
        ("2026-12", 28, "2026-12-28", "2027-01-28"),
        ("2026-02", 15, "2026-02-15", "2026-03-15"),
    ],
)
def test_a_billing_month_begins_on_its_day(month: str, reset_day: int, begin: str, end: str) -> None:
    found = month_span(MonthCalls(month, 0, {}, 0), reset_day)
    assert found == (datetime.fromisoformat(begin), datetime.fromisoformat(end))


def test_folded_months_have_bars_and_no_curve() -> None:
    months = [MonthCalls(f"2025-{number:02}", 7 * number, {}, 0) for number in range(1, 13)]
    html = render_overview(overview_with([*months, MonthCalls("2026-01", -3, {}, 0)]))
    assert "Calls against the quota" not in html
    assert "Without 1 earlier month." in html
    assert "2025-01" not in html
    assert ">84</td>" in html


def test_lengths_reach_from_nothing_to_ten_million_characters() -> None:
    html = draw_lengths(overview_with(lengths={0: 1, 20: 2}))
    labels = re.findall(r'<text class="middle"[^>]*>([^<]+)<', html)
    assert labels == ["0", "1", "10", "100", "1k", "10k", "100k", "1M", "10M"]
