"""Runs over a bad network: they end, lose no text, repeat no paid call, and count every call that may be billed."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from pytest import LogCaptureFixture as LogCapture  # noqa: PT013 - shorter signatures
from yarl import URL

from pipeline.batch.retry import RetrySelection
from pipeline.config import Config
from pipeline.records import State
from pipeline.remote.outcome import Fault
from tests.clients import BODY, connect, full_queue
from tests.faults.accounts import check_every_page_once, check_ledger_covers, count_used
from tests.faults.proxy import ConnectionFault, Network, open_proxy
from tests.faults.raw_server import Behaviour, Exchange, RawServer, response, serve_raw
from tests.pages import write_pages
from tests.runs import KEY, failures, results, run_here
from tests.virtual_time import on_virtual_time

PAGES = 30
RUNS = 20
DEADLINES = {"timeout_s": 10.0, "connect_timeout_s": 2.0, "read_timeout_s": 3.0}

NETWORKS = {
    "latency": Network(latency_s=0.3, jitter_s=0.3),
    "low-bandwidth": Network(up_bytes_per_s=2_000, down_bytes_per_s=500),
    "resets": Network(latency_s=0.01, faults=(ConnectionFault.RESET,), fault_share=0.8),
    "stalls": Network(latency_s=0.01, faults=(ConnectionFault.STALL,), fault_share=0.8),
    "half-closes": Network(latency_s=0.01, faults=(ConnectionFault.HALF_CLOSE,), fault_share=0.8),
    "outages": Network(latency_s=0.2, up_s=1.5, down_s=1.0),
    "all-together": Network(0.05, 0.1, 20_000, 5_000, tuple(ConnectionFault), 0.4, up_s=3.0, down_s=0.5),
}


async def run_until_done(scans: Path, out: Path, url: str, **sections: Any) -> list[int]:
    """Run again until the exit code is 0, at most `RUNS` times; return the exit codes.

    After three runs a page that failed in each waits for `retry`.
    """
    codes: list[int] = []
    while not codes or (codes[-1] != 0 and len(codes) < RUNS):
        retry = RetrySelection() if len(codes) > 2 and codes[-1] == 3 else None
        summary = await run_here(scans, out, url, retry=retry, **{"api": DEADLINES, "run": {"jobs": 8}, **sections})
        codes.append(summary.exit_code)
    return codes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.deep if name == "latency" else ()) for name in NETWORKS]
)
@on_virtual_time
async def test_every_page_is_done_once_and_every_call_that_may_be_billed_counts(
    name: str, scans: Path, tmp_path: Path
) -> None:
    write_pages(scans, PAGES)
    async with serve_raw() as server, open_proxy(server.url, NETWORKS[name]) as proxy:
        codes = await run_until_done(scans, tmp_path / "out", proxy.url)
    assert codes[-1] == 0, (len(codes), codes)
    assert set(codes) <= {0, 3, 5}
    check_every_page_once(tmp_path / "out", PAGES)
    check_texts(tmp_path / "out")
    check_ledger_covers(tmp_path / "ledger", server.billed)
    assert proxy.faulty_connections > 0 or not NETWORKS[name].faults
    assert proxy.outages > 0 or not NETWORKS[name].down_s


def check_texts(workspace: Path) -> None:
    """Fail if a page has the text of another page."""
    wrong = [line["source"] for line in results(workspace) if line["text"] != f"text of {line['sha256'][:12]}"]
    assert wrong == []


@on_virtual_time
async def test_the_ledger_counts_too_few_calls_when_lost_ones_do_not_count(scans: Path, tmp_path: Path) -> None:
    """Negative control."""
    write_pages(scans, PAGES)
    async with serve_raw() as server, open_proxy(server.url, NETWORKS["resets"]) as proxy:
        await run_until_done(scans, tmp_path / "out", proxy.url, budget={"count_failed_calls": False})
    with pytest.raises(AssertionError, match="the ledger counts"):
        check_ledger_covers(tmp_path / "ledger", server.billed)


async def _hang_without_reading(_: Exchange) -> None:
    await asyncio.Event().wait()


async def _hang_after(data: bytes, exchange: Exchange) -> None:
    await exchange.send(data)
    await exchange.hang()


HANGS = {
    "after-accepting": Behaviour("hang", _hang_without_reading, early=True, worked=False),
    "after-reading": Behaviour("hang", partial(_hang_after, b"")),
    "after-the-headers": Behaviour("hang", partial(_hang_after, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")),
}


@pytest.mark.parametrize("name", HANGS)
@pytest.mark.parametrize(
    ("deadlines", "calls"),
    [pytest.param(DEADLINES, 8, id="short"), pytest.param({}, 6, id="default")],
)
@on_virtual_time
async def test_a_server_that_hangs_does_not_hang_the_run(
    name: str, deadlines: dict[str, float], calls: int, scans: Path, tmp_path: Path
) -> None:
    """With the default settings, six calls of 120 s exhaust the patience of ten minutes before the eight calls."""
    write_pages(scans, 3)
    clock = asyncio.get_running_loop()
    async with serve_raw(lambda _: HANGS[name]) as server:
        begun_s = clock.time()
        summary = await run_here(scans, tmp_path / "out", server.url, api=deadlines)
        took_s = clock.time() - begun_s
    assert (summary.exit_code, summary.totals[State.PENDING]) == (5, 3)
    assert failures(tmp_path / "out") == []
    assert count_used(tmp_path / "ledger") == calls
    read_s = deadlines.get("read_timeout_s", Config().api.timeout_s)
    pauses_s = 0.5 + 1.0 + 2.0 + 4.0 + 8.0 + 16.0 + 32.0
    slack_s = 2.0  # for the virtual time that passes during file operations
    assert took_s < calls * read_s + pauses_s + slack_s


def test_the_default_deadlines_are_finite() -> None:
    api = Config().api
    assert (api.connect_timeout_s, api.read_timeout_s, api.timeout_s) == (10.0, None, 120.0)


class TestIdleConnections:
    """Servers close idle connections at any time; a call must not count as lost because of that."""

    @pytest.mark.parametrize("keepalive_s", [0.0, 2.0, 4.0, 75.0])
    @pytest.mark.parametrize("pause_s", [0.001, 1.9, 2.1, 3.9, 4.1, 60.0])
    @on_virtual_time
    async def test_a_connection_that_the_server_closed_is_not_used(self, keepalive_s: float, pause_s: float) -> None:
        """The last reply on it had no `Connection: close`."""
        async with serve_raw() as server, connect(server.url) as client:
            server.keepalive_s = keepalive_s
            for _ in range(3):
                assert (await client.post(BODY)).reply is not None
                await asyncio.sleep(pause_s)
        assert len(server.exchanges) == 3

    @on_virtual_time
    async def test_a_call_sent_while_the_server_closes_the_connection_is_lost(self) -> None:
        """The server may have read it, so it counts and is not repeated by the library."""
        async with serve_raw() as server, connect(server.url) as client:
            server.keepalive_s = 2.0
            assert (await client.post(BODY)).reply is not None
            await asyncio.sleep(server.keepalive_s)
            assert (await client.post(BODY)).fault is Fault.LOST
        assert (len(server.exchanges), server.connections) == (1, 1)

    async def test_a_call_that_the_server_read_before_it_closed_is_not_sent_again(self) -> None:
        assert await count_calls_of_two() == 2

    async def test_it_would_be_sent_again_if_post_counted_as_idempotent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative control: aiohttp repeats calls of idempotent methods."""
        monkeypatch.setattr(aiohttp.client, "IDEMPOTENT_METHODS", frozenset({"POST"}))
        assert await count_calls_of_two() == 3


