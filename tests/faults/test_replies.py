"""Broken replies of every known kind: each gets its verdict, none affects another page, and a run survives them all."""

import asyncio
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import pipeline.remote.client
import pipeline.remote.outcome
from pipeline.remote.connections import ReadingSocket
from pipeline.remote.outcome import Fault, Outcome
from pipeline.remote.timeouts import Timeouts
from pipeline.remote.verdict import Failed, Situation, Verdict, verdict_of
from pipeline.wire import REPLY_MAX_BYTES, BodyKind, WireReply, build_image_body
from tests.benchmarks.broken_replies import BrokenRun, run_broken
from tests.clients import BODY, connect
from tests.faults.breakage import NOT_THE_SERVICES, Breakage
from tests.faults.broken_replies import BREAKAGES
from tests.faults.raw_server import GOOD, RESET, response, serve_raw
from tests.runs import KEY, run_here
from tests.virtual_time import on_virtual_time, run_virtual

TIMEOUTS = Timeouts(total_s=10.0, connect_s=2.0, read_s=3.0)

LARGE = build_image_body(bytes(9_000_000), "image/png", "large.png")
"""Larger than all buffers on its way: an answer can arrive while it is still being sent."""

NEXT = build_image_body(b"another image", "image/png", "b.png")


@dataclass(frozen=True, slots=True)
class TwoCalls:
    """Two calls on one connection, of which the first has a broken reply.

    Attributes:
        first: The outcome of the first call.
        second: The outcome of the second call.
        first_took_s: Time from the first call to its outcome.
        second_text: The text that belongs to the second call's page.
        redirects: Number of connections to the redirects' target.
    """

    first: Outcome
    second: Outcome
    first_took_s: float
    second_text: str
    redirects: int

    @property
    def second_is_right(self) -> bool:
        """True when the second page got its own text."""
        return self.second.reply is not None and self.second.reply.content == self.second_text


async def make_two_calls(breakage: Breakage) -> TwoCalls:
    """Make two calls; the first one's reply is broken."""
    clock = asyncio.get_running_loop()
    behave = lambda number: breakage.behaviour if number == 1 else GOOD  # noqa: E731
    async with serve_raw() as redirected, serve_raw(behave) as server:
        server.redirect_url = redirected.url
        async with connect(server.url, timeouts=TIMEOUTS) as client:
            begun_s = clock.time()
            first = await client.post(LARGE if breakage.behaviour.early else BODY)
            took_s = clock.time() - begun_s
            await asyncio.sleep(0.5)  # a second reply arrives
            second = await client.post(NEXT)
        return TwoCalls(first, second, took_s, f"text of {server.exchanges[-1].digest[:12]}", redirected.connections)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
@on_virtual_time
async def test_a_broken_reply_gets_its_verdict_and_does_not_affect_the_next_page(
    breakage: Breakage, caplog: pytest.LogCaptureFixture
) -> None:
    """Within the deadline, in bounded memory, and without the key in the outcome or the log."""
    caplog.set_level(logging.DEBUG)
    tracemalloc.start()
    try:
        calls = await make_two_calls(breakage)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    verdict: Verdict = verdict_of(calls.first, Situation(datetime.now(UTC), has_succeeded=True))
    assert isinstance(verdict, breakage.verdict), calls.first
    assert not isinstance(verdict, Failed) or verdict.billed or breakage.name in NOT_THE_SERVICES
    assert calls.first_took_s <= TIMEOUTS.total_s
    assert calls.second_is_right, calls.second
    assert calls.redirects == 0
    assert peak_bytes < 4 * REPLY_MAX_BYTES
    assert KEY not in f"{calls.first!r} {verdict!r} {calls.second!r} {caplog.text}"


