"""The forecast agrees with a walk through the days of the calendar."""

from datetime import UTC, datetime

import pytest

from pipeline.batch.planning.forecast import forecast
from pipeline.billing import Calendar

NOW = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("calls", "per_month", "used", "per_night", "months", "nights", "finish"),
    [
        pytest.param(0, 30, 0, None, 0, None, "2026-11-29", id="nothing-to-send"),
        pytest.param(18, 1000, 100, None, 1, None, "2026-11-29", id="this-month-suffices"),
        pytest.param(1000, 1000, 0, None, 1, None, "2026-11-29", id="this-month-to-the-last-call"),
        pytest.param(1001, 1000, 0, None, 2, None, "2026-12-01", id="one-call-more"),
        pytest.param(2500, 1000, 1000, None, 3, None, "2027-02-01", id="this-month-is-used-up"),
        pytest.param(10**9, None, 0, None, 1, None, "2026-11-29", id="unlimited"),
        pytest.param(5, 0, 0, None, None, None, None, id="all-is-kept-for-others"),
        pytest.param(5, None, 0, 0, None, None, None, id="no-call-per-night"),
        pytest.param(25, None, 0, 10, 2, 3, "2026-12-01", id="two-nights-in-november-and-one-more"),
        pytest.param(45, 30, 0, 20, 2, 3, "2026-12-01", id="the-quota-ends-a-night"),
        pytest.param(10**6, 30, 0, None, 33_334, None, None, id="over-a-century"),
    ],
)
def test_months_nights_and_finish(  # noqa: PLR0917 - the columns of the table
    calls: int,
    per_month: int | None,
    used: int,
    per_night: int | None,
    months: int | None,
    nights: int | None,
    finish: str | None,
) -> None:
    found = forecast(calls, per_month, used, now=NOW, calendar=Calendar(), per_night=per_night)
    assert (found.months, found.nights, found.finish) == (months, nights, finish)


def test_the_month_begins_on_the_day_of_the_plan() -> None:
    found = forecast(150, 100, 0, now=NOW, calendar=Calendar("Asia/Shanghai", 15))
    assert found.calls == {"2026-11": 100, "2026-12": 50}
    assert found.finish == "2026-12-14"  # in UTC


def test_a_used_up_month_has_no_calls() -> None:
    assert forecast(5, 30, 30, now=NOW, calendar=Calendar()).calls == {"2026-11": 0, "2026-12": 5}


@pytest.mark.parametrize(
    ("calls", "per_month", "used", "per_night", "nights", "finish"),
    [
        pytest.param(20, 30, 0, None, 2, "2026-11-30", id="the-last-two-nights-of-november"),
        pytest.param(40, 30, 0, None, 12, "2026-12-10", id="and-one-per-night-in-december"),
        pytest.param(40, 30, 30, None, 40, None, id="november-is-used-up"),
        pytest.param(20, 30, 0, 5, 12, None, id="the-smaller-bound-counts"),
        pytest.param(20, None, 0, None, None, "2026-11-29", id="no-limit-no-share"),
    ],
)
def test_spread_over_the_nights(  # noqa: PLR0917 - the columns of the table
    calls: int, per_month: int | None, used: int, per_night: int | None, nights: int | None, finish: str | None
) -> None:
    found = forecast(calls, per_month, used, now=NOW, calendar=Calendar(), per_night=per_night, spread=True)
    assert found.nights == nights
    assert finish is None or found.finish == finish
