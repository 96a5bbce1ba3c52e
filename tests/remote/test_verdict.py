"""Verdicts: what each reply means, row by row of the design's table; Retry-After; backoff."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import (
    KeyRejectedError,
    PermissionDeniedError,
    QuotaExhaustedError,
    StopError,
    UsageError,
)
from pipeline.remote.verdict import (
    Accepted,
    Failed,
    Fault,
    Outcome,
    PageRejected,
    Refused,
    Stop,
    backoff_s,
    parse_retry_after,
    verdict_of,
)
from pipeline.wire import WireReply

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SENT = "Sat, 31 Jan 2026 11:00:00 GMT"  # the service's clock is an hour behind the client's
REPLY = WireReply("doc-1", "text", 1640995200000)
YEAR_S = 366 * 86400


def test_a_valid_200_is_accepted() -> None:
    assert verdict_of(Outcome(200, reply=REPLY)) == Accepted(REPLY)


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_rejected_page_fails_and_is_not_retried(status: int) -> None:
    verdict = verdict_of(Outcome(status, detail="image too small"))
    assert isinstance(verdict, PageRejected)
    assert str(verdict.error) == f"HTTP {status}: image too small"
    assert not verdict.error.retryable


@pytest.mark.parametrize(
    ("outcome", "error", "exit_code"),
    [
        pytest.param(Outcome(401, detail="Unauthorized"), KeyRejectedError, 7, id="401"),
        pytest.param(Outcome(401, detail="monthly quota"), KeyRejectedError, 7, id="401-that-names-the-quota"),
        pytest.param(Outcome(403, detail="Insufficient quota"), QuotaExhaustedError, 8, id="403-quota"),
        pytest.param(Outcome(429, detail="Monthly quota exceeded"), QuotaExhaustedError, 8, id="429-quota"),
        pytest.param(Outcome(429, retry_after_s=3601), QuotaExhaustedError, 8, id="429-beyond-an-hour"),
        pytest.param(Outcome(403, retry_after_s=86400), QuotaExhaustedError, 8, id="403-beyond-an-hour"),
        pytest.param(Outcome(503, retry_after_s=7200), QuotaExhaustedError, 8, id="503-beyond-an-hour"),
        pytest.param(Outcome(403, detail="Forbidden"), PermissionDeniedError, 7, id="other-403"),
        pytest.param(Outcome(403), PermissionDeniedError, 7, id="403-without-a-message"),
        pytest.param(Outcome(403, detail="no", retry_after_s=60), PermissionDeniedError, 7, id="403-short-wait"),
        pytest.param(Outcome(404), UsageError, 2, id="404-no-api-here"),
        pytest.param(Outcome(405), UsageError, 2, id="405-no-api-here"),
    ],
)
def test_a_reply_about_the_account_stops_the_run(outcome: Outcome, error: type[StopError], exit_code: int) -> None:
    verdict = verdict_of(outcome)
    assert isinstance(verdict, Stop)
    assert type(verdict.error) is error
    assert verdict.error.exit_code == exit_code
    assert f"HTTP {outcome.status}" in str(verdict.error)


def test_a_used_up_quota_with_retry_after_says_when_to_come_back() -> None:
    verdict = verdict_of(Outcome(429, retry_after_s=9000.0))
    assert isinstance(verdict, Stop)
    assert "come back in 2.5 h" in str(verdict.error)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        pytest.param(Outcome(429), Refused(None, "HTTP 429"), id="429"),
        pytest.param(
            Outcome(429, detail="Too Many Requests", retry_after_s=3.0),
            Refused(3.0, "HTTP 429: Too Many Requests"),
            id="429-with-retry-after",
        ),
        pytest.param(Outcome(429, retry_after_s=3600.0), Refused(3600.0, "HTTP 429"), id="429-an-hour"),
        pytest.param(Outcome(429, retry_after_s=0.0), Refused(0.0, "HTTP 429"), id="429-at-once"),
        pytest.param(Outcome(503, retry_after_s=5.0), Refused(5.0, "HTTP 503"), id="503-with-retry-after"),
        pytest.param(
            Outcome(503, detail="quota service is down", retry_after_s=5.0),
            Refused(5.0, "HTTP 503: quota service is down"),
            id="503-that-names-a-quota",
        ),
    ],
)
def test_a_busy_service_pauses_the_account_for_its_retry_after(outcome: Outcome, verdict: Refused) -> None:
    assert verdict_of(outcome) == verdict


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        pytest.param(Outcome(500, detail="processing failed"), "HTTP 500: processing failed", id="500"),
        pytest.param(Outcome(500, retry_after_s=5.0), "HTTP 500", id="500-with-retry-after"),
        pytest.param(Outcome(502), "HTTP 502", id="502"),
        pytest.param(Outcome(503), "HTTP 503", id="503-without-retry-after"),
        pytest.param(Outcome(504, detail="quota"), "HTTP 504: quota", id="504"),
        pytest.param(Outcome(fault=Fault.LOST, detail="connection lost"), "connection lost", id="reset-or-timeout"),
        pytest.param(Outcome(200, detail="the reply is not JSON"), "HTTP 200: the reply is not JSON", id="invalid-200"),
        pytest.param(Outcome(200, detail="quota monthly"), "HTTP 200: quota monthly", id="200-is-never-quota"),
        pytest.param(Outcome(200, fault=Fault.LOST, detail="cut off"), "cut off", id="truncated-200"),
        pytest.param(Outcome(302), "HTTP 302", id="redirect"),
        pytest.param(Outcome(201), "HTTP 201", id="another-success"),
        pytest.param(Outcome(), "", id="nothing-known"),
    ],
)
def test_a_failed_call_may_have_been_billed(outcome: Outcome, reason: str) -> None:
    assert verdict_of(outcome) == Failed(billed=True, reason=reason)


def test_a_call_that_was_not_sent_is_not_billed() -> None:
    outcome = Outcome(fault=Fault.NOT_SENT, detail="cannot connect (Connection refused)")
    assert verdict_of(outcome) == Failed(billed=False, reason="cannot connect (Connection refused)")


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize(
    "text",
    [
        "Insufficient quota: 30 of 30 requests used",
        "Forbidden: insufficient quota or permissions",
        "QUOTA_EXCEEDED",
        "You have reached the limit of 1,000 requests per month",
        "Monthly limit exceeded",
        "No requests left this month",
        "Your subscription does not include this",
        "Please upgrade to Pro",
        "Insufficient balance",
        "You exceeded your current plan",
    ],
)
def test_words_about_the_plan_mean_the_quota(status: int, text: str) -> None:
    """Source: the API's contract: quota, per month, subscription, upgrade, insufficient or exceeded monthly."""
    verdict = verdict_of(Outcome(status, detail=text, retry_after_s=1.0))
    assert isinstance(verdict, Stop)
    assert isinstance(verdict.error, QuotaExhaustedError)
    assert text in str(verdict.error)


