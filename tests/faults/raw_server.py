"""A server below HTTP: it reads requests as HTTP demands, and answers them with any bytes, endings and delays."""

import asyncio
import base64
import hashlib
import json
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on with a timeout of 0 s: closing the socket sends a RST."""


@dataclass(slots=True)
class Exchange:
    """One request on its connection, and the means to answer it correctly or not.

    Attributes:
        server: The server that received it.
        reader: The connection's incoming side.
        writer: The connection's outgoing side.
        head: Request line and headers.
        number: 1-based, over all connections.
        body: The request's body, once `read` has returned.
        digest: The sha256 of the image in the body.
        filename: The `filename` in the body.
        behaviour: The name of the behaviour that answers the request.
    """

    server: "RawServer" = field(repr=False)
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    head: bytes
    number: int
    body: bytes = field(default=b"", repr=False)
    digest: str = ""
    filename: str = ""
    behaviour: str = ""

    @property
    def length_bytes(self) -> int:
        """The request's Content-Length; the client never sends chunks."""
        lines = (line.partition(b":") for line in self.head.lower().split(b"\r\n"))
        return next(int(value) for name, _, value in lines if name == b"content-length")

    async def read(self) -> None:
        """Read the body."""
        self.body = await self.reader.readexactly(self.length_bytes)
        request = json.loads(self.body)
        url = request["document"]["image_url"]
        self.digest = hashlib.sha256(base64.b64decode(url.partition(";base64,")[2])).hexdigest()
        self.filename = request["filename"]

    def json(self, **fields: Any) -> bytes:
        """Return the JSON of a valid reply, with the given fields replaced."""
        valid = {"id": f"doc-{self.number}", "content": f"text of {self.digest[:12]}", "timestamp": 1640995200000}
        echo = {"filename": self.filename, "format": "text", "payload": self.head.split(b" ", 2)[1].decode()}
        return json.dumps({**valid, **echo, **fields}).encode()

    def reply(self, *headers: str) -> bytes:
        """Return a valid reply with further headers."""
        return response(self.json(), "200 OK", *headers)

    def chunked_reply(self, template: bytes) -> bytes:
        """Return a chunked reply; the template has places for the chunk's size in hexadecimal and its data."""
        body = self.json()
        return head("Transfer-Encoding: chunked") + template % (len(body), body)

    def encoded_reply(self, encoding: str, encode: Callable[[bytes], bytes]) -> bytes:
        """Return a reply whose body is encoded, with that Content-Encoding."""
        return response(encode(self.json()), "200 OK", f"Content-Encoding: {encoding}")

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with a RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Send nothing more, and return when the client closes the connection."""
        while await self.reader.read(1 << 16):
            pass


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server answers a request.

    Attributes:
        name: Names it in test ids and tables.
        act: Sends the answer; a connection that it leaves open serves the next request.
        early: The server answers before it reads the body.
        worked: The service did its work, so it may bill the call.
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
    """Return the head of a response."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def send_and(ending: str, build: Callable[[Exchange], bytes]) -> Act:
    """Return an act that sends the built bytes and ends.

    Args:
        ending: "stay" (the connection serves the next request), "close", "reset" (RST) or "hang".
        build: Makes the bytes from the request.
    """

    async def act(exchange: Exchange) -> None:
        await exchange.send(build(exchange))
        match ending:
            case "close":
                exchange.writer.close()
            case "reset":
                exchange.reset()
            case "hang":
                await exchange.hang()
            case _:
                pass

    return act


GOOD: Final = Behaviour("good", send_and("stay", Exchange.reply))


class RawServer:
    """The server's script, and what it has received and billed.

    Attributes:
        choose: Returns the behaviour for the request with that number.
        large_behaviour: Answers every request whose body has at least `large_from_bytes`, whatever `choose` says.
        large_from_bytes: Smallest body answered by `large_behaviour`.
        exchanges: All requests whose head arrived.
        billed: Number of calls that the service worked on, by digest.
        connections: Number of connections opened.
        redirect_url: Base URL that redirects lead to.
        keepalive_s: Time after which an idle connection that has served a request is closed; None never closes it.
        url: The server's base URL.
        client_gone: Set when a write fails because the client has closed the connection.
    """

    def __init__(self, choose: Callable[[int], Behaviour]) -> None:
        self.choose = choose
        self.redirect_url = ""
        self.keepalive_s: float | None = None
        self.large_behaviour = GOOD
        self.large_from_bytes = sys.maxsize
        self.exchanges: list[Exchange] = []
        self.billed: Counter[str] = Counter()
        self.connections = 0
        self.url = ""
        self.client_gone = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection."""
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def end(self) -> None:
        """End all connections; raise if the server itself failed."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            timeout_s = None
            while not writer.is_closing():
                async with asyncio.timeout(timeout_s):
                    head = await reader.readuntil(b"\r\n\r\n")
                exchange = Exchange(self, reader, writer, head, len(self.exchanges) + 1)
                self.exchanges.append(exchange)
                await self._answer(exchange)
                timeout_s = self.keepalive_s
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        except ConnectionError:
            self.client_gone.set()
        except (asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        is_large = exchange.length_bytes >= self.large_from_bytes
        behaviour = self.large_behaviour if is_large else self.choose(exchange.number)
        exchange.behaviour = behaviour.name
        if not behaviour.early:
            await exchange.read()
        if behaviour.worked and not behaviour.early:
            self.billed[exchange.digest] += 1
        await behaviour.act(exchange)


@asynccontextmanager
async def serve_raw(choose: Callable[[int], Behaviour] = lambda _: GOOD) -> AsyncGenerator[RawServer]:
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


def serve_act(act: Act) -> AbstractAsyncContextManager[RawServer]:
    """Run a server that answers every request by this act."""
    behaviour = Behaviour("scripted", act)
    return serve_raw(lambda _: behaviour)


def serve_bytes(data: bytes, *, ending: str = "close") -> AbstractAsyncContextManager[RawServer]:
    """Run a server that answers every request with these bytes; the ending is that of `send_and`."""
    return serve_act(send_and(ending, lambda _: data))
