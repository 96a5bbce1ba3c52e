"""Verdicts: what each reply means, row by row of the design's table, early and late in a run."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing import Calendar
from pipeline.errors import (
    BlockedPageError,
    KeyRejectedError,
    MisdirectedError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RejectedPageError,
    TemporaryError,
    UsageError,
)
from pipeline.remote.allowance import Allowance
from pipeline.remote.outcome import Fault, Hint, Outcome, read_outcome
from pipeline.remote.verdict import (
    SEVERAL,
    Accepted,
    Blocked,
    Failed,
    PageRejected,
    Refused,
    Situation,
    Stop,
    Verdict,
    verdict_of,
)
from pipeline.wire import BodyKind, WireReply

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
REPLY = WireReply("doc-1", "text", 1640995200000)
API, JSON, PAGE, OTHER = BodyKind.API, BodyKind.JSON, BodyKind.PAGE, BodyKind.OTHER
EARLY = Situation(NOW)
"""The first call of a run."""
LATE = Situation(NOW, has_succeeded=True, others_in_flight=3, fastest_reply_s=0.5)
"""Other pages have their texts."""


def error(status: int, body: BodyKind = API, detail: str = "why", *, wait_s: float | None = None) -> Outcome:
    """Return the outcome of an error."""
    return Outcome(status, detail=detail if body is API else "", body=body, retry_after_s=wait_s)


def kind_of(verdict: Verdict) -> type | tuple[type, int]:
    """Return a verdict's type; for a stop, the type and exit code of its error; for a page, the type of its error."""
    match verdict:
        case Stop(error):
            return type(error), error.exit_code
        case PageRejected(error):
            return type(error)
        case _:
            return type(verdict)


KEY_STOP = (KeyRejectedError, 7)
QUOTA_STOP = (QuotaExhaustedError, 8)
ADDRESS_STOP = (UsageError, 2)
FOREIGN_STOP = (MisdirectedError, 7)
DOWN_STOP = (TemporaryError, 5)
GATEWAY_4XX = [407, 410, 421, 426]
OTHER_4XX = [406, 409, 411, 418, 423, 424, 431, 451, 499]

