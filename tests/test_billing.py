"""The billing month: that of a moment, those that are possible for a call, and when the next begins, in any zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing import (
    CLOCK_MARGIN,
    Calendar,
    Months,
    Usage,
    billing_month,
    may_be_folded,
    night_begin,
    possible_months,
    quota_refusal,
    reset_time,
    share_of_night,
)

ZONES = [
    "UTC",
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # its clocks change at midnight
    "America/Sao_Paulo",  # so did its own until 2019
    "Pacific/Apia",  # skipped 2011-12-30
    "Pacific/Kiritimati",  # +14
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",  # +05:45
]
CALENDARS = st.builds(Calendar, st.sampled_from(ZONES), st.integers(1, 28))
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def at(text: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "calendar", "month"),
    [
        pytest.param("2026-01-31T23:59:59.999999", Calendar(), "2026-01", id="last-moment"),
        pytest.param("2026-02-01T00:00:00", Calendar(), "2026-02", id="first-moment"),
        pytest.param("2026-01-14T23:59:59", Calendar(reset_day=15), "2025-12", id="before-the-reset-day-in-january"),
        pytest.param("2026-01-15T00:00:00", Calendar(reset_day=15), "2026-01", id="on-the-reset-day"),
        pytest.param("2026-03-01T00:00:00", Calendar(reset_day=28), "2026-02", id="day-28-reaches-into-march"),
        pytest.param("2026-01-31T15:59:59", Calendar("Asia/Shanghai"), "2026-01", id="shanghai-before-midnight"),
        pytest.param("2026-01-31T16:00:00", Calendar("Asia/Shanghai"), "2026-02", id="shanghai-after-midnight"),
        pytest.param("2026-01-01T04:59:59", Calendar("America/New_York"), "2025-12", id="new-york-is-still-in-2025"),
        pytest.param("0999-05-05T00:00:00", Calendar(), "0999-05", id="four-digits-always"),
    ],
)
def test_a_moment_falls_into_the_month_that_began_last(now: str, calendar: Calendar, month: str) -> None:
    assert billing_month(at(now), calendar) == month


def test_the_zone_of_the_moment_does_not_matter() -> None:
    now = at("2026-01-31T16:00:00")
    assert billing_month(now.astimezone(ZoneInfo("America/New_York")), Calendar("Asia/Shanghai")) == "2026-02"


@pytest.mark.parametrize(
    ("month", "calendar", "moment"),
    [
        pytest.param("2026-01", Calendar(), "2026-02-01T00:00:00", id="utc"),
        pytest.param("2025-12", Calendar(), "2026-01-01T00:00:00", id="december-ends-in-january"),
        pytest.param("2026-01", Calendar(reset_day=15), "2026-02-15T00:00:00", id="reset-day"),
        pytest.param("2026-01", Calendar("Asia/Shanghai"), "2026-01-31T16:00:00", id="shanghai"),
        pytest.param("2026-02", Calendar("Europe/Berlin"), "2026-02-28T23:00:00", id="berlin-in-winter"),
        pytest.param("2026-03", Calendar("Europe/Berlin"), "2026-03-31T22:00:00", id="berlin-in-summer"),
        pytest.param("2026-02", Calendar("America/Havana", 8), "2026-03-08T05:00:00", id="midnight-that-is-skipped"),
        pytest.param("2025-10", Calendar("America/Havana", 2), "2025-11-02T04:00:00", id="midnight-that-comes-twice"),
    ],
)
def test_the_next_month_begins_at_the_plans_midnight(month: str, calendar: Calendar, moment: str) -> None:
    """Summer time included."""
    reset = reset_time(month, calendar)
    assert reset == at(moment)
    assert reset.tzinfo is UTC


@given(MOMENTS, CALENDARS)
def test_the_month_of_a_moment_has_begun_and_ends_later(now: datetime, calendar: Calendar) -> None:
    month = billing_month(now, calendar)
    assert month <= now.astimezone(ZoneInfo(calendar.timezone)).strftime("%Y-%m")
    assert reset_time(month, calendar) > now


@given(MOMENTS, CALENDARS)
def test_months_meet_without_gap_or_overlap(now: datetime, calendar: Calendar) -> None:
    """The next month begins at the reset, and not one microsecond earlier."""
    month = billing_month(now, calendar)
    reset = reset_time(month, calendar)
    following = billing_month(reset, calendar)
    number = int(month[:4]) * 12 + int(month[5:])
    assert following == f"{number // 12:04d}-{number % 12 + 1:02d}"
    assert billing_month(reset - timedelta(microseconds=1), calendar) == month


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=40)), CALENDARS)
def test_a_later_moment_is_never_in_an_earlier_month(now: datetime, later: timedelta, calendar: Calendar) -> None:
    """No change to or from summer time reopens a month."""
    assert billing_month(now, calendar) <= billing_month(now + later, calendar)


@pytest.mark.parametrize(
    ("used", "limit", "left"),
    [
        pytest.param(10, 30, 20, id="some"),
        pytest.param(30, 30, 0, id="none"),
        pytest.param(35, 30, 0, id="never-negative"),
        pytest.param(10, None, None, id="unlimited"),
    ],
)
def test_left_is_the_limit_less_the_used_calls(used: int, limit: int | None, left: int | None) -> None:
    assert Usage("2026-01", used, 3, 2, limit).left == left


@given(MOMENTS, st.timedeltas(-CLOCK_MARGIN, CLOCK_MARGIN), CALENDARS)
def test_the_month_of_a_vendors_clock_within_the_margin_is_one_of_two_possible(
    now: datetime, difference: timedelta, calendar: Calendar
) -> None:
    months = list(possible_months(now, calendar))
    assert billing_month(now + difference, calendar) in months
    assert len(months) <= 2


@pytest.mark.parametrize(
    ("months", "listed"),
    [
        pytest.param(Months("2026-01", "2026-01"), ["2026-01"], id="one"),
        pytest.param(Months("2025-11", "2026-02"), ["2025-11", "2025-12", "2026-01", "2026-02"], id="over-new-year"),
    ],
)
def test_months_are_listed_from_the_first_to_the_last(months: Months, listed: list[str]) -> None:
    assert list(months) == listed


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        pytest.param(Months("", ""), Months("2026-01", "2026-02"), id="none-reached-yet"),
        pytest.param(Months("", "2026-02"), Months("2026-01", "2026-02"), id="none-begun-yet"),
        pytest.param(Months("2025-12", "2026-01"), Months("2026-01", "2026-02"), id="earlier-ones-reached"),
        pytest.param(Months("2026-02", "2026-02"), Months("2026-02", "2026-02"), id="the-first-is-over"),
        pytest.param(Months("2026-04", "2026-05"), Months("2026-04", "2026-05"), id="a-clock-that-moved-back"),
    ],
)
def test_no_month_before_those_reached_is_possible(reached: Months, expected: Months) -> None:
    assert Months("2026-01", "2026-02").not_before(reached) == expected


@given(MOMENTS, CALENDARS)
def test_the_wait_ends_when_the_refused_month_is_certainly_over_and_no_sooner(
    now: datetime, calendar: Calendar
) -> None:
    refused = possible_months(now, calendar).first
    refusal = quota_refusal(refused, 30, now, calendar)
    assert refusal.wait_s > 0
    after = now + timedelta(seconds=refusal.wait_s)
    assert possible_months(after, calendar).first > refused
    assert possible_months(after - timedelta(milliseconds=1), calendar).first == refused


@pytest.mark.parametrize(
    ("added", "folded", "may_be"),
    [
        pytest.param("2026-01-15T12:00:00", {"2026-01": 3, "2026-02": 0}, True, id="its-month-was-folded"),
        pytest.param("2026-02-15T12:00:00", {"2026-01": 3, "2026-02": 0}, False, id="its-month-is-not-over"),
        pytest.param("2025-12-15T12:00:00", {"2026-01": 3}, False, id="the-ledger-began-later"),
        pytest.param("2026-01-15T12:00:00", {}, False, id="a-new-ledger"),
        pytest.param("2030-01-15T12:00:00", {"2026-01": 3}, True, id="by-a-clock-that-was-ahead"),
    ],
)
def test_only_calls_of_folded_months_may_be_without_a_row(added: str, folded: dict[str, int], may_be: bool) -> None:  # noqa: FBT001
    assert may_be_folded(at(added), Calendar(), folded) is may_be


NIGHTS = st.lists(st.floats(0, 1), min_size=40, max_size=40)
"""By night: the part of its share that a run uses."""


@given(MOMENTS, CALENDARS, st.integers(0, 100_000), st.integers(0, 100_000), st.timedeltas(timedelta(0), timedelta(1)))
def test_a_share_is_within_what_is_left(
    now: datetime, calendar: Calendar, left: int, used: int, before: timedelta
) -> None:
    share = share_of_night(left, used, now - before if used else None, now, calendar)
    assert 0 <= share.calls <= left
    assert share.is_rest == (share.calls == left)
    assert share.share * share.nights >= left + used > (share.share - 1) * share.nights


@given(MOMENTS, CALENDARS, st.integers(1, 100_000))
def test_the_shares_of_a_months_nights_are_all_that_is_left_and_differ_by_one(
    now: datetime, calendar: Calendar, left: int
) -> None:
    resets = reset_time(billing_month(now, calendar), calendar)
    shares, rest = [], left
    while now < resets:
        share = share_of_night(rest, 0, None, now, calendar)
        shares.append(share.calls)
        rest -= share.calls
        now += timedelta(days=1)
    assert (sum(shares), rest) == (left, 0)
    assert max(shares) - min(shares) <= 1


@given(MOMENTS, CALENDARS, st.integers(1, 100_000), NIGHTS)
def test_what_a_night_leaves_is_spread_over_the_nights_after_it(
    now: datetime, calendar: Calendar, left: int, nights: list[float]
) -> None:
    resets = reset_time(billing_month(now, calendar), calendar)
    former, was_full = 0, True
    for part in nights:
        if now >= resets:
            break
        share = share_of_night(left, 0, None, now, calendar)
        assert share.calls >= former - was_full  # rounding up takes one call from the nights after it
        used = int(share.calls * part)
        former, was_full, left = share.calls, used == share.calls, left - used
        now += timedelta(days=1)


@given(MOMENTS, CALENDARS, st.integers(1, 100_000), st.timedeltas(timedelta(0), timedelta(hours=12)))
def test_a_second_run_in_the_same_night_has_only_what_the_first_left(
    now: datetime, calendar: Calendar, left: int, later: timedelta
) -> None:
    """Also on the other side of midnight, where fewer nights are left by the clock."""
    first = share_of_night(left, 0, None, now, calendar)
    if now + later < reset_time(billing_month(now, calendar), calendar):
        used = first.calls // 2
        second = share_of_night(left - used, used, now if used else None, now + later, calendar)
        if used:
            assert second.calls == first.calls - used
        all_used = share_of_night(left - first.calls, first.calls, now, now + later, calendar)
        assert all_used.calls == 0


@pytest.mark.parametrize(
    ("now", "begun"),
    [
        pytest.param("2026-01-15T02:00:00", "2026-01-14T12:00:00", id="after-midnight"),
        pytest.param("2026-01-15T22:00:00", "2026-01-15T12:00:00", id="before-midnight"),
        pytest.param("2026-01-15T12:00:00", "2026-01-15T12:00:00", id="noon"),
        pytest.param("2026-01-01T00:00:00", "2025-12-31T12:00:00", id="new-year"),
    ],
)
def test_a_night_begins_at_noon(now: str, begun: str) -> None:
    assert night_begin(at(now)) == at(begun)


def test_a_night_begins_at_noon_on_the_day_on_which_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begun = night_begin(datetime(2026, 3, 29, 3, 30, tzinfo=berlin))
    assert (begun, begun.utcoffset()) == (datetime(2026, 3, 28, 12, tzinfo=berlin), timedelta(hours=1))
