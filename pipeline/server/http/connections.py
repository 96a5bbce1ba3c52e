"""HTTP connections on top of aiohttp: timeouts, a bound on their number, and replies to malformed requests."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pipeline.server.http.responses import error_response, set_default_headers

HEADERS_TIMEOUT_S: Final = 60.0
"""From the connection's start, or the previous response, to the end of a request's headers. aiohttp calls this the
keep-alive timeout; its default is one hour, and it has no other timeout for headers."""

LINGER_S: Final = 5.0
"""How long the rest of a rejected body is read and discarded: a client whose connection is reset while it sends does
not see the response."""

FLUSH_S: Final = 2.0
"""How long finished responses may take to be sent at shutdown."""

SEND_TIMEOUT_S: Final = 60.0
"""How long a client may acknowledge no data of its response."""

MAX_CONNECTIONS: Final = 512
"""Most systems allow a process 1,024 open files."""

http_logger = logging.getLogger(__name__)
"""Receives aiohttp's own messages."""


class _KeylessFilter(logging.Filter):
    """Removes the traceback from aiohttp's log records: for a malformed request it quotes the URL with its key."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = "%s (%s)", (record.getMessage(), record.exc_info[0].__name__)
        record.exc_info = None
        return True


http_logger.addFilter(_KeylessFilter())


class Runner(web.AppRunner):
    """Runs an application with this module's connections.

    Args:
        app: The application.
        on_malformed: Called with the status of each response to a malformed request, which no middleware sees.
        headers_timeout_s: See `HEADERS_TIMEOUT_S`.
        linger_s: See `LINGER_S`.
        flush_s: See `FLUSH_S`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        on_malformed: Callable[[int], None],
        headers_timeout_s: float = HEADERS_TIMEOUT_S,
        linger_s: float = LINGER_S,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._on_malformed = on_malformed
        super().__init__(
            app,
            access_log=None,  # aiohttp's lines hold the query and so the key; `record_requests` writes the access log
            logger=http_logger,
            handler_cancellation=True,
            shutdown_timeout=flush_s,
            keepalive_timeout=headers_timeout_s,
            lingering_time=linger_s,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)
        server.on_malformed = self._on_malformed
        return server


class _Server(web.Server):
    on_malformed: Callable[[int], None]

    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.on_malformed = self.on_malformed
        return connection


class _Connection(RequestHandler):
    __slots__ = ("on_malformed",)
    on_malformed: Callable[[int], None]

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; end the body of the current request when malformed bytes follow.

        aiohttp lets the handler wait for the rest of that body.
        """
        super().data_received(data)
        request = self._current_request
        is_malformed = bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)
        if is_malformed and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("the body breaks off"))
            request.content.feed_eof()  # leaves nothing for aiohttp to linger on
            self.close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a malformed request with the contract's error reply, and close the connection."""
        super().handle_error(request, status, exc, message)  # writes the log
        response = error_response(exc)
        set_default_headers(response)  # aiohttp sends no `on_response_prepare` signal for a request without a route
        response.force_close()
        if isinstance(exc, HttpProcessingError):  # else a well-formed request failed outside the middlewares
            self.on_malformed(response.status)
        return response

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; an error response of aiohttp's own gets the contract's body."""
        ours = error_response(resp) if isinstance(resp, web.HTTPException) else resp
        return await super().finish_response(request, ours, start_time)


class BoundedSite(web.SockSite):
    """Listens, and closes connections beyond a maximum number at once.

    Args:
        runner: The runner that serves the connections, set up.
        listener: A bound socket.
        max_connections: Open connections; a few more when several arrive in the same moment.
    """

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, *, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        super().__init__(runner, listener)
        self._max_connections = max_connections

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None

        def accept() -> asyncio.Protocol:
            return server() if len(server.connections) < self._max_connections else _ClosingProtocol()

        self._server = await asyncio.get_running_loop().create_server(accept, sock=self._sock, backlog=self._backlog)


class _ClosingProtocol(asyncio.Protocol):
    """Closes its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def set_send_timeout(listener: socket.socket, timeout_s: float = SEND_TIMEOUT_S) -> None:
    """Let the kernel drop the connections of a listening socket whose client stops reading; on Linux only."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, round(timeout_s * 1000))
