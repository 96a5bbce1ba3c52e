"""Malformed requests, slow clients and too many connections, sent as bytes."""

import asyncio
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import orjson
import pytest
from aiohttp import ClientSession

from pipeline.server.access.authentication import Authenticator
from pipeline.server.api.app import create_app
from pipeline.server.http import connections, eviction, listener
from pipeline.server.http.listener import HEADERS_TIMEOUT_S, set_send_timeout
from pipeline.server.http.responses import DEFAULT_HEADERS
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.server import attackers
from tests.server.serving import IMAGE, KEY, Response, ScriptedRecogniser, port_of, request_body, serving

POST = b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def exchange(sent: bytes, after_continue: bytes = b"") -> list[Response]:
    """Send bytes to the application; return all responses until it closes the connection.

    Args:
        sent: Sent at once.
        after_continue: Sent after the server's 100 Continue.
    """
    async with serving(create_app(ScriptedRecogniser()), linger_s=0.1, headers_timeout_s=0.5) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(sent)
        try:
            async with asyncio.timeout(20):
                if after_continue:
                    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                    writer.write(after_continue)
                received = await reader.read()
        finally:
            writer.close()
    return parse_responses(received)


def parse_responses(received: bytes) -> list[Response]:
    """Return the responses in the bytes of a connection."""
    responses = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        length = int(headers.get("Content-Length", "0"))
        responses.append(Response(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return responses


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="tls"),
        pytest.param(b"hello\r\n\r\n", id="a-word"),
        pytest.param(b"GET /a b HTTP/1.1\r\n\r\n", id="space-in-the-path"),
        pytest.param(b"GET / HTTP/9.x\r\n\r\n", id="version"),
        pytest.param(b"G\xc4T / HTTP/1.1\r\n\r\n", id="method"),
        pytest.param(b"GET http://[::1 HTTP/1.1\r\n\r\n", id="url"),
        pytest.param(GET + b"no colon\r\n\r\n", id="header-without-colon"),
        pytest.param(GET + b"a b: c\r\n\r\n", id="header-with-a-space-in-its-name"),
        pytest.param(GET + b"X: \x00\r\n\r\n", id="header-with-a-zero"),
        pytest.param(GET + b"Host: b\r\n\r\n", id="two-hosts"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", id="negative-length"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two-lengths"),
        pytest.param(POST + b"Content-Length: 5\r\n" + CHUNKED, id="length-and-chunks"),
        pytest.param(POST + b"Transfer-Encoding: rot13\r\n\r\n", id="unknown-transfer-encoding"),
        pytest.param(POST + CHUNKED + b"xyz\r\n", id="chunk-without-size"),
        pytest.param(POST + CHUNKED + b"2\r\nabc\r\n", id="chunk-longer-than-it-says"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
    ],
)
async def test_malformed_http_gets_a_400_with_the_contract_s_body_and_all_headers(sent: bytes) -> None:
    *_, response = await exchange(sent)
    assert response.status == 400
    assert orjson.loads(response.body).keys() == {"statusText"}
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {name: response.headers[name] for name in DEFAULT_HEADERS} == DEFAULT_HEADERS
    assert response.headers["Server"] == "pagemill"


async def test_a_malformed_chunk_within_a_body_gets_one_400() -> None:
    """The handler is already waiting for the rest of the body."""
    (response,) = await exchange(POST + b"Expect: 100-continue\r\n" + CHUNKED, b"2\r\n{}\r\nxyz\r\n")
    assert (response.status, response.reply) == (400, {"statusText": "request body cannot be decoded"})


