"""HTTP as aiohttp speaks it; what never reaches a handler is answered in the contract's form, too."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pipeline.server.http.answers import dress, error_response

HEADERS_DEADLINE_S: Final = 60.0
"""From the connection, or the reply before, to the end of a request's headers. aiohttp calls it the keep-alive timeout,
has no other deadline for headers, and would let an hour pass."""

LINGER_S: Final = 5.0
"""How long the rest of a refused body is read and thrown away: who is reset while sending sees no reply."""

ANSWER_S: Final = 2.0
"""How long answers that are made may take to go out at the end."""
http_logger = logging.getLogger(__name__)
"""For aiohttp's own messages."""
UNREAD_DEADLINE_S: Final = 60.0
"""How long a client may take in nothing of its reply."""
CONNECTIONS_AT_MOST: Final = 512
"""Most systems let a process have 1,024 files open."""


class _KeylessFilter(logging.Filter):
    """Takes the traceback off what aiohttp logs: for a malformed request it quotes the URL, and the key with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = "%s (%s)", (record.getMessage(), record.exc_info[0].__name__)
        record.exc_info = None
        return True


http_logger.addFilter(_KeylessFilter())


class Runner(web.AppRunner):
    """Runs an application.

    Args:
        app: The application.
        malformed: Told the status of each answer to what is no HTTP, which no middleware sees.
        headers_deadline_s: See `HEADERS_DEADLINE_S`.
        linger_s: See `LINGER_S`.
        answer_s: See `ANSWER_S`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        malformed: Callable[[int], None],
        headers_deadline_s: float = HEADERS_DEADLINE_S,
        linger_s: float = LINGER_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._malformed = malformed
        super().__init__(
            app,
            access_log=None,  # its lines would hold the key; `observe` writes ours
            logger=http_logger,
            handler_cancellation=True,
            shutdown_timeout=answer_s,
            keepalive_timeout=headers_deadline_s,
            lingering_time=linger_s,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)
        server.malformed = self._malformed
        return server


class _Server(web.Server):
    malformed: Callable[[int], None]

    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.malformed = self.malformed
        return connection


class _Connection(RequestHandler):
    __slots__ = ("malformed",)
    malformed: Callable[[int], None]

    def data_received(self, data: bytes) -> None:
        """Take what came. When it is no HTTP, the body that a handler waits for ends, too; aiohttp lets it wait."""
        super().data_received(data)
        request = self._current_request
        is_broken = bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)
        if is_broken and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("the body breaks off"))
            request.content.feed_eof()  # nothing is left to be thrown away
            self.close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and end the connection."""
        super().handle_error(request, status, exc, message)  # writes the log
        response = error_response(exc)
        dress(response)  # no signal is sent for what has no route
        response.force_close()
        if isinstance(exc, HttpProcessingError):  # else a request went wrong outside the middlewares
            self.malformed(response.status)
        return response

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; a refusal of aiohttp's own gets our body."""
        ours = error_response(resp) if isinstance(resp, web.HTTPException) else resp
        return await super().finish_response(request, ours, start_time)


def limit_unread(listener: socket.socket, deadline_s: float = UNREAD_DEADLINE_S) -> None:
    """Let the kernel drop the connections of a listening socket whose peer stops reading; on Linux."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, round(deadline_s * 1000))


class BoundedSite(web.SockSite):
    """Listens, and hangs up on connections beyond a number.

    Args:
        runner: Its server answers; it was set up.
        listener: It was bound.
        connections: How many may be open; of those that arrive in the same moment a few more.
    """

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, *, connections: int = CONNECTIONS_AT_MOST
    ) -> None:
        super().__init__(runner, listener)
        self._connections = connections

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None

        def accept() -> asyncio.Protocol:
            return server() if len(server.connections) < self._connections else _Refusal()

        self._server = await asyncio.get_running_loop().create_server(accept, sock=self._sock, backlog=self._backlog)


class _Refusal(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
