"""A listening socket that strangers cannot keep busy: so many connections, none of a peer that does not read."""

import asyncio
import socket
from typing import Final

from aiohttp import web

UNREAD_DEADLINE_S: Final = 60.0
"""How long a client may take in nothing of its reply."""

CONNECTIONS_AT_MOST: Final = 512
"""Most systems let a process have 1,024 files open."""


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