async def test_an_overlong_line_gets_a_400_that_says_so() -> None:
    for sent in (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n"):
        (response,) = await exchange(sent)
        assert (response.status, response.reply) == (400, {"statusText": "the request line or a header is too long"})


@pytest.mark.parametrize("path", [b"/api/text-recognition", b"/session", b"/elsewhere"])
async def test_an_unknown_expectation_is_a_400_on_every_path(path: bytes) -> None:
    """The contract has no 417."""
    (response,) = await exchange(
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n"
    )
    message = {"statusText": "the Expect header asks for what this server does not know"}
    assert (response.status, response.reply) == (400, message)


async def test_a_malformed_request_is_quoted_neither_in_the_log_nor_in_the_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its URL may have a key."""
    caplog.set_level(logging.DEBUG)
    (response,) = await exchange(b"POST /api/text-recognition?key=secret HTTP/9.x\r\n\r\n")
    assert b"secret" not in response.body
    assert "BadStatusLine" in caplog.text
    assert "secret" not in caplog.text


async def test_garbage_after_a_request_gets_a_400_of_its_own() -> None:
    body = request_body()
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    first, second = await exchange(head, body + b"garbage\r\n\r\n")
    assert (first.status, first.reply["content"]) == (200, "the text")
    assert second.status == 400


HEAD = f"POST {TEXT_RECOGNITION_PATH} HTTP/1.1\r\nHost: localhost\r\n"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(*, max_connections: int = 20, headers_timeout_s: float = 0.2) -> AsyncIterator[int]:
    """Serve the application with short timeouts; yield the port."""
    app = create_app(ScriptedRecogniser())
    async with serving(app, max_connections=max_connections, headers_timeout_s=headers_timeout_s, linger_s=0.2) as url:
        yield port_of(url)


async def drip(connection: Connection, *, words: bytes = b"X-Drip: 1\r\n") -> None:
    """Send a few bytes every 10 ms until the connection closes."""
    _, writer = connection
    while not writer.is_closing():
        writer.write(words)
        await writer.drain()
        await asyncio.sleep(0.01)


async def read_until_closed(connection: Connection) -> bytes:
    """Return all bytes until the server closes the connection."""
    reader, writer = connection
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("begin", "drips"),
    [
        pytest.param(b"", False, id="silence"),
        pytest.param(b"P", False, id="a-byte"),
        pytest.param(HEAD.encode(), False, id="headers-without-end"),
        pytest.param(HEAD.encode(), True, id="a-header-now-and-then"),
    ],
)
async def test_headers_that_do_not_end_in_time_close_the_connection(begin: bytes, drips: bool) -> None:  # noqa: FBT001
    """Further bytes do not extend the timeout."""
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(begin)
        dripping = asyncio.create_task(drip(connection)) if drips else None
        assert await read_until_closed(connection) == b""
        if dripping is not None:
            dripping.cancel()
            await asyncio.wait({dripping})


async def test_the_headers_of_a_later_request_have_the_same_timeout() -> None:
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        assert (await read_until_closed(connection)).count(b"HTTP/1.1 200") == 1


async def test_slow_clients_do_not_delay_others() -> None:
    async with listening(headers_timeout_s=20.0) as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        for _, writer in slow:
            writer.write(HEAD.encode() + b"Content-Length: 1000\r\n\r\n{")
        assert await status_of_page(port, request_body(IMAGE)) == 200
        for _, writer in slow:
            writer.close()


async def status_of_page(port: int, body: bytes, key: str = "") -> int:
    """Send an image; return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(attackers.request_head(key, len(body), "Connection: close\r\n") + body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


@pytest.mark.parametrize("declared", [b"Content-Length: 20000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_beyond_the_limit_gets_a_400_before_its_end(declared: bytes) -> None:
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(HEAD.encode() + declared)
        if b"chunked" in declared:
            connection[1].write(b"1000000\r\n" + b" " * 0x1000000)
        response = await read_until_closed(connection)
    assert b" 400 " in response.splitlines()[0]
    assert b"request body is larger than 15 MB" in response


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", id="long-line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", id="long-field"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 1000 + b"\r\n", id="many-fields"),
    ],
)
async def test_headers_beyond_the_limit_get_a_400(head: bytes) -> None:
    async with listening(headers_timeout_s=20.0) as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(head)
        assert b" 400 " in (await read_until_closed(connection)).splitlines()[0]


async def test_beyond_the_maximum_the_oldest_idle_connection_is_closed_for_a_new_one() -> None:
    async with listening(max_connections=3, headers_timeout_s=20.0) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await reader.readline()
        assert await try_health(port) == 200
        assert (await read_until_closed(held[0])).endswith(b"}")
        assert [reader.at_eof() for reader, _ in held[1:]] == [False, False]
        for _, writer in held[1:]:
            writer.close()


async def test_a_connection_beyond_the_maximum_is_closed_while_all_others_are_at_work() -> None:
    recogniser = ScriptedRecogniser(may_answer=asyncio.Event())
    async with serving(create_app(recogniser), max_connections=2) as url:
        port = port_of(url)
        working = [asyncio.create_task(status_of_page(port, request_body())) for _ in range(2)]
        async with asyncio.timeout(20):
            while len(recogniser.seen) < 2:
                recogniser.began.clear()
                await recogniser.began.wait()
            assert await read_until_closed(await asyncio.open_connection("127.0.0.1", port)) == b""
            recogniser.may_answer.set()
            assert await asyncio.gather(*working) == [200, 200]


KEPT = 100

WAITING = {
    **attackers.IDLE_KINDS,
    "body never sent": HEAD.encode() + b"Content-Length: 1000\r\n\r\n",
    "body cut off": HEAD.encode() + b"Content-Length: 1000\r\n\r\n{",
    "continue": HEAD.encode() + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
    "unknown path": b"POST /elsewhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
}
"""What a connection sends before it waits, by kind; each kind may be all that a server gets."""


@pytest.mark.parametrize("words", WAITING.values(), ids=WAITING)
async def test_connections_that_wait_shut_nobody_out(words: bytes) -> None:
    """All of them come from the caller's own address, as behind a proxy."""
    is_full = asyncio.Event()
    app = create_app(ScriptedRecogniser(), Authenticator(key=KEY))
    async with (
        serving(app, max_connections=KEPT, on_evicted=lambda number: is_full.set() if number else None) as url,
        attackers.attacking(*attackers.holders(port_of(url), words, 2 * KEPT)),
        asyncio.timeout(60),
    ):
        if words != attackers.IDLE_KINDS["TLS"]:  # answered with 400 and closed at once
            await is_full.wait()
        statuses = []
        for _ in range(20):
            with suppress(OSError, IndexError):  # closed without a response: its headers took longer than the grace
                statuses.append(await status_of_page(port_of(url), request_body(), key=KEY))
        assert statuses.count(200) >= 19


async def test_without_eviction_silent_connections_shut_everybody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(connections, "choose_evicted", lambda *_: [])
    async with listening(max_connections=KEPT, headers_timeout_s=20.0) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(KEPT)]
        assert await try_health(port) is None
        for _, writer in silent:
            writer.close()


async def test_an_idle_connection_of_a_caller_with_a_key_outlives_silent_ones() -> None:
    """A client keeps its connection between two pages."""
    app = create_app(ScriptedRecogniser(), Authenticator(key=KEY))
    async with serving(app, max_connections=KEPT) as url, attackers.connected(port_of(url)) as (reader, writer):
        writer.write(attackers.request_head(KEY, len(request_body())) + request_body())
        assert (await reader.readuntil(b'key=***"}')).startswith(b"HTTP/1.1 200")
        async with attackers.attacking(*attackers.idle_connections(port_of(url), 3 * KEPT)):
            for _ in range(5):
                assert await status_of_page(port_of(url), request_body(), key=KEY) == 200
        writer.write(attackers.request_head(KEY, len(request_body())) + request_body())
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b'key=***"}')).startswith(b"HTTP/1.1 200")


