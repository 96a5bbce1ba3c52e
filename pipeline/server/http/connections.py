"""HTTP connections on top of aiohttp: timeouts, what each one waits for, and replies to malformed requests."""

import asyncio
import logging
import select
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pipeline.server.http.addresses import peer_group
from pipeline.server.http.eviction import BUSY_SHARE, OpenConnection, Stage, choose_evicted, find_overdue
from pipeline.server.http.responses import Handler, error_response, set_default_headers

MAX_CONNECTIONS: Final = 1024
"""Limit for open connections, where the system allows the process as many files; see `fit_descriptors`."""

EVICTED_PART: Final = 16
"""This part of the connections is closed at a time when it waits for nothing but headers: each choice looks at all
connections, which costs 3 ms."""

PIPELINE_PAUSE_S: Final = 2.0
"""How long a request of an unknown caller waits while others are queued behind it on its connection. Browsers and API
clients wait for each response; 600 connections with 50 requests each kept the event loop busy for 10 s."""

CHOICES: Final = 4
"""Choices of connections to close, until one of them is silent also by what the system has received."""

REJECTION_PAUSE_S: Final = 2.0
"""How long the rejection of an unknown caller, or of what is not HTTP, waits while the server is busy: a connection
that is closed at once is made again at once, at the cost of half a millisecond."""

PROGRESS_BYTES: Final = 16 * 1024
"""A body that receives less than this in `SLOW_S` is slow."""

IS_REJECTED: Final = web.RequestKey("is_rejected", bool)
"""Stored in a request whose caller was refused and whose response is delayed."""

SHARE: Final = web.RequestKey("share", str)
"""Whose share of the server a request uses: the name of a key, or of an anonymous caller with the address."""

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