TABLE = [
    # any 2xx with a text
    *((Outcome(status, reply=REPLY), Accepted, Accepted) for status in (200, 201, 206)),
    # 400, 413, 415, 422 with JSON; 413 whoever sends it
    *(
        (error(status, body), RejectedPageError, RejectedPageError)
        for status in (400, 413, 415, 422)
        for body in (API, JSON)
    ),
    (error(413, PAGE), RejectedPageError, RejectedPageError),
    # the key
    *((error(401, body, wait_s=wait_s), KEY_STOP, KEY_STOP) for body in (API, PAGE, OTHER) for wait_s in (None, 5.0)),
    (error(401, detail="monthly quota"), KEY_STOP, KEY_STOP),
    # the quota
    (error(402), QUOTA_STOP, QUOTA_STOP),
    (error(402, PAGE), QUOTA_STOP, QUOTA_STOP),
    (error(402, wait_s=5.0), QUOTA_STOP, QUOTA_STOP),
    *((error(status, detail="Insufficient quota"), QUOTA_STOP, QUOTA_STOP) for status in (403, 429)),
    # words of a quota lose to a Retry-After of up to an hour
    *(
        (error(status, detail=words, wait_s=wait_s), Refused, Refused)
        for status in (403, 429)
        for words in ("Insufficient quota", "Daily limit exceeded", "Monthly limit exceeded")
        for wait_s in (5.0, 3600.0)
    ),
    *((error(status, detail="余额不足"), QUOTA_STOP, QUOTA_STOP) for status in (403, 429)),
    *((error(status, wait_s=3601.0), QUOTA_STOP, QUOTA_STOP) for status in (403, 429)),
    # permission
    (error(403, detail="Forbidden"), (PermissionDeniedError, 7), (PermissionDeniedError, 7)),
    # the address, or something before the service
    *((error(status, OTHER), ADDRESS_STOP, Blocked) for status in (300, 301, 302, 303, 307, 308, 399, 404, 405)),
    *((error(status), ADDRESS_STOP, Blocked) for status in (404, 405)),
    *((error(status, PAGE), FOREIGN_STOP, Blocked) for status in GATEWAY_4XX),
    *((error(status, body), Blocked, Blocked) for status in OTHER_4XX for body in (API, PAGE, OTHER)),
    *((error(status, PAGE), Blocked, Blocked) for status in (400, 415, 422)),
    (error(403, PAGE), Blocked, Refused),
    (Outcome(200, body=PAGE), Blocked, Failed),
    (Outcome(200, body=PAGE, hint=Hint.OUTAGE), Failed, Failed),
    # refusals
    *((error(429, body, wait_s=wait_s), Refused, Refused) for body in (API, PAGE) for wait_s in (None, 0.0, 3600.0)),
    *(
        (error(status, body, wait_s=3600.0), Refused, Refused)
        for status in (302, 400, 403, 404, 408, 413, 420, 451, 500, 502, 503, 504, 509, 529)
        for body in (API, JSON, PAGE, OTHER)
    ),
    # words of a rate on statuses with which services refuse calls
    *((error(status, detail="10 calls per second exceeded"), Refused, Refused) for status in (400, 403, 429)),
    *((error(503, body), Failed, Refused) for body in (JSON, PAGE, OTHER)),
    # down for hours
    *((error(status, wait_s=7200.0), DOWN_STOP, DOWN_STOP) for status in (500, 502, 503, 529)),
    # charged
    *(
        (error(status, body), Failed, Failed)
        for status in (408, 500, 501, 502, 504, 507, 520, 599)
        for body in (API, PAGE)
    ),
    (error(503), Failed, Failed),
    *((Outcome(200, body=body, detail="not JSON"), Failed, Failed) for body in (JSON, OTHER)),
    (Outcome(204), Failed, Failed),
    (Outcome(fault=Fault.LOST, detail="reset"), Failed, Failed),
    (Outcome(fault=Fault.NOT_SENT, detail="TLS failed"), Failed, Failed),
    (Outcome(999), Failed, Failed),
    (Outcome(), Failed, Failed),
]


@pytest.mark.parametrize(("outcome", "early", "late"), TABLE, ids=lambda value: str(value)[:60])
def test_each_cell_of_the_table(outcome: Outcome, early: object, late: object) -> None:
    """Early: the first call of a run. Late: other pages have their texts."""
    assert kind_of(verdict_of(outcome, EARLY)) == early
    assert kind_of(verdict_of(outcome, LATE)) == late


@pytest.mark.parametrize(
    ("outcome", "situation", "is_billed"),
    [
        *((error(status), EARLY, True) for status in (408, 500, 502, 503, 504, 520)),
        (error(503, PAGE), EARLY, True),
        (Outcome(200, body=OTHER), LATE, True),
        (Outcome(fault=Fault.LOST), LATE, True),
        (Outcome(fault=Fault.NOT_SENT), LATE, False),
        (Outcome(200, body=PAGE, hint=Hint.OUTAGE), EARLY, False),
        (Outcome(200, body=PAGE), LATE, False),
    ],
)
def test_only_calls_that_may_have_been_recognised_are_counted(
    outcome: Outcome, situation: Situation, *, is_billed: bool
) -> None:
    verdict = verdict_of(outcome, situation)
    assert isinstance(verdict, Failed)
    assert verdict.billed is is_billed
    assert verdict.reached is (outcome.fault is not Fault.NOT_SENT)


def test_a_reply_that_is_not_the_services_stops_a_run_when_three_pages_get_it() -> None:
    """Nothing has succeeded yet: one page may be blocked by a firewall, three are not."""
    assert kind_of(verdict_of(error(451, PAGE), replace(EARLY, pages_blocked=SEVERAL - 1))) is Blocked
    assert kind_of(verdict_of(error(451, PAGE), replace(EARLY, pages_blocked=SEVERAL))) == FOREIGN_STOP
    assert kind_of(verdict_of(error(451, PAGE), replace(EARLY, replies_blocked=SEVERAL))) == FOREIGN_STOP