async def test_a_busy_server_closes_silent_connections_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "BUSY_HEADERS_TIMEOUT_S", 0.05)
    monkeypatch.setattr(listener, "SWEEP_S", 0.05)
    async with listening(max_connections=8, headers_timeout_s=60.0) as port:
        half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for connection in half[:2]:
            assert await read_until_closed(connection) == b""
        for _, writer in half:
            writer.close()


@pytest.mark.parametrize(
    ("soft", "hard", "kept"),
    [
        pytest.param(4096, 4096, 1024, id="enough"),
        pytest.param(256, 4096, 1024, id="raised"),
        pytest.param(1024, 1024, 768, id="a-limit-of-1024"),
        pytest.param(256, 256, 128, id="a-limit-of-256"),
    ],
)
def test_there_are_no_more_connections_than_files_that_the_process_may_open(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, kept: int
) -> None:
    """Beyond that the server could accept nobody, nor open its key store."""
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    assert listener.fit_descriptors(1024) == kept
    assert limits[0] == (1280 if hard == 4096 and soft == 256 else soft)


async def try_health(port: int) -> int | None:
    """Return the status of `/healthz`; None when the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
    except ConnectionError:
        return None
    finally:
        writer.close()
    return int(line.split()[1]) if line else None


def test_accepted_connections_inherit_the_send_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        set_send_timeout(listener, 1.5)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500


def test_the_server_keeps_idle_connections_longer_than_the_client() -> None:
    """Otherwise the server closes a connection on which the client is about to send a page."""
    from pipeline.remote.client import _KEEPALIVE_S  # noqa: PLC0415 - only for this comparison

    assert HEADERS_TIMEOUT_S > 2 * _KEEPALIVE_S


PIPELINE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3


async def test_pipelined_requests_of_an_unknown_caller_wait_while_others_are_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also a caller that never reads its responses keeps the server busy with few of them."""
    monkeypatch.setattr(connections, "PIPELINE_PAUSE_S", 0.3)
    begun_s = time.monotonic()
    assert (await exchange_in_order(PIPELINE)).count(b"HTTP/1.1 200") == 3
    assert time.monotonic() - begun_s >= 0.6