@pytest.mark.parametrize("flood", ["endless-continue", "endless-gzip-of-nothing"])
async def test_an_endless_stream_without_content_does_not_outlast_the_deadline(
    flood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour = find_breakage(flood).behaviour
    monkeypatch.setitem(behaviour.act.keywords, "pause_s", 0.0)  # type: ignore[attr-defined]
    async with (
        serve_raw(lambda _: behaviour) as server,
        connect(server.url, timeouts=Timeouts(total_s=0.3)) as client,
        asyncio.timeout(20),
    ):
        outcome = await client.post(BODY)
    assert outcome == Outcome(fault=Fault.LOST, detail="timeout while waiting for the reply")


def find_breakage(name: str) -> Breakage:
    """Return the breakage of that name."""
    return next(breakage for breakage in BREAKAGES if breakage.name == name)


def test_with_aiohttps_own_connector_the_next_page_gets_a_second_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the second reply arrives while the connection is idle."""
    monkeypatch.setattr(pipeline.remote.client, "Connector", plain_connector)
    assert not run_virtual(make_two_calls(find_breakage("two-replies-one-later"))).second_is_right


def plain_connector(
    *, connections: int, keepalive_s: float, is_tls: bool, unacknowledged_s: float | None
) -> aiohttp.TCPConnector:
    """Return aiohttp's own connector."""
    del is_tls, unacknowledged_s
    return aiohttp.TCPConnector(limit=connections, keepalive_timeout=keepalive_s)


class TestEarlyErrors:
    """A service may answer with an error and close before it has received the whole page."""

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_every_early_error_is_read(self, ending: str) -> None:
        """Otherwise a rejected key or page would count as a lost call, which is charged and sent again."""
        assert await self.count_unread(ending) == 0

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_with_plain_sockets_some_are_lost(self, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: the failing write drops the reply with the connection."""
        monkeypatch.delattr(ReadingSocket, "send")
        assert await self.count_unread(ending) > 0

    async def count_unread(self, ending: str) -> int:
        """Return the number of calls, out of 24, whose error reply was not read."""
        with serve_early_errors(ending) as url:
            async with connect(url, timeouts=TIMEOUTS, connections=8) as client:
                outcomes = await asyncio.gather(*(client.post(LARGE) for _ in range(24)))
        return sum(outcome != Outcome(413, detail="at once", body=BodyKind.API) for outcome in outcomes)


@contextmanager
def serve_early_errors(ending: str) -> Iterator[str]:
    """Answer each request with an error as soon as its head has arrived, and close; yield the base URL.

    The server runs in a thread, so that the client's event loop does not delay it.
    """
    answer = response(b'{"statusText":"at once"}', "413 Content Too Large", "Connection: close")

    def serve() -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                with connection, suppress(ConnectionError):
                    connection.recv(4096)
                    if ending == "reset":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


class TestRun:
    """Runs in which one reply in five is broken."""

    def test_every_page_ends_once_with_its_own_text(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With all breakages, and one page whose replies are always broken; the ledger is exact, the key in no file."""
        caplog.set_level(logging.DEBUG)
        ran = run_virtual(run_broken(tmp_path, 200, run_in_process))
        assert ran.faults == []
        assert KEY not in caplog.text

    def test_the_check_fails_when_half_a_text_is_accepted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Negative control."""

        def accept_anything(body: bytes, _: str | None) -> WireReply:
            return WireReply("?", body.decode("utf-8", "replace").partition('"content": "')[2][:10], 0)

        monkeypatch.setattr(pipeline.remote.outcome, "parse_reply", accept_anything)
        ran = self.run_slice(tmp_path, "body-half-json")
        assert "the always broken page failed as []" in ran.faults
        assert any("has the text" in fault for fault in ran.faults)

    def test_the_check_fails_when_redirects_are_followed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: aiohttp's default."""
        post = aiohttp.ClientSession.post

        def follow(session: aiohttp.ClientSession, url: str, **options: object) -> object:
            return post(session, url, **{**options, "allow_redirects": True})  # type: ignore[arg-type]

        monkeypatch.setattr(aiohttp.ClientSession, "post", follow)
        ran = self.run_slice(tmp_path, "redirect-307")
        assert any("redirects were followed" in fault for fault in ran.faults)

    def test_the_check_fails_when_lost_replies_do_not_count(self, tmp_path: Path) -> None:
        """Negative control."""
        ran = self.run_slice(tmp_path, "close-before-the-head", budget={"count_failed_calls": False})
        assert any(fault.startswith("the ledger counts") for fault in ran.faults)

    def test_the_check_fails_when_pages_are_not_retried(self, tmp_path: Path) -> None:
        """Negative control."""
        ran = self.run_slice(tmp_path, "body-null", run={"retries": 0, "jobs": 16})
        assert any("failed as ('attempts-exhausted', 1)" in fault for fault in ran.faults)

    def run_slice(self, place: Path, breakage: str, **sections: Any) -> BrokenRun:
        """Run on 24 pages with one kind of breakage."""

        async def run(place: Path, url: str) -> int:
            return await run_in_process(place, url, **sections)

        return run_virtual(run_broken(place, 24, run, names=frozenset({breakage})))


async def run_in_process(place: Path, url: str, **sections: Any) -> int:
    """Run in this process, so that virtual time passes the deadlines."""
    deadlines = {"timeout_s": TIMEOUTS.total_s, "read_timeout_s": TIMEOUTS.read_s}
    settings: dict[str, Any] = {"api": deadlines, "run": {"jobs": 16}, **sections}
    summary = await run_here(place / "in", place / "out", url, **settings)
    return summary.exit_code