class Server(web.Server):
    """The open connections, and which of them are closed when there are too many.

    Attributes:
        on_malformed: Called with the status of each response to a malformed request, which no middleware sees.
        max_connections: Open connections; a few more for a moment.
        on_evicted: Called with a number of connections that were closed to make room, or because they are overdue.
    """

    on_malformed: Callable[[int], None]
    max_connections: int
    on_evicted: Callable[[int], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(*arguments, **options)
        self._open: dict[_Connection, None] = {}
        """The open connections, the oldest first."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.on_malformed = self.on_malformed
        return connection

    @property
    def is_busy(self) -> bool:
        """Whether so many connections are open that headers have a short deadline."""
        return len(self._open) >= BUSY_SHARE * self.max_connections

    def add(self, new: "_Connection") -> None:
        """Add a connection; beyond the maximum close one that is worth less, or this one if all others are in use."""
        others = list(self._open)
        self._open[new] = None
        if len(others) >= self.max_connections:
            self._evict(self._choose(others) or [new])

    def remove(self, connection: "_Connection") -> None:
        """Forget a connection that was closed."""
        self._open.pop(connection, None)

    def close_overdue(self) -> None:
        """Close the connections whose headers take too long while the server is busy."""
        connections = list(self._open)
        described = [connection.describe() for connection in connections]
        overdue = find_overdue(described, self._loop.time(), self.max_connections)
        self._evict([connections[index] for index in overdue])

    def _choose(self, connections: Sequence["_Connection"]) -> list["_Connection"]:
        """Return the connections to close; where there are some, those whose clients have sent nothing unread."""
        count = max(1, self.max_connections // EVICTED_PART)
        first: list[_Connection] = []
        for _ in range(CHOICES):
            described = [connection.describe() for connection in connections]
            chosen = [connections[index] for index in choose_evicted(described, self._loop.time(), count)]
            silent = [connection for connection in chosen if not connection.find_unread_data()]
            if silent:
                return silent
            first = first or chosen
        return first

    def _evict(self, connections: Sequence["_Connection"]) -> None:
        for connection in connections:
            connection.abort()
        self.on_evicted(len(connections))


@web.middleware
async def delay_unknown_callers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Delay pipelined requests of unknown callers and, while the server is busy, their rejection."""
    connection = request.protocol
    assert isinstance(connection, _Connection)
    if connection.is_pipelining:
        await asyncio.sleep(PIPELINE_PAUSE_S)
    response = await handler(request)
    if response.status == 401:
        await connection.delay_rejection(request)
    return response


class _Connection(RequestHandler):
    __slots__ = (
        "_group",
        "_has_unread_data",
        "_is_known",
        "_is_responding",
        "_lingers",
        "_received_bytes",
        "_since_s",
        "on_malformed",
    )
    on_malformed: Callable[[int], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(*arguments, **options)
        self._group = ""
        self._has_unread_data = False
        self._is_known = False
        self._is_responding = False
        self._lingers = False
        self._received_bytes = 0
        self._since_s = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._group = peer_group(peer[0] if isinstance(peer, tuple) else "")
        assert isinstance(self._manager, Server)
        self._manager.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the work for the request in progress."""
        self._forget()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once, whatever is in its buffers."""
        self._forget()
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    @property
    def is_pipelining(self) -> bool:
        """Whether an unknown caller has sent further requests behind the current one."""
        return bool(self._messages) and not self._is_known

    async def delay_rejection(self, request: BaseRequest) -> None:
        """Return after a pause while the server is busy; meanwhile the connection makes room for others."""
        if isinstance(self._manager, Server) and self._manager.is_busy:
            request[IS_REJECTED] = True
            await asyncio.sleep(REJECTION_PAUSE_S)

    def find_unread_data(self) -> bool:
        """Return whether the client has sent what this process has not read yet; it is then not closed before that."""
        if self._stage() not in {Stage.HEADERS, Stage.IDLE, Stage.BODY} or self.transport is None:
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._has_unread_data = bool(poll.poll(0))
        return self._has_unread_data

    def describe(self) -> OpenConnection:
        """Return what the connection waits for, and for whom."""
        request = self._current_request
        group, is_known = self._group, self._is_known
        if request is not None and (caller := request.get(SHARE)) is not None:
            group, is_known = caller, True
        return OpenConnection(group, is_known, self._stage(), self._since_s)

    def _stage(self) -> Stage:
        request = self._current_request
        if self._has_unread_data:
            stage = Stage.WORKING
        elif len(self._messages) + (request is not None) > 1:
            stage = Stage.PIPELINED
        elif request is not None:
            is_waiting = not request.content.is_eof()
            stage = Stage.REJECTED if IS_REJECTED in request else Stage.BODY if is_waiting else Stage.WORKING
        elif self._is_responding:
            stage = Stage.RESPONSE
        elif self._messages or (self._waiter is None and self._request_count):  # between two steps of aiohttp
            stage = Stage.REJECTED if self._lingers else Stage.WORKING
        else:
            stage = Stage.HEADERS if self._received_bytes or not self._request_count else Stage.IDLE
        return stage

    def _forget(self) -> None:
        if isinstance(self._manager, Server):  # None after the connection is lost
            self._manager.remove(self)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; end the body of the current request when malformed bytes follow.

        aiohttp lets the handler wait for the rest of that body.
        """
        self._has_unread_data = False
        requests = self._request_count
        super().data_received(data)
        self._lingers = self._lingers and self._request_count == requests
        self._note_progress(len(data), is_request=self._request_count > requests)
        request = self._current_request
        is_malformed = bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)
        if is_malformed and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("the body breaks off"))
            request.content.feed_eof()  # leaves nothing for aiohttp to linger on
            self.close()

    def _note_progress(self, received_bytes: int, *, is_request: bool) -> None:
        """Note when a stage begins, and when a body makes progress; header bytes after the first are no progress."""
        is_body = self._current_request is not None
        begins = not self._received_bytes and (not is_body and self._request_count > 0)
        self._received_bytes += received_bytes
        if is_request or (is_body and self._received_bytes >= PROGRESS_BYTES):
            self._received_bytes = 0
            self._since_s = self._loop.time()
        elif begins:
            self._since_s = self._loop.time()

    def _make_error_handler(self, error: Any) -> Callable[[BaseRequest], Awaitable[web.StreamResponse]]:  # noqa: ANN401
        """Return the handler that answers a malformed request."""
        handler = super()._make_error_handler(error)

        async def handle(request: BaseRequest) -> web.StreamResponse:
            await self.delay_rejection(request)
            return await handler(request)

        return handle

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
        if (caller := request.get(SHARE)) is not None:
            self._group, self._is_known = caller, True
        self._lingers = not request.content.is_eof()
        self._is_responding, self._since_s = True, self._loop.time()
        try:
            return await super().finish_response(request, ours, start_time)
        finally:
            self._is_responding, self._since_s, self._received_bytes = False, self._loop.time(), 0
