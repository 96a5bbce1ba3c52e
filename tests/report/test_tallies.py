"""Counters of the overview: the same in any order, right within their bounds, and small."""

import math
from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.tallies import (
    EPOCH,
    MOST_BINS,
    WIDTHS_S,
    Clock,
    Timeline,
    length_bounds,
    length_class,
)

NOW_S = int((datetime.fromisoformat("2026-11-30T22:00") - EPOCH).total_seconds())
MINUTES = st.one_of(st.integers(0, 600), st.integers(0, 5_000_000)).map(lambda minute: NOW_S + 60 * minute)
PAGES = st.lists(st.tuples(MINUTES, st.one_of(st.none(), st.integers(0, 10**8))), min_size=1, max_size=60)


def timeline(pages: list[tuple[int, int | None]]) -> Timeline:
    made = Timeline()
    for local_s, duration_ms in pages:
        made.add(local_s, duration_ms)
    return made


@given(PAGES, st.randoms(use_true_random=False))
def test_a_timeline_is_the_same_in_any_order_of_pages(pages: list[tuple[int, int | None]], chance: object) -> None:
    shuffled = list(pages)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert list(timeline(shuffled).rates()) == list(timeline(pages).rates())


@given(PAGES)
def test_bins_hold_all_pages_and_are_few(pages: list[tuple[int, int | None]]) -> None:
    rates = list(timeline(pages).rates())
    assert sum(rate.pages for rate in rates) == len(pages)
    width = rates[0].end - rates[0].begin
    assert (rates[-1].end - rates[0].begin) / width <= MOST_BINS
    assert width.total_seconds() in WIDTHS_S
    for rate in rates:
        inside = [s for s, _ in pages if rate.begin <= EPOCH + timedelta(seconds=s) < rate.end]
        assert rate.pages == len(inside)
        hours = {s // 3600 for s in inside}
        assert rate.active_s == (len(hours) * 3600 if width > timedelta(hours=1) else width.total_seconds())


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=80))
def test_quantiles_are_off_by_half_a_step_at_most(durations: list[int]) -> None:
    (rate,) = timeline([(NOW_S, duration) for duration in durations]).rates()
    ordered = [max(1, duration) for duration in sorted(durations)]
    for found, share in ((rate.median_ms, 0.5), (rate.p95_ms, 0.95)):
        exact = ordered[math.ceil(round(share * len(ordered), 9)) - 1]
        assert found == pytest.approx(exact, rel=2 ** (1 / 32) - 1 + 1e-9)


def test_pages_without_a_duration_have_no_quantile() -> None:
    (rate,) = timeline([(NOW_S, None)]).rates()
    assert (rate.pages, rate.median_ms, rate.p95_ms) == (1, None, None)


def test_times_from_the_first_year_to_the_last_are_few_bins() -> None:
    """A wrong clock makes neither the memory grow nor the chart fail."""
    clock = Clock("UTC")
    moments = [clock.read(text) for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00Z")]
    rates = list(timeline([(moment, 5) for moment in moments if moment is not None]).rates())
    assert [rate.pages for rate in rates] == [1, 1, 1]
    assert rates[-1].end.year == 9999


@pytest.mark.parametrize(
    ("text", "timezone", "local"),
    [
        pytest.param("2026-01-31T12:00:30.5Z", "UTC", "2026-01-31 12:00", id="utc"),
        pytest.param("2026-01-31T18:20:00Z", "Asia/Kathmandu", "2026-02-01 00:05", id="three-quarters-of-an-hour"),
        pytest.param("2026-07-01T23:30:00Z", "Europe/Berlin", "2026-07-02 01:30", id="summer"),
    ],
)
def test_days_are_those_of_the_plans_time_zone(text: str, timezone: str, local: str) -> None:
    local_s = Clock(timezone).read(text)
    assert local_s is not None
    assert EPOCH + timedelta(seconds=local_s) == datetime.fromisoformat(local)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00Z", "\ud800", "0001-01-01T00:00:00Z"])
def test_what_is_no_time_has_no_day(text: str) -> None:
    assert Clock("America/New_York").read(text) is None


@given(st.integers(0, 10**9))
def test_a_length_is_within_the_bounds_of_its_class(characters: int) -> None:
    low, following = length_bounds(length_class(characters))
    assert low <= characters < following


def test_classes_of_lengths_follow_one_another() -> None:
    bounds = [length_bounds(number) for number in range(12)]
    assert [low for low, _ in bounds] == [0, 1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
    assert all(following == bounds[place + 1][0] for place, (_, following) in enumerate(bounds[:-1]))
    assert Counter(map(length_class, range(100))) == {0: 1, 1: 9, 2: 10, 3: 30, 4: 50}
