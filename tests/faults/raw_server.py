"""A server that speaks bytes: it reads requests as it should and answers them in any way there is."""

import asyncio
import base64
import hashlib
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time at all: closing sends a reset."""


@dataclass(slots=True)
class Exchange:
    """One request on its connection, and the means to answer it well or badly.

    Attributes:
        server: Which server it reached.
        head: Its request line and headers.
        number: From 1, over all connections.
        body: Its body, once it has been read.
        digest: The sha256 of the image in it.
        filename: The name that came with the image.
        breakage: How it is answered.
    """

    server: "RawServer" = field(repr=False)
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    head: bytes
    number: int
    body: bytes = field(default=b"", repr=False)
    digest: str = ""
    filename: str = ""
    breakage: str = ""

    @property
    def length_bytes(self) -> int:
        """The length of its body, as its head says; the client sends no chunks."""
        lines = (line.partition(b":") for line in self.head.lower().split(b"\r\n"))
        return next(int(value) for name, _, value in lines if name == b"content-length")

    async def read(self) -> None:
        """Read the body."""
        self.body = await self.reader.readexactly(self.length_bytes)
        request = json.loads(self.body)
        url = request["document"]["image_url"]
        self.digest = hashlib.sha256(base64.b64decode(url.partition(";base64,")[2])).hexdigest()
        self.filename = request["filename"]

    def text(self, **fields: Any) -> bytes:
        """Return the JSON of a good reply, with other fields where they are named."""
        good = {"id": f"doc-{self.number}", "content": f"text of {self.digest[:12]}", "timestamp": 1640995200000}
        echo = {"filename": self.filename, "format": "text", "payload": self.head.split(b" ", 2)[1].decode()}
        return json.dumps({**good, **echo, **fields}).encode()

    def good(self, *headers: str) -> bytes:
        """Return a good reply with further headers."""
        return response(self.text(), "200 OK", *headers)

    def chunked(self, form: bytes) -> bytes:
        """Return a chunked reply; the form has places for the size in hex and the data."""
        text = self.text()
        return head("Transfer-Encoding: chunked") + form % (len(text), text)

    def packed(self, encoding: str, pack: Callable[[bytes], bytes]) -> bytes:
        """Return a good reply, packed, under the name of that encoding."""
        return response(pack(self.text()), "200 OK", f"Content-Encoding: {encoding}")

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection by a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing more until the client hangs up."""
        while await self.reader.read(1 << 16):
            pass


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to answer.

    Attributes:
        name: What it is called.
        act: Does it; an open connection serves the next request.
        early: It is done before the body is read.
        worked: The service did its work, so it may bill it.
    """

    name: str
    act: Act
    early: bool = False
    worked: bool = True


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole HTTP response."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def head(*headers: str, status: str = "200 OK") -> bytes:
    """Return a head without a body."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


async def _answer_well(exchange: Exchange) -> None:
    await exchange.send(exchange.good())


WELL: Final = Way("well", _answer_well)


class RawServer:
    """The server's script and memory.

    Attributes:
        choose: Says how the request with that number is answered.
        poison: How a page is answered that is not smaller than `poisoned_from_bytes`, whatever is chosen.
        exchanges: All requests whose head arrived.
        billed: How often the service did its work, by digest.
        connections: How many were opened.
        elsewhere: Where it redirects to.
        keepalive_s: How long it keeps a connection that has served; then it closes without a word.
    """

    def __init__(self, choose: Callable[[int], Way]) -> None:
        self.choose = choose
        self.elsewhere = ""
        self.keepalive_s: float | None = None
        self.poison = WELL
        self.poisoned_from_bytes = sys.maxsize
        self.exchanges: list[Exchange] = []
        self.billed: Counter[str] = Counter()
        self.connections = 0
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def end(self) -> None:
        """End all connections; an error of the server's own ends the test."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            patience_s = None
            while not writer.is_closing():
                async with asyncio.timeout(patience_s):
                    head = await reader.readuntil(b"\r\n\r\n")
                exchange = Exchange(self, reader, writer, head, len(self.exchanges) + 1)
                self.exchanges.append(exchange)
                await self._answer(exchange)
                patience_s = self.keepalive_s
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        is_poisoned = exchange.length_bytes >= self.poisoned_from_bytes
        way = self.poison if is_poisoned else self.choose(exchange.number)
        exchange.breakage = way.name
        if not way.early:
            await exchange.read()
        if way.worked and not way.early:
            self.billed[exchange.digest] += 1
        await way.act(exchange)


@asynccontextmanager
async def serve_raw(choose: Callable[[int], Way] = lambda _: WELL) -> AsyncGenerator[RawServer]:
    """Run the server on a free loopback port."""
    raw = RawServer(choose)
    server = await asyncio.start_server(raw.accept, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        await raw.end()
        await server.wait_closed()
