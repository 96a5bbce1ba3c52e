"""A ping arrives although the monitor stumbles, and never shows its URL, which is a secret."""

import pytest

from pipeline.errors import UsageError
from pipeline.remote import ping as ping_module
from pipeline.remote.ping import PingError, check_ping_url, ping
from pipeline.remote.proxies import Proxy
from tests.monitor import run_monitor
from tests.remote.http_proxy import HttpProxy, serve_proxy
from tests.summaries import RUN_ID


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping_module, "_PAUSE_S", 0)


async def test_a_ping_has_the_run_s_id_and_a_body() -> None:
    with run_monitor() as monitor:
        await ping(monitor.url, "12 new", suffix="/start", run_id=RUN_ID)
        await ping(f"{monitor.url}/?create=1", "", suffix="/fail")
    assert [(got.path, got.run_id, got.body) for got in monitor.pings] == [
        ("/job/start", RUN_ID, "12 new"),
        ("/job/fail", None, ""),
    ]


async def test_a_body_is_cut_between_characters() -> None:
    with run_monitor() as monitor:
        await ping(monitor.url, "页" * 10_000)
    assert monitor.pings[0].body == "页" * 3_333


async def test_a_monitor_that_stumbles_is_asked_three_times() -> None:
    with run_monitor() as monitor:
        monitor.answers = [(500, ""), (429, "slow down")]
        await ping(monitor.url, "")
        assert len(monitor.pings) == 3
        monitor.answers = [(503, "")] * 4
        with pytest.raises(PingError, match=r"^127\.0\.0\.1 did not take the ping: HTTP 503$"):
            await ping(monitor.url, "")
        assert len(monitor.pings) == 6


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param((404, ""), "HTTP 404", id="no-such-job"),
        pytest.param((200, "OK (not found)"), r"HTTP 200 \(OK \(not found\)\)", id="healthchecks-does-not-know-it"),
        pytest.param((302, ""), "HTTP 302", id="a-login-page"),
    ],
)
async def test_an_answer_that_means_no_is_said_and_not_asked_for_again(answer: tuple[int, str], problem: str) -> None:
    with run_monitor() as monitor:
        monitor.answers = [answer] * 3
        with pytest.raises(PingError, match=problem):
            await ping(monitor.url, "")
    assert len(monitor.pings) == 1


async def test_a_monitor_that_is_down_is_named_without_its_url() -> None:
    with run_monitor() as monitor:
        url = monitor.url
    with pytest.raises(PingError) as caught:
        await ping(url.replace("/job", "/secret"), "")
    assert "secret" not in str(caught.value)
    assert "ConnectorError" in str(caught.value)


async def test_a_ping_goes_through_the_proxy() -> None:
    proxy = HttpProxy()
    with run_monitor() as monitor:
        async with serve_proxy(proxy):
            await ping(monitor.url, "", proxy=Proxy(proxy.url, "proxy"))
    assert (monitor.paths, len(proxy.heads)) == (["/job"], 1)


@pytest.mark.parametrize("text", ["hc-ping.com/uuid", "ftp://hc-ping.com/secret", "https://", ""])
def test_what_is_no_url_is_an_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_ping_url(text)
    assert "secret" not in str(caught.value)