@pytest.mark.parametrize(
    "text",
    [
        "Too Many Requests: rate limit exceeded",
        "Rate limit exceeded, retry in 3 seconds",
        "Limit of 10 requests per second exceeded",
        "Limit of 600 requests per minute exceeded",
        "slow down",
    ],
)
def test_words_about_the_rate_do_not_mean_the_quota(text: str) -> None:
    assert verdict_of(Outcome(429, detail=text)) == Refused(None, f"HTTP 429: {text}")


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "wait_s"),
        [
            pytest.param("120", 120, id="seconds"),
            pytest.param(" 120 ", 120, id="space"),
            pytest.param("0", 0, id="zero"),
            pytest.param("1.5", 1.5, id="fraction"),
            pytest.param("999999999999", YEAR_S, id="huge-is-a-year"),
            pytest.param("Sat, 31 Jan 2026 11:01:30 GMT", 90, id="date"),
            pytest.param("Saturday, 31-Jan-26 11:01:30 GMT", 90, id="date-rfc-850"),
            pytest.param("Sat Jan 31 11:01:30 2026", 90, id="date-asctime"),
            pytest.param("Sat, 31 Jan 2026 12:01:30 +0100", 90, id="date-with-a-zone"),
            pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0, id="date-gone-by"),
            pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", YEAR_S, id="date-far-off-is-a-year"),
            pytest.param("-5", None, id="negative"),
            pytest.param("soon", None, id="garbage"),
            pytest.param("", None, id="empty"),
            pytest.param("nan", None, id="nan"),
            pytest.param("inf", None, id="infinite"),
            pytest.param("1e3", None, id="exponent"),
            pytest.param("3, 9", None, id="two-values"),
            pytest.param("Sat, 99 Jan 2026 11:01:30 GMT", None, id="no-such-date"),
            pytest.param("Sat, 31 Jan 2026 11:01:30 +9999999", None, id="no-such-zone"),
            pytest.param(None, None, id="absent"),
        ],
    )
    def test_both_forms_are_read_and_garbage_is_not(self, value: str | None, wait_s: float | None) -> None:
        """Source: RFC 9110, 10.2.3. A date is relative to the response's Date, not to the client's clock."""
        assert parse_retry_after(value, None, SENT, NOW) == wait_s

    @pytest.mark.parametrize("date", [None, "garbage", ""])
    def test_without_a_valid_date_header_the_clients_clock_counts(self, date: str | None) -> None:
        assert parse_retry_after("Sat, 31 Jan 2026 12:00:07 GMT", None, date, NOW) == 7

    @pytest.mark.parametrize(
        ("milliseconds", "wait_s"),
        [
            pytest.param("1500", 1.5, id="wins"),
            pytest.param("0.5", 0.0005, id="fraction"),
            pytest.param("-1", 60, id="negative-leaves-it-to-the-other"),
            pytest.param("soon", 60, id="garbage-leaves-it-to-the-other"),
        ],
    )
    def test_retry_after_ms_wins_if_it_is_a_number(self, milliseconds: str, wait_s: float) -> None:
        assert parse_retry_after("60", milliseconds, None, NOW) == wait_s

    def test_retry_after_ms_alone_is_enough(self) -> None:
        assert parse_retry_after(None, "250", None, NOW) == 0.25

    @given(
        st.text(max_size=40) | st.none(),
        st.text(max_size=20) | st.none(),
        st.text(max_size=40) | st.none(),
    )
    def test_any_header_gives_a_wait_within_a_year_or_none(
        self, value: str | None, milliseconds: str | None, date: str | None
    ) -> None:
        wait_s = parse_retry_after(value, milliseconds, date, NOW)
        assert wait_s is None or 0 <= wait_s <= YEAR_S

    @given(
        st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - the zone is drawn beside it
        st.integers(-12 * 60, 14 * 60),
        st.integers(0, 86400),
    )
    def test_a_date_is_relative_to_the_responses_date_in_any_time_zone(
        self, moment: datetime, offset_min: int, wait_s: int
    ) -> None:
        sent = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_min)))
        until = (sent + timedelta(seconds=wait_s)).astimezone(UTC)
        assert parse_retry_after(format_datetime(until), None, format_datetime(sent), NOW) == wait_s


class TestBackoff:
    @pytest.mark.parametrize(
        ("attempt", "bound_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 20.0), (50, 20.0), (100_000, 20.0)]
    )
    def test_the_bound_doubles_up_to_the_cap(self, attempt: int, bound_s: float) -> None:
        assert backoff_s(attempt, 0.5) == bound_s / 2

    @given(
        st.integers(1, 100_000),
        st.floats(0, 1, exclude_max=True),
        st.floats(0.001, 100),
        st.floats(0.001, 1000),
    )
    def test_the_wait_is_proportional_to_the_jitter_and_never_above_the_cap(
        self, attempt: int, jitter: float, base_s: float, cap_s: float
    ) -> None:
        wait_s = backoff_s(attempt, jitter, base_s=base_s, cap_s=cap_s)
        assert 0 <= wait_s <= cap_s
        assert backoff_s(attempt, 0.0, base_s=base_s, cap_s=cap_s) == 0
        assert wait_s <= backoff_s(attempt + 1, jitter, base_s=base_s, cap_s=cap_s)
        assert backoff_s(1, jitter, base_s=base_s, cap_s=cap_s) == jitter * min(base_s, cap_s)
