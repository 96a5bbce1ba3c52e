"""The requests under way, and their orderly end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import web


class Traffic:
    """Counts the requests whose headers have arrived and whose answers are not made.

    aiohttp's own shutdown reads no more bytes from any connection, so that a body which is still on its way never
    arrives. This lets it arrive.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_ending = False

    def __repr__(self) -> str:
        return f"<Traffic {self._under_way} under way{', ending' if self._is_ending else ''}>"

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request until the block ends."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def close_behind(self, response: web.StreamResponse) -> None:
        """Let a response be its connection's last when the end has come."""
        if self._is_ending:
            response.force_close()

    async def end(self, deadline_s: float) -> None:
        """Return when nothing is under way, or after the deadline. No connection carries a further request."""
        self._is_ending = True
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
