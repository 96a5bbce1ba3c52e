"""A request's body within bounds of size and time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from pipeline.server.http.answers import answer_errors
from pipeline.server.http.bodies import read_body
from pipeline.server.http.requests import BODY_MAX_BYTES, RequestError
from tests.server.serving import port_of, serving

Send = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def reading(hold: Callable[[int], None], *, deadline_s: float = 60.0) -> AsyncIterator[Send]:
    """Serve a handler that answers with the body's length; yield what sends bytes and returns status and answer."""

    async def measure(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await read_body(request, hold, deadline_s=deadline_s))))

    app = web.Application(middlewares=[answer_errors])
    app.router.add_post("/", measure)

    async def send(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + sent)
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            answer = head.split()[1] + b" " + await reader.readexactly(length)
        writer.close()
        return answer

    async with serving(app, linger_s=0.1) as url:
        yield send


def chunked(*chunks: bytes) -> bytes:
    """Return a body of unknown length."""
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*chunks, b""))


async def test_a_body_is_held_as_it_arrives() -> None:
    """Each byte once, whether the length was told or not."""
    held: list[int] = []
    async with reading(held.append) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b"200 5"
        assert await send(chunked(b"hello", b"world")) == b"200 10"
        assert await send(b"\r\n") == b"200 0"
    assert sum(held) == 15


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """The answer comes before the first byte of it."""
    held: list[int] = []
    async with reading(held.append) as send:
        answer = await send(b"Content-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert held == []


async def test_a_body_that_becomes_too_large_is_left() -> None:
    """No more of it is held than is allowed."""
    held: list[int] = []
    async with reading(held.append) as send:
        answer = await send(chunked(*[bytes(1024 * 1024)] * 16))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert sum(held) <= BODY_MAX_BYTES


async def test_a_body_that_does_not_come_is_refused() -> None:
    """A caller who sends a byte now and then holds nothing up."""
    async with reading(lambda _: None, deadline_s=0.2) as send:
        answer = await send(b"Content-Length: 5\r\n\r\nhell")
    assert answer == b'400 {"statusText":"request body did not arrive within 0.2 s"}'


async def test_a_refusal_to_hold_more_is_the_answer() -> None:
    """All requests together hold too much."""

    def refuse(_count: int) -> None:
        raise RequestError("busy", 429, retry_after_s=2)

    async with reading(refuse) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b'429 {"statusText":"busy"}'


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_what_is_read_is_what_was_sent(size: int) -> None:
    """Of any length, in one piece or in many."""
    async with reading(lambda _: None) as send:
        assert await send(b"Content-Length: %d\r\n\r\n" % size + bytes(size)) == b"200 %d" % size
