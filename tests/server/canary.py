"""A listener on this machine that nobody may find."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Canary:
    """Counts who comes.

    Attributes:
        port: On 127.0.0.1 and ::1.
    """

    def __init__(self) -> None:
        self.port = 0
        self._visitors: list[tuple[str, int]] = []
        self._heard = asyncio.Event()

    async def count_visits(self) -> int:
        """Return how often somebody else connected; a visit of our own shows that the others before it were heard."""
        for host in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(host, self.port)
            own = writer.get_extra_info("sockname")[:2]
            while own not in self._visitors:
                self._heard.clear()
                await self._heard.wait()
            self._visitors.remove(own)
            writer.close()
            await writer.wait_closed()
        return len(self._visitors)

    async def hear(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a visit, and hang up."""
        self._visitors.append(writer.get_extra_info("peername")[:2])
        self._heard.set()
        writer.close()


@asynccontextmanager
async def listening_canary(port: int = 0) -> AsyncIterator[Canary]:
    """Listen on both loopback addresses, on one port."""
    canary = Canary()
    async with AsyncExitStack() as stack:
        four = await stack.enter_async_context(await asyncio.start_server(canary.hear, "127.0.0.1", port))
        canary.port = four.sockets[0].getsockname()[1]
        await stack.enter_async_context(await asyncio.start_server(canary.hear, "::1", canary.port))
        yield canary
