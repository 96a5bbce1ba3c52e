"""What is no HTTP, or asks for what no handler knows: sent as bytes, answered as the contract has it."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from pipeline.server.api.app import create_app
from pipeline.server.http.answers import HEADERS
from pipeline.server.http.protocol import HEADERS_DEADLINE_S, limit_unread
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.server.serving import IMAGE, Answer, ScriptedRecogniser, port_of, request_body, serving

POST = b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def exchange(sent: bytes, after_continue: bytes = b"") -> list[Answer]:
    """Send bytes to the application; return all answers that come until it hangs up.

    Args:
        sent: At once.
        after_continue: Sent when the server has said that it waits for it.
    """
    async with serving(create_app(ScriptedRecogniser()), linger_s=0.1, headers_deadline_s=0.5) as url:
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
    return parse_answers(received)


def parse_answers(received: bytes) -> list[Answer]:
    """Return the answers in what came over a connection."""
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        length = int(headers.get("Content-Length", "0"))
        answers.append(Answer(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return answers


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
async def test_what_is_no_http_is_told_in_json(sent: bytes) -> None:
    """The last answer of the connection is 400, with the body and the headers that every answer has."""
    *_, answer = await exchange(sent)
    assert answer.status == 400
    assert orjson.loads(answer.body).keys() == {"statusText"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Server"] == "pagemill"


async def test_a_chunk_that_breaks_off_the_body_is_told_once() -> None:
    """The request was under way already; the connection ends behind the answer."""
    (answer,) = await exchange(POST + b"Expect: 100-continue\r\n" + CHUNKED, b"2\r\n{}\r\nxyz\r\n")
    assert (answer.status, answer.reply) == (400, {"statusText": "request body cannot be decoded"})


async def test_a_line_that_is_too_long_is_told_as_such() -> None:
    """Of the request or of a header."""
    for sent in (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n"):
        (answer,) = await exchange(sent)
        assert (answer.status, answer.reply) == (400, {"statusText": "the request line or a header is too long"})


@pytest.mark.parametrize("path", [b"/api/text-recognition", b"/session", b"/elsewhere"])
async def test_an_expectation_that_nobody_knows_is_refused(path: bytes) -> None:
    """By a status that is documented, whatever the path."""
    (answer,) = await exchange(
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n"
    )
    message = {"statusText": "the Expect header asks for what this server does not know"}
    assert (answer.status, answer.reply) == (400, message)


async def test_what_stands_in_a_broken_request_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """It may be a key: neither the log nor the answer has it."""
    caplog.set_level(logging.DEBUG)
    (answer,) = await exchange(b"POST /api/text-recognition?key=secret HTTP/9.x\r\n\r\n")
    assert b"secret" not in answer.body
    assert "BadStatusLine" in caplog.text
    assert "secret" not in caplog.text


async def test_garbage_behind_a_request_spoils_nothing_of_it() -> None:
    """The request is answered, and then the garbage."""
    body = request_body()
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    first, second = await exchange(head, body + b"garbage\r\n\r\n")
    assert (first.status, first.reply["content"]) == (200, "the text")
    assert second.status == 400


HEAD = f"POST {TEXT_RECOGNITION_PATH} HTTP/1.1\r\nHost: localhost\r\n"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(*, connections: int = 20, headers_deadline_s: float = 0.2) -> AsyncIterator[int]:
    """Serve the application with short deadlines; yield the port."""
    app = create_app(ScriptedRecogniser())
    async with serving(app, connections=connections, headers_deadline_s=headers_deadline_s, linger_s=0.2) as url:
        yield port_of(url)


async def drip(connection: Connection, *, words: bytes = b"X-Drip: 1\r\n") -> None:
    """Send a little now and then, for as long as somebody listens."""
    _, writer = connection
    while not writer.is_closing():
        writer.write(words)
        await writer.drain()
        await asyncio.sleep(0.01)


async def end_of(connection: Connection) -> bytes:
    """Return all that comes until the other side hangs up."""
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
async def test_headers_that_do_not_end_are_cut_off(begin: bytes, drips: bool) -> None:  # noqa: FBT001
    """Each byte more buys no time."""
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(begin)
        dripping = asyncio.create_task(drip(connection)) if drips else None
        assert await end_of(connection) == b""
        if dripping is not None:
            dripping.cancel()
            await asyncio.wait({dripping})


async def test_the_headers_of_a_later_request_have_the_same_deadline() -> None:
    """A connection that was useful once may not idle for ever."""
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        assert (await end_of(connection)).count(b"HTTP/1.1 200") == 1


async def test_dripping_clients_hold_up_nobody() -> None:
    """A page is answered while half of the connections drip."""
    async with listening(headers_deadline_s=20.0) as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        for _, writer in slow:
            writer.write(HEAD.encode() + b"Content-Length: 1000\r\n\r\n{")
        assert await answer_of(port, request_body(IMAGE)) == 200
        for _, writer in slow:
            writer.close()


async def answer_of(port: int, body: bytes) -> int:
    """Send a page and return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


@pytest.mark.parametrize("declared", [b"Content-Length: 20000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_beyond_the_limit_is_refused_before_its_end(declared: bytes) -> None:
    """By what it says, before a byte of it came; or as soon as it is too long."""
    async with listening() as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(HEAD.encode() + declared)
        if b"chunked" in declared:
            connection[1].write(b"1000000\r\n" + b" " * 0x1000000)
        answer = await end_of(connection)
    assert b" 400 " in answer.splitlines()[0]
    assert b"request body is larger than 15 MB" in answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", id="long-line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", id="long-field"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 1000 + b"\r\n", id="many-fields"),
    ],
)
async def test_headers_are_bounded(head: bytes) -> None:
    """400, and the connection ends."""
    async with listening(headers_deadline_s=20.0) as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(head)
        assert b" 400 " in (await end_of(connection)).splitlines()[0]


async def test_a_connection_too_many_is_closed_and_a_free_place_used() -> None:
    """Those that are open go on."""
    async with listening(connections=3, headers_deadline_s=20.0) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await reader.readline()
        assert await end_of(await asyncio.open_connection("127.0.0.1", port)) == b""
        held[0][1].close()
        await held[0][1].wait_closed()
        async with asyncio.timeout(20):
            while await try_health(port) != 200:  # the server hears of the end a moment later
                pass
        for _, writer in held:
            writer.close()


async def try_health(port: int) -> int | None:
    """Return the status of the health page; None when the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
    except ConnectionError:
        return None
    finally:
        writer.close()
    return int(line.split()[1]) if line else None


def test_a_client_that_does_not_read_is_dropped_by_the_kernel() -> None:
    """Connections inherit the option from the socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit_unread(listener, 1.5)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500


def test_the_deadline_outlasts_the_client_s_own() -> None:
    """A connection that the client still keeps must not be hung up on while a page goes out."""
    from pipeline.remote.client import _KEEPALIVE_S  # noqa: PLC0415 - only for this comparison

    assert HEADERS_DEADLINE_S > 2 * _KEEPALIVE_S