def test_among_good_pages_it_fails_one_page_uncounted_and_stops_at_the_third() -> None:
    one = replace(LATE, replies_blocked=SEVERAL)
    verdict = verdict_of(error(451, PAGE), one)
    assert isinstance(verdict, PageRejected)
    assert isinstance(verdict.error, BlockedPageError)
    assert verdict.error.retryable
    assert not verdict.by_service
    assert kind_of(verdict_of(error(451, PAGE), replace(one, pages_blocked=2))) is Blocked
    assert kind_of(verdict_of(error(451, PAGE), replace(one, pages_blocked=2, replies_blocked=6))) is BlockedPageError
    assert kind_of(verdict_of(error(451, PAGE), replace(one, pages_blocked=SEVERAL))) == FOREIGN_STOP
    assert kind_of(verdict_of(error(302, OTHER), replace(one, pages_blocked=SEVERAL))) == ADDRESS_STOP


def test_a_firewalls_403_for_one_page_fails_that_page_after_eight_refusals() -> None:
    """A limiter's 403 ends before; a page that has been refused so often is blocked itself."""
    page = error(403, PAGE)
    assert kind_of(verdict_of(page, replace(LATE, refusals=7))) is Refused
    assert kind_of(verdict_of(page, replace(LATE, refusals=8))) is Blocked
    assert kind_of(verdict_of(page, replace(LATE, refusals=8, replies_blocked=SEVERAL))) is BlockedPageError


def test_a_bare_503_for_one_page_becomes_a_failed_attempt_after_eight_refusals_among_good_pages() -> None:
    """As when one page makes the service behind a gateway crash; otherwise its refusals would never end."""
    assert kind_of(verdict_of(error(503, PAGE), replace(LATE, refusals=99, refusals_overtaken=7))) is Refused
    assert verdict_of(error(503, PAGE), replace(LATE, refusals_overtaken=8)) == Failed(billed=True, reason="HTTP 503")


def test_a_429_is_a_refusal_however_often() -> None:
    assert verdict_of(error(429), replace(LATE, refusals=1000, refusals_overtaken=1000)) == Refused(
        None, "HTTP 429: why"
    )


@pytest.mark.parametrize(
    ("outcome", "situation", "is_refusal"),
    [
        pytest.param(Outcome(fault=Fault.LOST, cut_off_s=0.04), LATE, True, id="closed-at-once"),
        pytest.param(Outcome(fault=Fault.LOST, cut_off_s=0.06), LATE, False, id="closed-later"),
        pytest.param(Outcome(fault=Fault.LOST, cut_off_s=0.0), EARLY, False, id="nothing-has-succeeded"),
        pytest.param(
            Outcome(fault=Fault.LOST, cut_off_s=0.0), replace(LATE, fastest_reply_s=None), False, id="too-few-texts"
        ),
        pytest.param(Outcome(fault=Fault.LOST, cut_off_s=0.0), replace(LATE, others_in_flight=0), False, id="alone"),
        pytest.param(Outcome(fault=Fault.LOST), LATE, False, id="a-used-connection"),
        pytest.param(Outcome(fault=Fault.NOT_SENT, was_refused=True), LATE, True, id="refused"),
        pytest.param(Outcome(fault=Fault.NOT_SENT, was_refused=True), EARLY, False, id="refused-at-first"),
        pytest.param(
            Outcome(fault=Fault.NOT_SENT, was_refused=True),
            replace(LATE, others_in_flight=0),
            False,
            id="refused-alone",
        ),
        pytest.param(Outcome(fault=Fault.NOT_SENT), LATE, False, id="dns"),
    ],
)
def test_a_connection_that_a_limiter_refuses_among_others_is_a_refusal(
    outcome: Outcome, situation: Situation, *, is_refusal: bool
) -> None:
    """A connection that ends in a tenth of the fastest reply's time cannot have carried a recognised page."""
    assert isinstance(verdict_of(outcome, situation), Refused) is is_refusal


