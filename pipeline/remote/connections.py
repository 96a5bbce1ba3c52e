"""The client's connections: a stray reply does not become the next page's, and a refusal is heard.

Two gaps between sockets and HTTP libraries cost money here. A service that sends two replies to one request, or a
word too many, leaves it in an idle connection, where the next page would read it as its own. And a service that
refuses a page while that is still going out answers and hangs up, whereupon the next write fails and the answer,
which is there, would be dropped with the connection. (What comes in while the next reply is awaited, nobody can tell
from it.)
"""

import select
import socket
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace


class Connector(aiohttp.TCPConnector):
    """Connections that serve again only as long as their service is silent between two calls.

    Args:
        connections: How many may be open.
        keepalive_s: How long one is kept idle.
    """

    def __init__(self, *, connections: int, keepalive_s: float) -> None:
        super().__init__(limit=connections, keepalive_timeout=keepalive_s, socket_factory=_open_socket)
        self._served: WeakKeyDictionary[ResponseHandler, select.poll] = WeakKeyDictionary()
        """Connections that served a call, and what asks the kernel whether anything has come in since."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> "Connection":
        """Return a new connection, or an idle one on which nothing has come in."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            poll = self._served.get(protocol)
            if poll is None:  # TLS session tickets may be waiting in a new one
                self._served[protocol] = _watch(protocol)
                return connection
            if not protocol.should_close and not poll.poll(0):
                return connection
            connection.close()


class ReadingSocket(socket.socket):
    """A socket that the peer cannot hang up before its last words are read.

    A write that fails while an answer is waiting counts as done: nobody reads it any more, the event loop reads the
    answer next, and then finds the end. uvloop writes past this object: there, about one in ten such answers to a
    large page is still lost.
    """

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send, as `socket.send` does."""
        try:
            return super().send(data, flags)
        except (BrokenPipeError, ConnectionResetError):
            if not self._has_answer():
                raise
            return memoryview(data).nbytes

    def sendmsg(self, buffers: "Iterable[ReadableBuffer]", /, *rest: object) -> int:
        """Send several pieces, as asyncio does from Python 3.12 on."""
        del rest
        return self.send(b"".join(buffers))

    def _has_answer(self) -> bool:
        try:
            return bool(self.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def _open_socket(address: "AddrInfoType") -> socket.socket:
    family, kind, protocol, *_ = address
    return ReadingSocket(family, kind, protocol)


def _watch(protocol: "ResponseHandler") -> select.poll:
    """Return what tells of all that comes in or ends: what the kernel has and the event loop has not seen."""
    poll = select.poll()
    if protocol.transport is not None:
        poll.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
    return poll
