"""Sessions with a scripted clock, and the browser's headers about the requesting page."""

import pickle

import pytest
from multidict import CIMultiDict

from pipeline.server.access.sessions import Sessions, is_cross_origin, may_use_cookie

HOST = {"Host": "ocr.example.org:8080"}


def test_a_token_leads_to_its_key() -> None:
    sessions = Sessions()
    token = sessions.open("key 1", 0.0)
    assert sessions.find(token, 1.0) == "key 1"
    assert sessions.find(token + "x", 1.0) is None
    assert sessions.find("", 1.0) is None


def test_tokens_are_long_random_and_kept_as_hashes() -> None:
    sessions = Sessions()
    tokens = {sessions.open("key", 0.0) for _ in range(10)}
    assert len(tokens) == 10
    assert all(len(token) == 43 for token in tokens)
    held = pickle.dumps(vars(sessions))
    assert not any(token.encode() in held for token in tokens)


def test_an_idle_session_ends() -> None:
    """Each use restarts the time."""
    sessions = Sessions(idle_s=10)
    token = sessions.open("key", 0.0)
    assert [sessions.find(token, at_s) for at_s in (9.0, 18.0, 28.0, 28.0)] == ["key", "key", None, None]
    assert len(sessions) == 0


def test_a_session_ends_at_its_maximum_age_also_when_it_is_used() -> None:
    """A stolen cookie must not be valid for ever."""
    sessions = Sessions(idle_s=10, age_s=25)
    token = sessions.open("key", 0.0)
    assert [sessions.find(token, at_s) for at_s in (9.0, 18.0, 24.9, 25.0)] == ["key", "key", "key", None]


def test_beyond_the_maximum_the_session_unused_for_longest_ends() -> None:
    sessions = Sessions(max_sessions=3)
    tokens = [sessions.open(f"key {number}", number) for number in range(3)]
    sessions.find(tokens[0], 5.0)
    sessions.open("key 3", 6.0)
    assert [sessions.find(token, 7.0) for token in tokens] == ["key 0", None, "key 2"]
    assert len(sessions) == 3


def test_a_key_s_sessions_end_no_session_of_another_key() -> None:
    sessions = Sessions(max_sessions=10, max_per_key=2)
    other = sessions.open("other", 0.0)
    own = [sessions.open("key", 1.0) for _ in range(100)]
    assert sessions.find(other, 2.0) == "other"
    assert [sessions.find(token, 2.0) for token in own[-3:]] == [None, "key", "key"]
    assert len(sessions) == 3


def test_a_closed_session_has_ended() -> None:
    """Closing an unknown token does nothing."""
    sessions = Sessions()
    token = sessions.open("key", 0.0)
    sessions.close(token)
    sessions.close(token)
    sessions.close("\udcff")
    assert sessions.find(token, 0.0) is None


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        pytest.param({}, False, id="no-browser"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, False, id="our-page"),
        pytest.param({"Sec-Fetch-Site": "none"}, False, id="typed-by-the-user"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, True, id="another-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, True, id="another-port-of-localhost"),
        pytest.param({"sec-fetch-site": "cross-site"}, True, id="by-any-case"),
        pytest.param({"Origin": "http://ocr.example.org:8080"}, False, id="our-origin"),
        pytest.param({"Origin": "https://OCR.example.org:8080"}, False, id="our-origin-behind-tls"),
        pytest.param({"Origin": "http://ocr.example.org:3000"}, True, id="another-port"),
        pytest.param({"Origin": "http://ocr.example.org"}, True, id="the-default-port"),
        pytest.param({"Origin": "http://evil.example"}, True, id="another-origin"),
        pytest.param({"Origin": "null"}, True, id="a-sandboxed-page"),
        pytest.param({"Origin": "http://[::1"}, True, id="no-url"),
        pytest.param({"Origin": ""}, True, id="empty"),
        pytest.param(
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"}, False, id="a-proxy-renamed-us"
        ),
    ],
)
def test_the_browser_s_headers_tell_cross_origin_requests(headers: dict[str, str], foreign: bool) -> None:  # noqa: FBT001
    """A page cannot set these headers."""
    assert is_cross_origin(CIMultiDict(HOST | headers)) is foreign


@pytest.mark.parametrize(
    ("method", "content_type", "headers", "may"),
    [
        pytest.param("GET", "", {"Sec-Fetch-Site": "cross-site"}, True, id="reading-changes-nothing"),
        pytest.param("POST", "application/json", {"Sec-Fetch-Site": "same-origin"}, True, id="our-page"),
        pytest.param("POST", "text/plain", {"Sec-Fetch-Site": "same-origin"}, True, id="our-page-whatever-it-sends"),
        pytest.param("POST", "application/json", {"Sec-Fetch-Site": "same-site"}, False, id="another-port"),
        pytest.param("POST", "application/json", {"Origin": "http://evil.example"}, False, id="another-origin"),
        pytest.param("POST", "application/json", {}, True, id="json-without-a-browser"),
        pytest.param("POST", "text/plain", {}, False, id="what-a-form-can-send"),
        pytest.param("DELETE", "application/octet-stream", {}, False, id="without-a-body"),
    ],
)
def test_a_cookie_authenticates_only_safe_requests_and_those_of_our_own_page(
    method: str,
    content_type: str,
    headers: dict[str, str],
    may: bool,  # noqa: FBT001
) -> None:
    """This applies in addition to SameSite=Strict."""
    assert may_use_cookie(method, content_type, CIMultiDict(HOST | headers)) is may
