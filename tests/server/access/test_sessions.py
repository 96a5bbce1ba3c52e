"""Sessions, by an invented clock, and what browsers say of the page that asks."""

import pickle

import pytest
from multidict import CIMultiDict

from pipeline.server.access.sessions import Sessions, is_foreign, may_use_cookie

HOST = {"Host": "ocr.example.org:8080"}


def test_a_token_leads_to_its_key() -> None:
    """And no other token does."""
    sessions = Sessions()
    token = sessions.open("key 1", 0.0)
    assert sessions.find(token, 1.0) == "key 1"
    assert sessions.find(token + "x", 1.0) is None
    assert sessions.find("", 1.0) is None


def test_tokens_are_long_random_and_kept_as_hashes() -> None:
    """Who reads the server's memory finds nothing to put into a cookie."""
    sessions = Sessions()
    tokens = {sessions.open("key", 0.0) for _ in range(10)}
    assert len(tokens) == 10
    assert all(len(token) == 43 for token in tokens)
    held = pickle.dumps(vars(sessions))
    assert not any(token.encode() in held for token in tokens)


def test_an_idle_session_ends() -> None:
    """Each use begins the time anew."""
    sessions = Sessions(idle_s=10)
    token = sessions.open("key", 0.0)
    assert [sessions.find(token, at_s) for at_s in (9.0, 18.0, 28.0, 28.0)] == ["key", "key", None, None]
    assert len(sessions) == 0


def test_an_old_session_ends_however_busy_it_is() -> None:
    """A stolen cookie is not good for ever."""
    sessions = Sessions(idle_s=10, age_s=25)
    token = sessions.open("key", 0.0)
    assert [sessions.find(token, at_s) for at_s in (9.0, 18.0, 24.9, 25.0)] == ["key", "key", "key", None]


def test_the_number_of_sessions_is_bounded_and_the_idlest_goes() -> None:
    """Memory does not grow with those who sign in."""
    sessions = Sessions(at_most=3)
    tokens = [sessions.open(f"key {number}", number) for number in range(3)]
    sessions.find(tokens[0], 5.0)
    sessions.open("key 3", 6.0)
    assert [sessions.find(token, 7.0) for token in tokens] == ["key 0", None, "key 2"]
    assert len(sessions) == 3


def test_a_key_s_sessions_drive_out_none_of_another_key() -> None:
    """They take the place of its own."""
    sessions = Sessions(at_most=10, per_key=2)
    other = sessions.open("other", 0.0)
    own = [sessions.open("key", 1.0) for _ in range(100)]
    assert sessions.find(other, 2.0) == "other"
    assert [sessions.find(token, 2.0) for token in own[-3:]] == [None, "key", "key"]
    assert len(sessions) == 3


def test_a_closed_session_is_over() -> None:
    """Closing what is none does nothing."""
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
def test_a_browser_says_whose_page_asks(headers: dict[str, str], foreign: bool) -> None:  # noqa: FBT001
    """A page cannot set these headers itself."""
    assert is_foreign(CIMultiDict(HOST | headers)) is foreign


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
def test_a_cookie_counts_only_when_our_own_page_sends_it(
    method: str,
    content_type: str,
    headers: dict[str, str],
    may: bool,  # noqa: FBT001
) -> None:
    """SameSite=Strict is the first fence, this the second."""
    assert may_use_cookie(method, content_type, CIMultiDict(HOST | headers)) is may