@pytest.mark.parametrize(
    ("outcome", "situation", "words"),
    [
        (error(302, OTHER), EARLY, "redirects"),
        (
            Outcome(302, detail="redirects to https://other.example"),
            EARLY,
            "the URL redirects to https://other.example",
        ),
        (error(404), EARLY, "no text-recognition API at this URL .*--api-url"),
        (Outcome(400, hint=Hint.TLS_PORT), replace(EARLY, replies_blocked=3), "speaks TLS .*https://"),
        (error(407, PAGE), EARLY, "the proxy demands a login"),
        (error(451, PAGE), replace(EARLY, pages_blocked=3), "HTTP 451.*proxy, firewall"),
        (
            error(403, detail="Insufficient quota"),
            replace(LATE, calls_left=970),
            "970 calls left.*tier is set too high",
        ),
        (error(429, wait_s=9000.0), LATE, "come back in 2.5 h, at 2026-01-31 14:30 UTC"),
        (error(503, wait_s=7200.0), LATE, "the service is down .*in 2.0 h, at 2026-01-31 14:00 UTC"),
    ],
)
def test_a_stop_says_what_to_do(outcome: Outcome, situation: Situation, words: str) -> None:
    verdict = verdict_of(outcome, situation)
    assert isinstance(verdict, Stop)
    assert re.search(words, str(verdict.error)), str(verdict.error)


@pytest.mark.parametrize("calls_left", [None, 0])
def test_the_tier_is_not_blamed_when_the_ledger_agrees(calls_left: int | None) -> None:
    verdict = verdict_of(error(403, detail="Insufficient quota"), replace(LATE, calls_left=calls_left))
    assert isinstance(verdict, Stop)
    assert "tier" not in str(verdict.error)


@given(
    st.builds(
        Outcome,
        st.sampled_from([None, *range(200, 600), 999]),
        body=st.sampled_from(BodyKind),
        retry_after_s=st.none() | st.floats(0, 1e6),
    ),
    st.builds(
        Situation,
        st.just(NOW),
        has_succeeded=st.booleans(),
        pages_blocked=st.integers(1, 9),
        replies_blocked=st.integers(1, 9),
    ),
)
def test_every_outcome_has_a_verdict_and_a_blocked_page_ends(outcome: Outcome, situation: Situation) -> None:
    verdict = verdict_of(outcome, situation)
    assert not isinstance(verdict, Blocked) or situation.replies_blocked < 6


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
    verdict = verdict_of(Outcome(status, detail=text), LATE)
    assert isinstance(verdict, Stop)
    assert isinstance(verdict.error, QuotaExhaustedError)
    assert text in str(verdict.error)
    assert str(verdict.error).endswith("; the month ends on 2026-02-01 00:00 UTC")


def test_words_of_a_quota_win_over_a_short_retry_after_that_leads_nowhere() -> None:
    """A service may name a wait of a second beside a quota that is used up: eight waits without any text are enough."""
    outcome = Outcome(429, detail="Monthly quota exceeded", retry_after_s=1.0)
    lasting = replace(LATE, refusals=8)
    assert isinstance(verdict_of(outcome, replace(LATE, refusals=7)), Refused)
    assert kind_of(verdict_of(outcome, lasting)) == QUOTA_STOP
    assert isinstance(verdict_of(outcome, replace(LATE, refusals=8, refusals_overtaken=1)), Refused)
    assert isinstance(verdict_of(replace(outcome, detail="Quota exceeded per minute"), lasting), Refused)


DAY_TEXT = "Open api daily request limit reached"


