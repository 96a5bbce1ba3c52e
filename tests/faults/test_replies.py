"""Replies that break in every way we know: each gets its verdict, none harms another page, and a run survives all."""

import asyncio
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import pipeline.remote.client
from pipeline.records import Service
from pipeline.remote.client import Timeouts, open_client
from pipeline.remote.connections import ReadingSocket
from pipeline.remote.verdict import Failed, Fault, Outcome, Verdict, verdict_of
from pipeline.wire import REPLY_MAX_BYTES, WireReply, build_image_body
from tests.benchmarks.broken_replies import Ran, run_broken
from tests.faults.breakage import Breakage
from tests.faults.broken import BREAKAGES
from tests.faults.raw_server import RESET, WELL, response, serve_raw
from tests.runs import KEY, run_here
from tests.virtual_time import on_virtual_time, run_virtual

TIMEOUTS = Timeouts(total_s=10.0, connect_s=2.0, read_s=3.0)
SMALL = build_image_body(b"an image", "image/png", "a.png")
LARGE = build_image_body(bytes(9_000_000), "image/png", "large.png")
"""More than the buffers on its way hold: while it goes out, an answer can overtake it."""

NEXT = build_image_body(b"another image", "image/png", "b.png")


class Met:
    """What a client makes of one broken reply, and of the good one that follows on the same client."""

    def __init__(self, outcome: Outcome, after: Outcome, took_s: float, text_after: str, redirected: int) -> None:
        self.outcome = outcome
        self.after = after
        self.took_s = took_s
        self.text_after = text_after
        self.redirected = redirected

    @property
    def next_is_right(self) -> bool:
        """True when the next page got its own text."""
        return self.after.reply is not None and self.after.reply.content == self.text_after


async def meet(breakage: Breakage) -> Met:
    """Make two calls; the first one's reply is broken."""
    clock = asyncio.get_running_loop()
    async with serve_raw() as elsewhere, serve_raw(lambda number: breakage.way if number == 1 else WELL) as server:
        server.elsewhere = elsewhere.url
        async with open_client(Service(server.url, KEY, "test"), TIMEOUTS, connections=1) as client:
            begun_s = clock.time()
            outcome = await client.post(LARGE if breakage.way.early else SMALL)
            took_s = clock.time() - begun_s
            await asyncio.sleep(0.5)  # what else the server has to say comes in
            after = await client.post(NEXT)
        return Met(outcome, after, took_s, f"text of {server.exchanges[-1].digest[:12]}", elsewhere.connections)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
@on_virtual_time
async def test_a_broken_reply_gets_its_verdict_and_harms_no_other_page(
    breakage: Breakage, caplog: pytest.LogCaptureFixture
) -> None:
    """Within the deadline, in bounded memory, without a word of the key; and the next page gets its own text."""
    caplog.set_level(logging.DEBUG)
    tracemalloc.start()
    try:
        met = await meet(breakage)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    verdict: Verdict = verdict_of(met.outcome)
    assert isinstance(verdict, breakage.verdict), met.outcome
    assert not isinstance(verdict, Failed) or verdict.billed
    assert met.took_s <= TIMEOUTS.total_s
    assert met.next_is_right, met.after
    assert met.redirected == 0
    assert peak_bytes < 4 * REPLY_MAX_BYTES
    assert KEY not in f"{met.outcome!r} {verdict!r} {met.after!r} {caplog.text}"


