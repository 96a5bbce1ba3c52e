"""Allowances: what headers say is left, in the forms of the drafts and of public services; garbage says nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipeline.remote.allowance import Allowance, parse_allowance, parse_date

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
EPOCH_S = int(NOW.timestamp())
SENT = format_datetime(NOW - timedelta(hours=1), usegmt=True)  # the service's clock is an hour behind the client's
YEAR_S = 366 * 86400


def x(remaining: object, reset: object, limit: object = 60) -> dict[str, str]:
    """Return the three headers of the X-RateLimit family."""
    fields = {"Limit": limit, "Remaining": remaining, "Reset": reset}
    return {f"X-RateLimit-{name}": str(value) for name, value in fields.items()}


FORMS = [
    # draft 8 to 10
    pytest.param(
        {"RateLimit": '"p";r=5;t=30', "RateLimit-Policy": '"p";q=60;w=60'}, Allowance(5, 30, 60, 60), id="draft-10"
    ),
    pytest.param(
        {"RateLimit": '"100-in-15min"; r=96; t=900', "RateLimit-Policy": '"100-in-15min"; q=100; w=900; pk=:YmE4:'},
        Allowance(96, 900, 100, 900),
        id="draft-8-express",
    ),
    pytest.param(
        {
            "RateLimit": '"burst";r=3;t=1, "hour";r=0;t=1800',
            "RateLimit-Policy": '"burst";q=5;w=1,"hour";q=100;w=3600',
        },
        Allowance(0, 1800, 100, 3600),
        id="the-most-exhausted-of-two",
    ),
    pytest.param({"RateLimit": '"a";r=0;t=5, "b";r=0;t=50'}, Allowance(0, 50), id="of-two-exhausted-the-later-reset"),
    pytest.param(
        {"RateLimit": '"a, b;c";r=0;t=5', "RateLimit-Policy": '"a, b;c";q=9;w=10'},
        Allowance(0, 5, 9, 10),
        id="separators-in-a-name",
    ),
    pytest.param({"RateLimit": '"p";r=0'}, Allowance(0), id="no-reset"),
    pytest.param(
        {"RateLimit": '"b";r=0;t=5, "p";r=7;t=9', "RateLimit-Policy": '"b";q=9;w=10;qu="content-bytes", "p";q=9;w=9'},
        Allowance(7, 9, 9, 9),
        id="bytes-are-not-calls",
    ),
    # draft 7
    pytest.param({"RateLimit": "limit=100, remaining=50, reset=5"}, Allowance(50, 5, 100), id="draft-7"),
    pytest.param(
        {"RateLimit": "limit=10, remaining=0, reset=1", "RateLimit-Policy": "10;w=1, 50;w=60"},
        Allowance(0, 1, 10, 1),
        id="draft-7-policy-by-limit",
    ),
    # drafts 0 to 6
    pytest.param(
        {"RateLimit-Limit": "60, 60;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "12"},
        Allowance(0, 12, 60, 60),
        id="draft-6",
    ),
    pytest.param(
        {"RateLimit-Limit": "10, 10;w=1, 100;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "12"},
        Allowance(0, 12, 10),
        id="draft-6-two-windows",
    ),
    pytest.param(
        {"RateLimit-Remaining": "0", "RateLimit-Reset": str(EPOCH_S + 40)}, Allowance(0, 40), id="gitlab-sends-an-epoch"
    ),
    # X-RateLimit
    pytest.param(x(0, 17), Allowance(0, 17, 60), id="seconds"),
    pytest.param(x(0, 0.47), Allowance(0, 0.47, 60), id="fraction"),
    pytest.param(x(0, EPOCH_S + 17), Allowance(0, 17, 60), id="epoch"),
    pytest.param(x(0, f"{EPOCH_S + 17}.5"), Allowance(0, 17.5, 60), id="epoch-with-a-fraction"),
    pytest.param(x(0, (EPOCH_S + 17) * 1000), Allowance(0, 17, 60), id="epoch-milliseconds"),
    pytest.param(x(0, (EPOCH_S + 17) * 10**6), Allowance(0, 17, 60), id="epoch-microseconds"),
    pytest.param(x(0, (EPOCH_S + 17) * 10**9), Allowance(0, 17, 60), id="epoch-nanoseconds"),
    pytest.param(x(0, 1499329365), Allowance(0, 0, 60), id="epoch-of-years-ago"),
    pytest.param(x(0, "Sat, 31 Jan 2026 12:00:17 GMT"), Allowance(0, 17, 60), id="http-date"),
    pytest.param(x(0, "2026-01-31T13:00:17+01:00"), Allowance(0, 17, 60), id="iso-date"),
    pytest.param(x(0, "2026-01-31T12:00:17.000Z"), Allowance(0, 17, 60), id="iso-date-z"),
    pytest.param(
        x(0, "Sat Jan 31 2026 15:00:17 GMT+0300 (Moscow Standard Time)"), Allowance(0, 17, 60), id="javascript-date"
    ),
    pytest.param({"Date": SENT, **x(0, EPOCH_S - 3600 + 17)}, Allowance(0, 17, 60), id="epoch-by-the-services-clock"),
    pytest.param(
        {"Date": format_datetime(NOW - timedelta(seconds=1), usegmt=True), **x(0, EPOCH_S + 17)},
        Allowance(0, 17, 60),
        id="clocks-that-agree",
    ),
    pytest.param(
        {"X-Rate-Limit-Limit": "9", "X-Rate-Limit-Remaining": "8", "X-Rate-Limit-Reset": "7"},
        Allowance(8, 7, 9),
        id="with-hyphens",
    ),
    pytest.param({**x(0, EPOCH_S + 900), "X-RateLimit-Reset-After": "0.5"}, Allowance(0, 0.5, 60), id="discord"),
    pytest.param(
        {"X-RateLimit-Limit-Minute": "20", "X-RateLimit-Remaining-Minute": "0", "X-RateLimit-Remaining-Day": "400"},
        Allowance(0, None, 20, 60),
        id="kong",
    ),
    pytest.param(
        {
            "X-RateLimit-Limit-Minute": "20",
            "X-RateLimit-Remaining-Minute": "0",
            "RateLimit-Limit": "20",
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": "31",
        },
        Allowance(0, 31, 20),
        id="kong-with-a-reset",
    ),
    pytest.param(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "1h2m3.5s",
        },
        Allowance(0, 360, 60),
        id="openai",
    ),
    pytest.param(
        {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "120ms"}, Allowance(1, 0.12), id="ms"
    ),
    pytest.param({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}, None, id="tokens-alone"),
    pytest.param(
        {"X-RateLimit-Requests-Limit": "9", "X-RateLimit-Requests-Remaining": "3", "X-RateLimit-Requests-Reset": "70"},
        Allowance(3, 70, 9),
        id="rapidapi",
    ),
    pytest.param(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-01-31T12:00:09Z",
            "anthropic-ratelimit-tokens-remaining": "0",
        },
        Allowance(0, 9, 50),
        id="anthropic",
    ),
    pytest.param(
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Burst-Capacity": "9", "X-RateLimit-Replenish-Rate": "5"},
        Allowance(0),
        id="spring",
    ),
    pytest.param(x(29, 12 * 86400, 30), Allowance(29, 12 * 86400, 30), id="a-month"),
]


@pytest.mark.parametrize(("headers", "allowance"), FORMS)
def test_each_form_is_read(headers: Mapping[str, str], allowance: Allowance | None) -> None:
    """In any case of letters, too: gateways write names in lower case."""
    assert parse_allowance(headers, NOW) == allowance
    assert parse_allowance({name.lower(): value for name, value in headers.items()}, NOW) == allowance


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Date": SENT}, id="other-headers"),
        pytest.param({"X-RateLimit-Limit": "60"}, id="limit-alone"),
        pytest.param(x("-1", 5), id="negative"),
        pytest.param(x("nan", 5), id="nan"),
        pytest.param(x("inf", 5), id="infinite"),
        pytest.param(x("many", 5), id="words"),
        pytest.param(x("", 5), id="empty"),
        pytest.param(x("9" * 15, 5), id="absurd"),
        pytest.param(x(0, 0, 0), id="zeros-of-a-service-without-limits"),
        pytest.param({"RateLimit": "garbage;;;==,\"'"}, id="garbage"),
        pytest.param({"RateLimit": '"p";r=?1;t=5'}, id="not-a-number"),
    ],
)
def test_what_makes_no_sense_says_nothing(headers: Mapping[str, str]) -> None:
    assert parse_allowance(headers, NOW) is None


@pytest.mark.parametrize("reset", ["-5", "soon", "", "nan", "1e3", "40000000", EPOCH_S + YEAR_S + 9, "9" * 20, "1.2.3"])
def test_an_absurd_reset_is_none(reset: object) -> None:
    assert parse_allowance(x(0, reset), NOW) == Allowance(0, None, 60)


def test_a_reset_far_beyond_the_window_is_in_another_unit() -> None:
    """Such as milliseconds."""
    headers = {"RateLimit": '"p";r=0;t=3000', "RateLimit-Policy": '"p";q=60;w=60'}
    assert parse_allowance(headers, NOW) == Allowance(0, None, 60, 60)


def test_a_repeated_header_is_a_list() -> None:
    headers = CIMultiDict([("RateLimit", '"a";r=9;t=5'), ("RateLimit", '"b";r=0;t=7')])
    assert parse_allowance(headers, NOW) == Allowance(0, 7)


EXAMPLES = [cast("Mapping[str, str]", form.values[0]) for form in FORMS]
NAMES = st.sampled_from(sorted({name for headers in EXAMPLES for name in headers}))
VALUES = st.one_of(
    st.text(max_size=40),
    st.text(alphabet='"\\;=,rtqw0123456789. -hms:', max_size=60),
    st.sampled_from(sorted({value for headers in EXAMPLES for value in headers.values()})),
    st.integers(-(10**22), 10**22).map(str),
    st.floats().map(str),
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
@example({"RateLimit": '"' * 1999})
@example({"RateLimit-Policy": '"a' * 900, "RateLimit": "r" * 1999})
@example({"X-RateLimit-Reset": "0001-01-01T00:00:00+23:59", "X-RateLimit-Remaining": "0"})
def test_any_headers_give_sensible_numbers_or_none(headers: dict[str, str]) -> None:
    allowance = parse_allowance(headers, NOW)
    if allowance is None:
        return
    assert allowance.remaining >= 0
    assert allowance.reset_s is None or 0 <= allowance.reset_s <= YEAR_S
    assert allowance.limit is None or allowance.limit >= 1
    assert allowance.window_s is None or 0 < allowance.window_s <= YEAR_S


@given(st.text(max_size=60) | st.just("9999-12-31T23:59:59-23:59"))
def test_any_text_is_an_aware_date_or_none(text: str) -> None:
    moment = parse_date(text)
    assert moment is None or moment.tzinfo is not None
