"""Reading request bodies within bounds, over real connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from pipeline.server.http.requests import BODY_MAX_BYTES, RequestError, read_body
from pipeline.server.http.responses import handle_errors
from tests.server.serving import port_of, serving

Send = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def reading(
    count_bytes: Callable[[int], None],
    *,
    timeout_s: float = 60.0,
    idle_s: float = 60.0,
    delay_s: Callable[[int], float] = lambda _: 0.0,
) -> AsyncIterator[Send]:
    """Serve a handler that returns the body's length; yield a function that sends bytes and returns status and body."""

    async def measure(request: web.Request) -> web.Response:
        body = await read_body(request, count_bytes, delay_s=delay_s, timeout_s=timeout_s, idle_s=idle_s)
        return web.Response(text=str(len(body)))

    app = web.Application(middlewares=[handle_errors])
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
    """Return a chunked body."""
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*chunks, b""))


async def test_every_byte_of_a_body_is_counted_once() -> None:
    """With and without a Content-Length."""
    counted: list[int] = []
    async with reading(counted.append) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b"200 5"
        assert await send(chunked(b"hello", b"world")) == b"200 10"
        assert await send(b"\r\n") == b"200 0"
    assert sum(counted) == 15


async def test_a_content_length_beyond_the_limit_is_rejected_unread() -> None:
    counted: list[int] = []
    async with reading(counted.append) as send:
        answer = await send(b"Content-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert counted == []


async def test_a_chunked_body_beyond_the_limit_is_rejected_while_it_is_read() -> None:
    counted: list[int] = []
    async with reading(counted.append) as send:
        answer = await send(chunked(*[bytes(1024 * 1024)] * 16))
    assert answer == b'400 {"statusText":"request body is larger than 15 MB"}'
    assert sum(counted) <= BODY_MAX_BYTES


async def test_a_body_that_does_not_arrive_in_time_is_rejected() -> None:
    async with reading(lambda _: None, timeout_s=0.2) as send:
        answer = await send(b"Content-Length: 5\r\n\r\nhell")
    assert answer == b'400 {"statusText":"request body did not arrive within 0.2 s"}'


async def test_a_body_that_stalls_is_rejected_before_its_time_is_over() -> None:
    async with reading(lambda _: None, idle_s=0.2) as send:
        answer = await send(b"Content-Length: 5\r\n\r\nhell")
    assert answer == b'400 {"statusText":"request body stopped for 0.2 s"}'


async def test_an_error_of_the_byte_counter_is_the_response() -> None:
    def reject(_number: int) -> None:
        raise RequestError("busy", 429, retry_after_s=2)

    async with reading(reject) as send:
        assert await send(b"Content-Length: 5\r\n\r\nhello") == b'429 {"statusText":"busy"}'


@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_a_body_of_any_length_is_read_whole(size: int) -> None:
    async with reading(lambda _: None) as send:
        assert await send(b"Content-Length: %d\r\n\r\n" % size + bytes(size)) == b"200 %d" % size


async def test_a_body_is_read_as_slowly_as_its_caller_s_rate_says() -> None:
    """The delays are no idle time of the client."""
    delays = iter([0.3, 0.0, 0.3])
    begun_s = time.monotonic()
    async with reading(lambda _: None, idle_s=0.2, delay_s=lambda _: next(delays, 0.0)) as send:
        assert await send(b"Content-Length: 3000000\r\n\r\n" + bytes(3_000_000)) == b"200 3000000"
    assert time.monotonic() - begun_s >= 0.6
