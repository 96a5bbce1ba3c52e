"""A listener on loopback that no fetched URL may reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Canary:
    """Counts connections.

    Attributes:
        port: On 127.0.0.1 and ::1.
    """

    def __init__(self) -> None:
        self.port = 0
        self._visitors: list[tuple[str, int]] = []
        self._accepted = asyncio.Event()

    async def count_visits(self) -> int:
        """Return the number of connections; two of its own, made last, show that all earlier ones were counted."""
        for host in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(host, self.port)
            own = writer.get_extra_info("sockname")[:2]
            while own not in self._visitors:
                self._accepted.clear()
                await self._accepted.wait()
            self._visitors.remove(own)
            writer.close()
            await writer.wait_closed()
        return len(self._visitors)

    async def accept(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a connection and close it."""
        self._visitors.append(writer.get_extra_info("peername")[:2])
        self._accepted.set()
        writer.close()


@asynccontextmanager
async def listening_canary(port: int = 0) -> AsyncIterator[Canary]:
    """Listen on both loopback addresses, on one port."""
    canary = Canary()
    async with AsyncExitStack() as stack:
        four = await stack.enter_async_context(await asyncio.start_server(canary.accept, "127.0.0.1", port))
        canary.port = four.sockets[0].getsockname()[1]
        await stack.enter_async_context(await asyncio.start_server(canary.accept, "::1", canary.port))
        yield canary