@pytest.mark.parametrize(
    ("outcome", "situation", "end"),
    [
        pytest.param(Outcome(429, detail=DAY_TEXT), LATE, "the day ends on 2026-02-01 00:00 UTC", id="our-clock"),
        pytest.param(
            Outcome(429, detail=DAY_TEXT, date=NOW.replace(day=30)),
            LATE,
            "the day ends on 2026-01-31 00:00 UTC",
            id="the-service's-clock",
        ),
        pytest.param(
            Outcome(429, detail=DAY_TEXT),
            replace(LATE, calendar=Calendar("Asia/Shanghai")),
            "the day ends on 2026-01-31 16:00 UTC",
            id="the-plan's-time-zone",
        ),
        pytest.param(
            Outcome(403, detail=DAY_TEXT, retry_after_s=9000.0),
            LATE,
            "the service says to come back in 2.5 h, at 2026-01-31 14:30 UTC",
            id="retry-after",
        ),
        pytest.param(
            Outcome(429, detail=DAY_TEXT, allowance=Allowance(0, 9000.0)),
            LATE,
            "the service says to come back in 2.5 h, at 2026-01-31 14:30 UTC",
            id="allowance",
        ),
        pytest.param(
            Outcome(429, detail=DAY_TEXT, allowance=Allowance(7, 9000.0)),
            LATE,
            "the day ends on 2026-02-01 00:00 UTC",
            id="allowance-of-something-else",
        ),
    ],
)
def test_a_days_cap_is_told_as_a_days(outcome: Outcome, situation: Situation, end: str) -> None:
    """Not as the month's; and the tier, which is one of months, is not blamed."""
    verdict = verdict_of(outcome, replace(situation, calls_left=970))
    assert kind_of(verdict) == QUOTA_STOP
    assert isinstance(verdict, Stop)
    assert str(verdict.error) == f"the API's calls of the day are used up (HTTP {outcome.status}: {DAY_TEXT}); {end}"


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
    assert verdict_of(Outcome(429, detail=text), LATE) == Refused(None, f"HTTP 429: {text}")


RATE, DAY, PLAN = Refused, "day", "quota"

