"""Requests in flight, and how a shutdown lets them finish."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from aiohttp import web

from pipeline.server.http.admission import RETRY_AFTER_S
from pipeline.server.http.requests import RequestError


class InFlightRequests:
    """Tracks the requests whose headers have arrived and whose response has not been returned.

    aiohttp's own shutdown stops reading from all connections, so that a body in transit never arrives, and closes the
    connection of a request that takes too long. This shutdown receives the body and sends a response in both cases.
    """

    def __init__(self) -> None:
        self._number = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._timeouts: set[asyncio.Timeout] = set()
        self._ends_at_s: float | None = None
        """On the event loop's clock; None until the shutdown begins."""

    def __repr__(self) -> str:
        return f"<InFlightRequests {self._number}{'' if self._ends_at_s is None else ', shutting down'}>"

    @contextmanager
    def track(self) -> Iterator[None]:
        """Count a request as in flight until the block ends."""
        self._number += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._number -= 1
            if not self._number:
                self._idle.set()

    @asynccontextmanager
    async def until_shutdown(self) -> AsyncGenerator[None]:
        """Run the block until the shutdown's timeout at the latest.

        Raises:
            RequestError: 429, the shutdown's timeout ended the block.
        """
        timeout = asyncio.timeout_at(self._ends_at_s)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                yield
        except TimeoutError as exc:
            if not timeout.expired():
                raise
            raise RequestError("Too Many Requests: the server is stopping", 429, retry_after_s=RETRY_AFTER_S) from exc
        finally:
            self._timeouts.discard(timeout)

    def close_connection_after(self, response: web.StreamResponse) -> None:
        """Make a response the last one of its connection if the shutdown has begun."""
        if self._ends_at_s is not None:
            response.force_close()

    async def shut_down(self, timeout_s: float) -> None:
        """Return when no request is in flight, or after the timeout, which also ends every `until_shutdown` block.

        From now on no connection carries a further request.
        """
        self._ends_at_s = asyncio.get_running_loop().time() + timeout_s
        for timeout in self._timeouts:
            timeout.reschedule(self._ends_at_s)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._ends_at_s):
                await self._idle.wait()
