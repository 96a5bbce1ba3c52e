"""Outcomes: what is known of a reply before it is interpreted; Retry-After in both forms."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.outcome import Hint, Outcome, parse_retry_after, read_outcome
from pipeline.wire import BodyKind

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SENT = "Sat, 31 Jan 2026 11:00:00 GMT"  # the service's clock is an hour behind the client's
YEAR_S = 366 * 86400
KEY = "sk-a-secret-key"


def read(status: int, body: bytes = b"", **headers: str) -> Outcome:
    """Return the outcome of a response; `Retry_After="7"` sets the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_outcome(status, named, body, charset=None, excess=False, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_a_text_with_any_success_is_a_reply(status: int) -> None:
    outcome = read(status, b'{"content":"text"}')
    assert outcome.reply is not None
    assert (outcome.reply.content, outcome.kept) == ("text", None)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xff\xfe{not json", id="garbage"),
        pytest.param(b'{"id":"i","text":"x"}', id="other-field"),
        pytest.param(b'{"content":"te', id="half"),
    ],
)
def test_a_paid_reply_without_a_text_keeps_its_bytes(body: bytes) -> None:
    outcome = read(200, body)
    assert (outcome.reply, outcome.kept) == (None, body)


def test_a_text_whose_bytes_cannot_be_decoded_keeps_its_bytes() -> None:
    body = '{"content":"收据"}'.encode("gb18030")
    outcome = read(200, body)
    assert outcome.reply is not None
    assert outcome.kept == body


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b'{"statusText":"no"}', BodyKind.API, id="the-apis-json"),
        pytest.param(b'{"statusText":""}', BodyKind.API, id="the-apis-json-without-words"),
        pytest.param(b'\xef\xbb\xbf{"statusText":"no"}', BodyKind.API, id="the-apis-json-with-a-mark"),
        pytest.param(b'{"message":"Forbidden"}', BodyKind.JSON, id="other-json"),
        pytest.param(b"[]", BodyKind.JSON, id="array"),
        pytest.param(b"<html>", BodyKind.PAGE, id="html"),
        pytest.param(b"\n <!doctype html>", BodyKind.PAGE, id="html-after-space"),
        pytest.param(b"<?xml version='1.0'?><Error/>", BodyKind.PAGE, id="xml"),
        pytest.param(b"upstream connect error", BodyKind.OTHER, id="words"),
        pytest.param(b"", BodyKind.OTHER, id="nothing"),
    ],
)
def test_the_body_of_an_error_is_the_apis_or_not(body: bytes, kind: BodyKind) -> None:
    assert read(503, body).body is kind


def test_json_that_broke_off_is_json_by_its_content_type() -> None:
    assert read(400, b'{"statusText":"n', Content_Type="application/json; charset=utf-8").body is BodyKind.JSON


@pytest.mark.parametrize(
    ("status", "page", "hint"),
    [
        pytest.param(200, b"<html><title>Down for maintenance</title>", Hint.OUTAGE, id="maintenance"),
        pytest.param(200, "<html><h1>系统维护中</h1>".encode(), Hint.OUTAGE, id="maintenance-in-chinese"),
        pytest.param(200, b"<html><body>Gateway</body></html>", Hint.OUTAGE, id="gateway"),
        pytest.param(200, b"<html><h1>It works!</h1>", None, id="another-website"),
        pytest.param(200, b"<html><form>Sign in <input type=password>", None, id="login"),
        pytest.param(
            400,
            b"<center>The plain HTTP request was sent to HTTPS port</center>",
            Hint.TLS_PORT,
            id="tls-port-of-nginx",
        ),
        pytest.param(400, b"Client sent an HTTP request to an HTTPS server.\n", Hint.TLS_PORT, id="tls-port-of-go"),
    ],
)
def test_the_words_of_a_page_hint_at_its_cause(status: int, page: bytes, hint: Hint | None) -> None:
    assert read(status, page).hint is hint


@pytest.mark.parametrize(
    ("location", "detail"),
    [
        pytest.param(f"https://other.example/a?key={KEY}", "redirects to https://other.example", id="other-host"),
        pytest.param("https://other.example:8443/", "redirects to https://other.example:8443", id="port"),
        pytest.param("//other.example/a", "redirects to other.example", id="without-scheme"),
        pytest.param("https://user:secret@other.example/", "redirects to https://other.example", id="password"),
        pytest.param("/login", "redirects within the same host", id="path"),
        pytest.param("http://[", "redirects within the same host", id="garbage"),
        pytest.param(None, "redirects without naming a target", id="none"),
    ],
)
def test_a_redirect_names_its_targets_host_and_nothing_more(location: str | None, detail: str) -> None:
    """Path and query may hold the key."""
    headers = {} if location is None else {"Location": location}
    assert read(302, b"", **headers).detail == detail


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