BODIES = [
    # Google
    (
        429,
        {
            "error": {
                "code": 429,
                "message": "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute per "
                "user' of service 'vision.googleapis.com' for consumer 'project_number:1'.",
                "status": "RESOURCE_EXHAUSTED",
            }
        },
        RATE,
    ),
    (
        429,
        {"error": {"code": 429, "message": "Quota exceeded for quota metric 'Queries' and limit 'Queries per day'"}},
        DAY,
    ),
    (429, {"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota)."}}, RATE),
    (403, {"error": {"code": 403, "message": "User Rate Limit Exceeded. Rate of requests exceeds quota"}}, RATE),
    (403, {"error": {"code": 403, "message": "Daily Limit Exceeded. The quota will be reset at midnight."}}, DAY),
    (429, {"statusText": "AnalyzeRequestsPerMinutePerProject: quota exceeded"}, RATE),
    # AWS
    (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}, RATE),
    (429, {"message": "Too Many Requests"}, RATE),
    (429, {"message": "Limit Exceeded"}, RATE),  # a usage plan's: refused until the patience is over
    # Azure
    (
        429,
        {
            "error": {
                "code": "429",
                "message": "Requests to the Read Operation under Computer Vision have exceeded call rate limit of your "
                "current S0 pricing tier. Please retry after 2 seconds. Please go here: https://aka.ms/oai/quotaincrease",
            }
        },
        RATE,
    ),
    (429, {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 5 seconds."}, RATE),
    (
        403,
        {"error": {"code": "403", "message": "Out of call volume quota for FormRecognizer F0 pricing tier."}},
        PLAN,
    ),
    # OpenAI, Anthropic
    (
        429,
        {
            "error": {
                "message": "Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 3, "
                "Used 3, Requested 1. Please try again in 20s.",
                "code": "rate_limit_exceeded",
            }
        },
        RATE,
    ),
    (
        429,
        {
            "error": {
                "message": "Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200, Requested 1. "
                "Please try again in 7m12s.",
                "code": "rate_limit_exceeded",
            }
        },
        DAY,
    ),
    (
        429,
        {
            "error": {
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "code": "insufficient_quota",
            }
        },
        PLAN,
    ),
    (
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "This request would exceed your organization's rate limit of 50 requests per minute",
            },
        },
        RATE,
    ),
    (403, {"error": {"message": "Your credit balance is too low to access the API."}}, PLAN),
    # Baidu: at the API itself these come with 200, behind a gateway with 429
    (429, {"error_code": 17, "error_msg": "Open api daily request limit reached"}, DAY),
    (429, {"error_code": 18, "error_msg": "Open api qps request limit reached"}, RATE),
    (429, {"error_code": 19, "error_msg": "Open api total request limit reached"}, RATE),  # names no time
    (403, {"statusText": "调用量超限额：每日额度已用完"}, DAY),
    # Tencent
    (
        429,
        {
            "Response": {
                "Error": {"Code": "RequestLimitExceeded", "Message": "您目前每秒请求 10 次，超过了每秒频率上限"}
            }
        },
        RATE,
    ),
    (403, {"Response": {"Error": {"Code": "ResourceUnavailable.InArrears", "Message": "账号已欠费。"}}}, PLAN),
    (
        403,
        {"Response": {"Error": {"Code": "ResourcesSoldOut.ChargeStatusException", "Message": "资源包额度用完"}}},
        PLAN,
    ),
    # Aliyun
    (400, {"Code": "Throttling.User", "Message": "Request was denied due to user flow control."}, RATE),
    (429, {"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded, please increase it."}, RATE),
    (429, {"Code": "Throttling", "Message": "You have exceeded your daily quota of 500 calls"}, DAY),
    # iFlytek
    (403, {"code": "11201", "desc": "licc failed: 今日调用次数超限（日流控）"}, DAY),
    (403, {"code": "11202", "desc": "licc failed: 秒级流控超限"}, RATE),
    (403, {"code": "11203", "desc": "licc failed: 并发流控超限"}, RATE),
    # gateways and frameworks
    (429, {"message": "API rate limit exceeded", "request_id": "1"}, RATE),
    (429, {"statusText": "Rate limit exceeded: 100 per 1 hour"}, RATE),
    (429, {"statusText": "Rate limit exceeded: 1000 per 1 day"}, DAY),
    (429, {"detail": "Request was throttled. Expected available in 12 seconds."}, RATE),
    (
        429,
        {"message": "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC. Upgrade your plan"},
        PLAN,
    ),
    (429, {"message": "You have exceeded the DAILY quota for Requests on your current plan, BASIC."}, DAY),
    (429, {"message": "You have exceeded the rate limit per minute for your plan, BASIC, by the API provider"}, RATE),
    (429, {"statusText": "请求过于频繁，请稍后再试"}, RATE),
    (429, {"statusText": "您的套餐额度已用完"}, PLAN),
    (429, {"statusText": "超过每分钟 60 次的配额"}, RATE),
    (429, {"statusText": "Monthly rate limit exceeded. Upgrade today!"}, PLAN),
    (429, {"statusText": "No more requests today"}, DAY),
]


@pytest.mark.parametrize(("status", "body", "reading"), BODIES, ids=lambda value: str(value)[-60:])
def test_the_words_of_public_apis(status: int, body: dict[str, object], reading: object) -> None:
    """RATE: wait, all of us. DAY and PLAN: the run stops, and says which of the two is used up."""
    raw = json.dumps(body).encode()
    outcome = read_outcome(status, {"Content-Type": "application/json"}, raw, charset=None, excess=False, now=NOW)
    verdict = verdict_of(outcome, LATE)
    if reading is RATE:
        assert isinstance(verdict, Refused)
        return
    assert kind_of(verdict) == QUOTA_STOP
    assert isinstance(verdict, Stop)
    assert ("calls of the day" in str(verdict.error)) is (reading == DAY)


@pytest.mark.parametrize(
    "text",
    [
        "Forbidden",
        "Request had insufficient authentication scopes.",
        "insufficient permissions",
        "Your address is not allowed, see https://example.com/quota?per=day",
    ],
)
def test_words_of_permission_name_no_limit(text: str) -> None:
    assert kind_of(verdict_of(Outcome(403, detail=text, body=API), LATE)) == (PermissionDeniedError, 7)
