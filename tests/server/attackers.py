"""Callers who play foul, on loopback: bounded in number and in time, and each attack stops with its block.

Every attack keeps up its number: a connection or call that ends is made again after `PAUSE_S`.
"""

import asyncio
import base64
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from typing import cast

import orjson

from pipeline.wire import TEXT_RECOGNITION_PATH

Attacker = Callable[[], Awaitable[None]]

PAUSE_S = 0.2
"""Before a connection or call is made again: an attacker on the internet needs a round trip."""

FILL_BYTES = (14_000_000,) * 12 + (1_000_000,) * 12 + (50_000,) * 24 + (1_000,) * 60
"""Sizes of the bodies that fill memory: the largest, and smaller ones for the room that they leave."""

IDLE_KINDS = {
    "silent": b"",
    "one byte": b"P",
    "half a header": b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "idle after a request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "rejected body": b"POST /api/text-recognition HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n{",
    "pipelined": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20 + b"GET /he",
}
"""What a connection sends before it waits, by kind."""


@asynccontextmanager
async def attacking(*attackers: Attacker) -> AsyncIterator[None]:
    """Run the attackers, each again and again, until the block ends."""

    async def repeat(attack: Attacker) -> None:
        while True:
            with suppress(OSError, EOFError, asyncio.IncompleteReadError):
                await attack()
            await asyncio.sleep(PAUSE_S)

    tasks = [asyncio.create_task(repeat(attack)) for attack in attackers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def connected(
    port: int, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection from this address; it ends with the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def wait_until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - the condition is no event
            await asyncio.sleep(0.01)


def idle_connections(port: int, count: int) -> list[Attacker]:
    """Return attackers that hold a connection each and say next to nothing, of all kinds in turn."""
    kinds = cycle(IDLE_KINDS.values())
    return [attacker for _ in range(count) for attacker in holders(port, next(kinds), 1)]


def holders(port: int, words: bytes, count: int) -> list[Attacker]:
    """Return attackers that send these words and then wait until the server closes the connection."""

    async def hold() -> None:
        async with connected(port) as (reader, writer):
            writer.write(words)
            while await reader.read(65_536):
                pass

    return [hold] * count


def drips(port: int, words: bytes, drop: bytes, count: int, interval_s: float = 1.0) -> list[Attacker]:
    """Return attackers that send these words and then these bytes again and again."""

    async def drip() -> None:
        async with connected(port) as (reader, writer):
            writer.write(words)
            closed = asyncio.ensure_future(reader.read())
            while not (await asyncio.wait([closed], timeout=interval_s))[0]:
                writer.write(drop)

    return [drip] * count


def deaf(port: int, words: bytes, count: int) -> list[Attacker]:
    """Return attackers that send these words and never read an answer."""

    async def ignore() -> None:
        async with connected(port) as (reader, writer):
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            cast("asyncio.ReadTransport", writer.transport).pause_reading()
            writer.write(words)
            while not writer.is_closing():
                await asyncio.sleep(1.0)
                writer.write(words)
            del reader

    return [ignore] * count


def half_closed(port: int, words: bytes, count: int) -> list[Attacker]:
    """Return attackers that send these words and the end of their side, and then wait."""

    async def half_close() -> None:
        async with connected(port) as (reader, writer):
            writer.write(words)
            writer.write_eof()
            await reader.read()

    return [half_close] * count


def chunked_head(key: str) -> bytes:
    """Return the head of a request whose body comes in chunks."""
    return (
        f"POST {TEXT_RECOGNITION_PATH}?key={key} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


def long_header() -> bytes:
    """Return a valid JPEG of 9 MB, with 4,000 comments before its pixels."""
    whole = progressive_bomb(edge_px=200, scans=1)
    return whole[:2] + _segment(0xFE, bytes(2200)) * 4000 + whole[2:]


def body_fillers(port: int, key: str, sizes_bytes: Sequence[int] = FILL_BYTES) -> list[Attacker]:
    """Return attackers that send a body of these sizes each, but for its last byte."""

    def filler(size_bytes: int) -> Attacker:
        async def fill() -> None:
            async with connected(port) as (reader, writer):
                writer.write(request_head(key, size_bytes) + b" " * (size_bytes - 1))
                await reader.read()

        return fill

    return [filler(size_bytes) for size_bytes in sizes_bytes]


def callers(port: int, key: str, body: bytes, count: int) -> list[Attacker]:
    """Return attackers that send this request."""

    async def call() -> None:
        async with connected(port) as (reader, writer):
            writer.write(request_head(key, len(body)) + body)
            await reader.readline()

    return [call] * count


def request_head(key: str, body_bytes: int, headers: str = "") -> bytes:
    """Return the head of a request with this key and length."""
    path = f"{TEXT_RECOGNITION_PATH}?key={key}"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {body_bytes}\r\n\r\n".encode()


def image_request(image: bytes, media_type: str = "image/jpeg") -> bytes:
    """Return the body of a request with this image."""
    url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    return orjson.dumps({"document": {"type": "image_url", "image_url": url}})


def url_request(url: str) -> bytes:
    """Return the body of a request that names an image by URL."""
    return orjson.dumps({"document": {"type": "image_url", "image_url": url}})


@asynccontextmanager
async def dripping_host(host: str = "127.0.0.2", image: bytes = b"") -> AsyncIterator[int]:
    """Serve `/image` at once, and any other path too slowly: the headers, the first byte, or one byte every 200 ms.

    Yields:
        The port.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):  # else asyncio's callback raises it
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /silent "):
                await reader.read()
            if head.startswith(b"GET /redirect "):
                await asyncio.sleep(1.0)
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /redirect\r\nContent-Length: 0\r\n\r\n")
                await reader.read()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n")
            if head.startswith(b"GET /image "):
                writer.write(b"Content-Length: %d\r\n\r\n" % len(image) + image)
            else:
                writer.write(b"X-Long: " if head.startswith(b"GET /slow-head ") else b"Content-Length: 1000000\r\n\r\n")
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.2)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def progressive_bomb(edge_px: int = 4000, scans: int = 30_000) -> bytes:
    """Return a valid progressive JPEG of grey whose scans take a millisecond each; 31 bytes per scan."""
    blocks = ((edge_px + 7) // 8) ** 2
    tables = _segment(0xDB, b"\0" + b"\1" * 64) + _segment(0xC4, b"\0\1" + bytes(15) + b"\0")
    tables += _segment(
        0xC4, b"\x10\1\1" + bytes(14) + b"\xe0\0"
    )  # codes: 0 is a run of 2^14 blocks or more, 10 one block
    frame = _segment(0xC2, struct.pack(">BHHBBBB", 8, edge_px, edge_px, 1, 1, 0x11, 0))
    first = _segment(0xDA, b"\1\1\0\0\0\0") + bytes((blocks + 7) // 8)
    runs, left = "", blocks
    while left >= 1 << 14:
        run = min(left, (1 << 15) - 1)
        runs += f"0{run - (1 << 14):014b}"
        left -= run
    runs += "10" * min(left, 8)
    runs += "1" * (-len(runs) % 8)
    packed = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + tables + frame + first + (_segment(0xDA, b"\1\1\0\1\x3f\0") + packed) * scans + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
