"""The client's TCP connections: no page gets another page's reply, and what has arrived is read.

Four gaps between sockets and HTTP libraries would cost paid pages:

- A service that sends two replies to one request, or extra bytes behind a reply, leaves them in the idle connection,
  where the next call would read them as its own reply. `Connector` does not reuse such a connection. Bytes that arrive
  only after the next request was sent cannot be told from its reply.
- A service that answers with an error while the page is still being sent, and closes, makes the next write fail; the
  error reply, already received, would be dropped with the connection. `ReadingSocket` keeps it.
- A machine that was cut off keeps what it has sent in the kernel, and delivers it when the network is back, long after
  others took the run for dead: a call that is billed and whose reply nobody reads. `unacknowledged_s` bounds that.
- A process that was stopped finds its timers expired and the replies unread. `PatientHandler` reads first.
"""

import asyncio
import select
import socket
import ssl
import struct
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler

from pipeline.remote.deadlines import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace


_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for 0 s: closing discards what was not delivered and resets the connection."""

connected_at: ContextVar[float | None] = ContextVar("connected_at", default=None)
"""In the task of a call: when its new connection was opened, on the event loop's clock; None for a used connection."""


class PatientHandler(ResponseHandler):
    """aiohttp's protocol of a connection, whose read timeout is judged only after what has arrived is read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._deadline = Deadline(loop, self._on_read_timeout)

    def _reschedule_timeout(self) -> None:
        if self._read_timeout:
            self._deadline.start(self._read_timeout)
        else:
            self._deadline.stop()

    def _drop_timeout(self) -> None:
        self._deadline.stop()


class Connector(aiohttp.TCPConnector):
    """A connection pool that reuses a connection only if nothing arrived on it since the last reply.

    Args:
        connections: Most connections open at once.
        keepalive_s: Time after which an idle connection is closed.
        is_tls: The service is called with https; certificates are checked against the authorities that OpenSSL's
            defaults or SSL_CERT_FILE name now, not when aiohttp was imported.
        unacknowledged_s: A connection whose data the peer has not acknowledged for this long is dropped, and what a
            closed connection has not delivered is never delivered; None leaves both to the system.
    """

    def __init__(
        self,
        *,
        connections: int,
        keepalive_s: float,
        is_tls: bool = False,
        unacknowledged_s: float | None = None,
    ) -> None:
        super().__init__(
            limit=connections,
            keepalive_timeout=keepalive_s,
            socket_factory=partial(_open_socket, unacknowledged_s=unacknowledged_s),
            ssl=ssl.create_default_context() if is_tls else True,
        )
        self._factory = cast("partial[ResponseHandler]", partial(PatientHandler, loop=self._loop))
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
                connected_at.set(self._loop.time())
                return connection
            if not protocol.should_close and not poll.poll(0):
                connected_at.set(None)
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


def _open_socket(address: "AddrInfoType", unacknowledged_s: float | None = None) -> socket.socket:
    family, kind, protocol, *_ = address
    opened = ReadingSocket(family, kind, protocol)
    if unacknowledged_s is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:  # Linux; RFC 5482
            opened.setsockopt(socket.IPPROTO_TCP, option, int(unacknowledged_s * 1000))
    return opened


def _make_poll(protocol: "ResponseHandler") -> select.poll:
    """Return a poll object that reports unread bytes or the end of the connection, before the event loop sees them."""
    poll = select.poll()
    if protocol.transport is not None:
        poll.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
    return poll