@pytest.mark.parametrize("flood", ["endless-continue", "endless-gzip-of-nothing"])
async def test_a_flood_does_not_starve_the_deadline(flood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something comes in at every moment, and nothing of it counts."""
    way = next(breakage.way for breakage in BREAKAGES if breakage.name == flood)
    monkeypatch.setitem(way.act.keywords, "pause_s", 0.0)  # type: ignore[attr-defined]
    async with (
        serve_raw(lambda _: way) as server,
        open_client(Service(server.url, KEY, "test"), Timeouts(total_s=0.3), connections=1) as client,
        asyncio.timeout(20),
    ):
        outcome = await client.post(SMALL)
    assert outcome == Outcome(fault=Fault.LOST, detail="time-out while waiting for the reply")


class TestReuse:
    """A second reply is not handed to the next page."""

    def test_it_would_be_if_connections_were_used_again_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: with the library's own connector, one that comes while the connection is idle."""
        monkeypatch.setattr(pipeline.remote.client, "Connector", plain_connector)
        late = next(breakage for breakage in BREAKAGES if breakage.name == "two-replies-one-later")
        assert not run_virtual(meet(late)).next_is_right


def plain_connector(*, connections: int, keepalive_s: float) -> aiohttp.TCPConnector:
    """Return the library's own connector."""
    return aiohttp.TCPConnector(limit=connections, keepalive_timeout=keepalive_s)


class TestEarlyRefusals:
    """A service that refuses a page before it has come, and hangs up, is heard; here in a thread that is never slow."""

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_they_are_heard(self, ending: str) -> None:
        """Each of them: a rejected key or page must not pass for a lost call, which is charged and sent again."""
        assert await self.count_unheard(ending) == 0

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_they_would_be_lost_with_plain_sockets(self, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: the failing write takes the answer along."""
        monkeypatch.delattr(ReadingSocket, "send")
        assert await self.count_unheard(ending) > 0

    async def count_unheard(self, ending: str) -> int:
        """Return how many of some calls did not hear the answer."""
        with refuse_at_once(ending) as url:
            async with open_client(Service(url, KEY, "test"), TIMEOUTS, connections=8) as client:
                recorder = await asyncio.gather(*(client.post(LARGE) for _ in range(24)))
        return sum(outcome != Outcome(413, detail="at once") for outcome in recorder)


@contextmanager
def refuse_at_once(ending: str) -> Iterator[str]:
    """Answer each request in a thread as soon as its head is there, and hang up; yields the URL."""
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
        """All ways to break a reply, and a poisoned page: exact ends, an exact ledger, the key nowhere."""
        caplog.set_level(logging.DEBUG)
        ran = run_virtual(run_broken(tmp_path, 200, run_in_process))
        assert ran.faults == []
        assert KEY not in caplog.text

    def test_it_fails_when_half_a_text_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: what came is good enough."""

        def take_anything(body: bytes) -> WireReply:
            return WireReply("?", body.decode("utf-8", "replace").partition('"content": "')[2][:10], 0)

        monkeypatch.setattr(pipeline.remote.client, "parse_reply", take_anything)
        ran = self.run_slice(tmp_path, "body-half-json")
        assert "the poisoned page stands there as []" in ran.faults
        assert any("has the text" in fault for fault in ran.faults)

    def test_it_fails_when_redirects_are_followed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: the library's default."""
        post = aiohttp.ClientSession.post

        def follow(session: aiohttp.ClientSession, url: str, **options: object) -> object:
            return post(session, url, **{**options, "allow_redirects": True})  # type: ignore[arg-type]

        monkeypatch.setattr(aiohttp.ClientSession, "post", follow)
        ran = self.run_slice(tmp_path, "redirect-307")
        assert any("redirects were followed" in fault for fault in ran.faults)

    def test_it_fails_when_lost_replies_are_not_counted(self, tmp_path: Path) -> None:
        """Negative control: only a text counts."""
        ran = self.run_slice(tmp_path, "close-before-the-head", budget={"count_failed_calls": False})
        assert any(fault.startswith("the ledger counts") for fault in ran.faults)

    def test_it_fails_when_pages_are_not_tried_again(self, tmp_path: Path) -> None:
        """Negative control: the first failure is the last."""
        ran = self.run_slice(tmp_path, "body-null", run={"retries": 0, "jobs": 16})
        assert any("failed as ('attempts-exhausted', 1)" in fault for fault in ran.faults)

    def run_slice(self, place: Path, way: str, **sections: Any) -> Ran:
        """Run over a few pages with one way to break replies."""

        async def run(place: Path, url: str) -> int:
            return await run_in_process(place, url, **sections)

        return run_virtual(run_broken(place, 24, run, ways=frozenset({way})))


async def run_in_process(place: Path, url: str, **sections: Any) -> int:
    """Run here; on virtual time nobody waits for what never comes."""
    deadlines = {"timeout_s": TIMEOUTS.total_s, "read_timeout_s": TIMEOUTS.read_s}
    settings: dict[str, Any] = {"api": deadlines, "run": {"jobs": 16}, **sections}
    summary = await run_here(place / "in", place / "out", url, **settings)
    return summary.exit_code