async def count_calls_of_two() -> int:
    """Return the number of calls received when two are made and the server closes after reading the second."""

    async def close_on_second(exchange: Exchange) -> None:
        if exchange.number == 2:
            exchange.writer.close()
        else:
            await exchange.send(response(exchange.json()))

    async with serve_raw(lambda _: Behaviour("closes", close_on_second)) as server, connect(server.url) as client:
        await client.post(BODY)
        await client.post(BODY)
    return len(server.exchanges)


class TestNeverSent:
    """Calls that cannot have reached the service are void in the ledger and end the run as temporary."""

    @on_virtual_time
    async def test_a_name_that_does_not_resolve(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        """A name that is longer than DNS allows fails without a network."""
        await self.check_unreached(scans, tmp_path, f"http://{'.'.join(['a'] * 200)}", "does not resolve", caplog)

    async def test_a_self_signed_certificate(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        """The key is not sent to the server."""
        async with serve_raw() as server, serve_tls(tmp_path, server) as url:
            await self.check_unreached(scans, tmp_path, url, "TLS failed", caplog)
        assert server.exchanges == []

    @on_virtual_time
    async def test_a_refused_connection(self, scans: Path, tmp_path: Path, caplog: LogCapture) -> None:
        async with serve_raw() as server:
            url = server.url
        await self.check_unreached(scans, tmp_path, url, "cannot connect", caplog)

    @on_virtual_time
    async def test_a_total_timeout_before_the_connection_is_open(
        self, scans: Path, tmp_path: Path, caplog: LogCapture
    ) -> None:
        with full_queue() as url:
            await self.check_unreached(scans, tmp_path, url, "timeout while connecting", caplog, timeout_s=1.0)

    async def check_unreached(
        self, scans: Path, place: Path, url: str, cause: str, caplog: LogCapture, **api: float
    ) -> None:
        """Run, and check that it ended as temporary with no call counted."""
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
    """Serve with a self-signed certificate; yield the base URL."""
    pair = ("-keyout", directory / "key.pem", "-out", directory / "cert.pem")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *pair, *names)
    await anyio.run_process(openssl)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context) as listener:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
