"""Runs over a bad network: they end, lose nothing, pay for nothing twice, and count what may have been billed."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from pytest import LogCaptureFixture as LogCapture  # noqa: PT013 - shorter signatures
from yarl import URL

from pipeline.config import Config
from pipeline.records import Service
from pipeline.remote.client import Client, Timeouts, open_client
from pipeline.remote.verdict import Fault
from pipeline.wire import build_image_body
from tests.faults.accounts import check_every_page_once, check_ledger_covers, count_used
from tests.faults.proxy import Mishap, Weather, open_proxy
from tests.faults.raw_server import Exchange, RawServer, Way, response, serve_raw
from tests.pages import write_pages
from tests.runs import KEY, failures, results, run_here
from tests.virtual_time import on_virtual_time

PAGES = 30
RUNS = 20
DEADLINES = {"timeout_s": 10.0, "connect_timeout_s": 2.0, "read_timeout_s": 3.0}
BODY = build_image_body(b"an image", "image/png", "a.png")

WEATHERS = {
    "latency": Weather(latency_s=0.3, jitter_s=0.3),
    "slow-line": Weather(up_bytes_per_s=2_000, down_bytes_per_s=500),
    "resets": Weather(latency_s=0.01, mishaps=(Mishap.RESET,), share=0.8),
    "stalls": Weather(latency_s=0.01, mishaps=(Mishap.STALL,), share=0.8),
    "half-closes": Weather(latency_s=0.01, mishaps=(Mishap.HALF_CLOSE,), share=0.8),
    "outages": Weather(latency_s=0.2, open_s=1.5, shut_s=1.0),
    "all-at-once": Weather(0.05, 0.1, 20_000, 5_000, tuple(Mishap), 0.5, open_s=0.5, shut_s=0.5),
}


async def run_until_done(scans: Path, out: Path, url: str, **sections: Any) -> list[int]:
    """Run again and again until nothing is left to do; return the exit codes."""
    codes: list[int] = []
    while not codes or (codes[-1] != 0 and len(codes) < RUNS):
        summary = await run_here(scans, out, url, **{"api": DEADLINES, "run": {"jobs": 8}, **sections})
        codes.append(summary.exit_code)
    return codes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.deep if name == "latency" else ()) for name in WEATHERS]
)
@on_virtual_time
async def test_every_page_comes_through(name: str, scans: Path, tmp_path: Path) -> None:
    """With its own text, once; what the service may have billed is in the ledger."""
    write_pages(scans, PAGES)
    async with serve_raw() as server, open_proxy(server.url, WEATHERS[name]) as proxy:
        codes = await run_until_done(scans, tmp_path / "out", proxy.url)
    assert codes[-1] == 0, codes
    assert set(codes) <= {0, 3, 5}
    check_every_page_once(tmp_path / "out", PAGES)
    check_texts(tmp_path / "out")
    check_ledger_covers(tmp_path / "ledger", server.billed)
    weather = WEATHERS[name]
    assert proxy.mishaps > 0 or not weather.mishaps
    assert proxy.outages > 0 or not weather.shut_s


def check_texts(workspace: Path) -> None:
    """Fail when a page has another's text."""
    wrong = [line["source"] for line in results(workspace) if line["text"] != f"text of {line['sha256'][:12]}"]
    assert wrong == []


@on_virtual_time
async def test_the_ledger_misses_calls_when_lost_ones_are_not_counted(scans: Path, tmp_path: Path) -> None:
    """Negative control: only a text counts."""
    write_pages(scans, PAGES)
    weather = Weather(latency_s=0.01, mishaps=(Mishap.RESET,), share=0.8)
    async with serve_raw() as server, open_proxy(server.url, weather) as proxy:
        await run_until_done(scans, tmp_path / "out", proxy.url, budget={"count_failed_calls": False})
    with pytest.raises(AssertionError, match="the ledger counts"):
        check_ledger_covers(tmp_path / "ledger", server.billed)


async def _hang_without_reading(_: Exchange) -> None:
    await asyncio.Event().wait()


async def _hang_after(data: bytes, exchange: Exchange) -> None:
    await exchange.send(data)
    await exchange.hang()


