"""The requests under way, and their orderly end."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from aiohttp import web

from pipeline.server.http.load import RETRY_AFTER_S
from pipeline.server.http.requests import RequestError


class Traffic:
    """Counts the requests whose headers have arrived and whose answers are not made.

    aiohttp's own shutdown reads no more bytes from any connection, so that a body which is still on its way never
    arrives, and hangs up on requests that take too long. This lets the one arrive, and the others have an answer.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._limits: set[asyncio.Timeout] = set()
        self._ends_at_s: float | None = None
        """On the event loop's clock; None while nobody has asked for the end."""

    def __repr__(self) -> str:
        return f"<Traffic {self._under_way} under way{'' if self._ends_at_s is None else ', ending'}>"

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

    @asynccontextmanager
    async def limit(self) -> AsyncGenerator[None]:
        """Let the block's work go on for as long as the server does.

        Raises:
            RequestError: 429, the server ends before the work does.
        """
        limit = asyncio.timeout_at(self._ends_at_s)
        self._limits.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise RequestError("Too Many Requests: the server is stopping", 429, retry_after_s=RETRY_AFTER_S) from exc
        finally:
            self._limits.discard(limit)

    def close_behind(self, response: web.StreamResponse) -> None:
        """Let a response be its connection's last when the end has come."""
        if self._ends_at_s is not None:
            response.force_close()

    async def end(self, deadline_s: float) -> None:
        """Return when nothing is under way, or after the deadline, which ends what is limited, too.

        No connection carries a further request.
        """
        self._ends_at_s = asyncio.get_running_loop().time() + deadline_s
        for limit in self._limits:
            limit.reschedule(self._ends_at_s)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._ends_at_s):
                await self._idle.wait()
