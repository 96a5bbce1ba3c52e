"""The client's TCP connections: no page gets another page's reply, and an early error reply is read.

Two gaps between sockets and HTTP libraries would cost paid pages:

- A service that sends two replies to one request, or extra bytes behind a reply, leaves them in the idle connection,
  where the next call would read them as its own reply. `Connector` does not reuse such a connection. Bytes that arrive
  only after the next request was sent cannot be told from its reply.
- A service that answers with an error while the page is still being sent, and closes, makes the next write fail; the
  error reply, already received, would be dropped with the connection. `ReadingSocket` keeps it.
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
    """A connection pool that reuses a connection only if nothing arrived on it since the last reply.

    Args:
        connections: Most connections open at once.
        keepalive_s: Time after which an idle connection is closed.
    """

    def __init__(self, *, connections: int, keepalive_s: float) -> None:
        super().__init__(limit=connections, keepalive_timeout=keepalive_s, socket_factory=_open_socket)
        self._polls: WeakKeyDictionary[ResponseHandler, select.poll] = WeakKeyDictionary()
        """Per connection that has served a call: the poll object that asks the kernel for unread bytes."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> "Connection":
        """Return a new connection, or an idle one without unread bytes."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            poll = self._polls.get(protocol)
            if poll is None:  # a new connection is not polled: it may hold TLS session tickets
                self._polls[protocol] = _make_poll(protocol)
                return connection
            if not protocol.should_close and not poll.poll(0):
                return connection
            connection.close()


class ReadingSocket(socket.socket):
    """A socket whose received bytes are still read after the peer has closed it.

    A write that fails while received bytes are unread is reported as complete: the event loop then reads the reply,
    and after it the end of the connection. uvloop bypasses this class: with it about 10 % of such replies to large
    pages are lost.
    """

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send like `socket.send`; report all bytes as sent when the peer is gone and its reply is unread."""
        try:
            return super().send(data, flags)
        except (BrokenPipeError, ConnectionResetError):
            if not self._has_unread_bytes():
                raise
            return memoryview(data).nbytes

    def sendmsg(self, buffers: "Iterable[ReadableBuffer]", /, *rest: object) -> int:
        """Send several buffers; asyncio calls this from Python 3.12 on."""
        del rest
        return self.send(b"".join(buffers))

    def _has_unread_bytes(self) -> bool:
        try:
            return bool(self.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def _open_socket(address: "AddrInfoType") -> socket.socket:
    family, kind, protocol, *_ = address
    return ReadingSocket(family, kind, protocol)


def _make_poll(protocol: "ResponseHandler") -> select.poll:
    """Return a poll object that reports unread bytes or the end of the connection, before the event loop sees them."""
    poll = select.poll()
    if protocol.transport is not None:
        poll.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
    return poll