async def test_pipelined_requests_of_a_known_caller_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PIPELINE_PAUSE_S", 15.0)
    body = request_body(IMAGE)
    received = await exchange_in_order(attackers.request_head("", len(body)) + body, PIPELINE)
    assert received.count(b"HTTP/1.1 200") == 4


async def exchange_in_order(*sent: bytes) -> bytes:
    """Send bytes, each part after the first response to the one before; return all responses."""
    received = b""
    async with listening(headers_timeout_s=0.5) as port, attackers.connected(port) as connection:
        for part in sent[:-1]:
            connection[1].write(part)
            received += await connection[0].readuntil(b"}")
        connection[1].write(sent[-1])
        return received + await read_until_closed(connection)


REJECTED = {
    "tls": (attackers.IDLE_KINDS["TLS"], b" 400 "),
    "no-key": (HEAD.encode() + b"Content-Length: 0\r\n\r\n", b" 401 "),
}


@pytest.mark.parametrize("open_connections", [0, 3], ids=["idle", "busy"])
@pytest.mark.parametrize(("words", "status"), REJECTED.values(), ids=REJECTED)
async def test_a_busy_server_takes_its_time_to_reject(
    words: bytes, status: bytes, open_connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is rejected at once comes again at once."""
    monkeypatch.setattr(connections, "REJECTION_PAUSE_S", 0.5)
    app = create_app(ScriptedRecogniser(), Authenticator(key=KEY))
    async with serving(app, max_connections=6) as url, AsyncExitStack() as stack:
        for _ in range(open_connections):
            await stack.enter_async_context(attackers.connected(port_of(url)))
        reader, writer = await stack.enter_async_context(attackers.connected(port_of(url)))
        writer.write(words)
        begun_s = time.monotonic()
        assert status in await reader.readline()
        assert (time.monotonic() - begun_s >= 0.5) is (open_connections > 0)


@pytest.mark.parametrize("sent", [b"", b"{"], ids=["no-byte", "a-byte"])
async def test_a_client_that_leaves_within_its_body_is_no_failure_of_the_server(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(create_app(ScriptedRecogniser())) as url, ClientSession() as session:
        async with attackers.connected(port_of(url)) as (reader, writer):
            writer.write(HEAD.encode() + b"Content-Length: 1000\r\n\r\n" + sent)
            writer.write_eof()
            assert await reader.read() == b""
        async with session.get(f"{url}/metrics") as response:
            assert 'pagemill_requests_total{route="/api/text-recognition",status="499"} 1.0' in await response.text()
    assert "a request failed" not in caplog.text