HANGS = {
    "after-accepting": Way("hang", _hang_without_reading, early=True, worked=False),
    "after-reading": Way("hang", partial(_hang_after, b"")),
    "after-the-headers": Way("hang", partial(_hang_after, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")),
}


@pytest.mark.parametrize("name", HANGS)
@pytest.mark.parametrize(
    "deadlines",
    [pytest.param(DEADLINES, id="short"), pytest.param({}, id="default")],
)
@on_virtual_time
async def test_a_server_that_hangs_does_not_hang_the_run(
    name: str, deadlines: dict[str, float], scans: Path, tmp_path: Path
) -> None:
    """Each page has a deadline, with the default settings too: three calls of 60 s and the waits between them."""
    write_pages(scans, 3)
    clock = asyncio.get_running_loop()
    async with serve_raw(lambda _: HANGS[name]) as server:
        begun_s = clock.time()
        summary = await run_here(scans, tmp_path / "out", server.url, api=deadlines)
        took_s = clock.time() - begun_s
    assert summary.exit_code == 3
    ends = Counter((line["class"], line["attempts"]) for line in failures(tmp_path / "out"))
    assert ends == {("attempts-exhausted", 3): 3}
    assert count_used(tmp_path / "ledger") == 9
    api = Config().api
    read_s = deadlines.get("read_timeout_s", api.read_timeout_s)
    backoffs_s = 1.0 + 2.0
    pace_s = 1.0  # between the first calls, and what the real file system takes of virtual time
    assert took_s < 3 * read_s + backoffs_s + read_s + pace_s  # one page goes alone at first


def test_the_default_deadlines_are_finite() -> None:
    """Connect 10 s, read 60 s, total 120 s."""
    api = Config().api
    assert (api.connect_timeout_s, api.read_timeout_s, api.timeout_s) == (10.0, 60.0, 120.0)


class TestIdleConnections:
    """Servers close idle connections when they like; a page that meets one is not taken for a lost call."""

    @pytest.mark.parametrize("keepalive_s", [0.0, 2.0, 4.0, 75.0])
    @pytest.mark.parametrize("pause_s", [0.001, 1.9, 2.1, 3.9, 4.1, 60.0])
    @on_virtual_time
    async def test_a_connection_that_the_server_closed_is_not_used(self, keepalive_s: float, pause_s: float) -> None:
        """Whether that was long ago or just now, and without a word in the last reply."""
        async with serve_raw() as server, open_one(server.url) as client:
            server.keepalive_s = keepalive_s
            for _ in range(3):
                assert (await client.post(BODY)).reply is not None
                await asyncio.sleep(pause_s)
        assert len(server.exchanges) == 3

    @on_virtual_time
    async def test_a_call_that_crosses_the_end_is_lost(self) -> None:
        """The server closed at the very moment: it may have read the call, so that is counted and not repeated."""
        async with serve_raw() as server, open_one(server.url) as client:
            server.keepalive_s = 2.0
            assert (await client.post(BODY)).reply is not None
            await asyncio.sleep(server.keepalive_s)
            assert (await client.post(BODY)).fault is Fault.LOST
        assert (len(server.exchanges), server.connections) == (1, 1)

    async def test_a_call_that_the_server_read_before_it_closed_is_not_sent_again(self) -> None:
        """It may have been billed."""
        assert await count_calls_of_two() == 2

    async def test_it_would_be_if_posts_counted_as_harmless(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: what the library does for methods that may be repeated."""
        monkeypatch.setattr(aiohttp.client, "IDEMPOTENT_METHODS", frozenset({"POST"}))
        assert await count_calls_of_two() == 3


async def count_calls_of_two() -> int:
    """Return how many calls a server sees when two are made and it closes the connection after reading the second."""

    async def close_on_second(exchange: Exchange) -> None:
        if exchange.number == 2:
            exchange.writer.close()
        else:
            await exchange.send(response(exchange.text()))

    async with serve_raw(lambda _: Way("closes", close_on_second)) as server, open_one(server.url) as client:
        await client.post(BODY)
        await client.post(BODY)
    return len(server.exchanges)


def open_one(url: str) -> AbstractAsyncContextManager[Client]:
    """Open a client of one connection with the default deadlines."""
    return open_client(Service(url, KEY, "test"), Timeouts(), connections=1)


class TestNeverSent:
    """What cannot have reached the service is void in the ledger and ends the run as temporary."""

    @on_virtual_time
    async def test_a_name_that_does_not_resolve(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        """A name longer than DNS allows needs no network to fail."""
        await self.check_unreached(scans, tmp_path, f"http://{'.'.join(['a'] * 200)}", "does not resolve", caplog)

    async def test_a_certificate_of_its_own_making(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        """Nobody vouches for the server, so the key is not shown to it."""
        async with serve_raw() as server, serve_tls(tmp_path, server) as url:
            await self.check_unreached(scans, tmp_path, url, "TLS failed", caplog)
        assert server.exchanges == []

    @on_virtual_time
    async def test_a_port_on_which_nobody_listens(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        """The connection is refused."""
        async with serve_raw() as server:
            url = server.url
        await self.check_unreached(scans, tmp_path, url, "cannot connect", caplog)

    @on_virtual_time
    async def test_a_deadline_shorter_than_that_of_connecting(
        self, scans: Path, tmp_path: Path, caplog: LogCapture
    ) -> None:
        """The whole call's time is over before there is a connection: still nothing was sent."""
        with full_queue() as url:
            await self.check_unreached(scans, tmp_path, url, "time-out while connecting", caplog, timeout_s=1.0)

    async def check_unreached(
        self, scans: Path, place: Path, url: str, cause: str, caplog: LogCapture, **api: float
    ) -> None:
        """Run, and check that it gave up for the time being with nothing counted."""
        caplog.set_level(logging.DEBUG)
        write_pages(scans, 2)
        summary = await run_here(scans, place / "out", url, api={**DEADLINES, **api})
        assert summary.exit_code == 5
        assert summary.reason is not None
        assert cause in summary.reason
        assert summary.calls == count_used(place / "ledger", host=URL(url).host or "") == 0
        assert KEY not in f"{summary!r} {caplog.text}"
        assert failures(place / "out") == []


@asynccontextmanager
async def serve_tls(directory: Path, server: RawServer) -> AsyncGenerator[str]:
    """Serve with a certificate that the server signed itself; yields the base URL."""
    pair = ("-keyout", directory / "key.pem", "-out", directory / "cert.pem")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *pair, *names)
    await anyio.run_process(openssl)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context) as listener:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@contextmanager
def full_queue() -> Iterator[str]:
    """Hold a port whose queue of connections is full, like a host that drops everything; yields the base URL."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.settimeout(0)
            queued.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
