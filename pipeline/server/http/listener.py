"""Listening: aiohttp's runner with this package's connections, their timeouts, and the limits of the system."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp import web

from pipeline.server.http.connections import MAX_CONNECTIONS, Server, http_logger

SEND_TIMEOUT_S: Final = 60.0
"""How long a client may acknowledge no data of its response."""

HEADERS_TIMEOUT_S: Final = 60.0
"""From the connection's start, or the previous response, to the end of a request's headers. aiohttp calls this the
keep-alive timeout; its default is one hour, and it has no other timeout for headers."""

LINGER_S: Final = 5.0
"""How long the rest of a rejected body is read and discarded: a client whose connection is reset while it sends does
not see the response."""

FLUSH_S: Final = 2.0
"""How long finished responses may take to be sent at shutdown."""

RESERVED_DESCRIPTORS: Final = 256
"""Files that are no connections of callers: the key store, fetched URLs, pipes of workers, connections just closed."""

SWEEP_S: Final = 1.0
"""Interval at which overdue connections are looked for."""

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; the system's limit may be lower."""

ACCEPTED_AT_ONCE: Final = 16
"""Connections accepted before the event loop turns to other work."""


class Runner(web.AppRunner):
    """Runs an application with this module's connections.

    Args:
        app: The application.
        on_malformed: Called with the status of each response to a malformed request, which no middleware sees.
        max_connections: See `Server`.
        on_evicted: See `Server`.
        headers_timeout_s: See `HEADERS_TIMEOUT_S`.
        linger_s: See `LINGER_S`.
        flush_s: See `FLUSH_S`.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        on_malformed: Callable[[int], None],
        max_connections: int = MAX_CONNECTIONS,
        on_evicted: Callable[[int], None] = lambda _: None,
        headers_timeout_s: float = HEADERS_TIMEOUT_S,
        linger_s: float = LINGER_S,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._on_malformed = on_malformed
        self._max_connections = max_connections
        self._on_evicted = on_evicted
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
        server = Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)
        server.on_malformed = self._on_malformed
        server.max_connections, server.on_evicted = self._max_connections, self._on_evicted
        return server


class Site(web.SockSite):
    """Listens, and closes overdue connections while the server is busy.

    Args:
        runner: The runner that serves the connections, set up.
        listener: A bound socket.
    """

    def __init__(self, runner: Runner, listener: socket.socket) -> None:
        super().__init__(runner, listener)
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert isinstance(server, Server)
        loop = asyncio.get_running_loop()

        def sweep() -> None:
            if server.is_busy:
                server.close_overdue()
            self._sweep = loop.call_later(SWEEP_S, sweep)

        self._server = await loop.create_server(server, sock=self._sock, backlog=ACCEPTED_AT_ONCE)
        self._sock.listen(BACKLOG)
        sweep()

    async def stop(self) -> None:
        """Stop listening."""
        if self._sweep is not None:
            self._sweep.cancel()
        await super().stop()


def set_send_timeout(listener: socket.socket, timeout_s: float = SEND_TIMEOUT_S) -> None:
    """Let the kernel drop the connections of a listening socket whose client stops reading; on Linux only."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, round(timeout_s * 1000))


def fit_descriptors(max_connections: int = MAX_CONNECTIONS) -> int:
    """Let this process open the files that a number of connections needs; return how many connections it may have."""
    if sys.platform == "win32":
        return max_connections
    import resource  # noqa: PLC0415 - POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max_connections
    return max(1, soft - min(RESERVED_DESCRIPTORS, soft // 2))
