"""How much the server takes on at once: beyond that it says so at once, and its memory stays bounded."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pipeline.server.http.requests import RequestError

PLACES_PER_WORKER: Final = 16
"""Requests that wait for, or have, one worker. At five seconds a page the last one waits for 80 s, less than the pool
lets a page wait; behind the densest, which take 25, it is refused then."""

BODIES_MAX_BYTES: Final = 128 * 1024 * 1024
"""Of all requests together: nine of the largest, or four hundred common scans."""

RETRY_AFTER_S: Final = 5
"""About what a page takes: by then a place is free."""


@dataclass(frozen=True, slots=True)
class LoadStatistics:
    """What the server has taken on.

    Attributes:
        places: Requests that wait for the engine or are being read by it.
        body_bytes: What the bodies of all requests hold.
        shed: Requests that were refused so far.
    """

    places: int
    body_bytes: int
    shed: int


class Load:
    """Counts what is under way, and refuses what would be too much.

    Args:
        places: Requests that may wait for the engine, or be read by it, at a time.
        bodies_max_bytes: What the bodies of all requests may hold together.
    """

    def __init__(self, places: int = PLACES_PER_WORKER, *, bodies_max_bytes: int = BODIES_MAX_BYTES) -> None:
        self._places = places
        self._bodies_max_bytes = bodies_max_bytes
        self._taken = 0
        self._body_bytes = 0
        self._shed = 0

    def __repr__(self) -> str:
        return f"<Load {self._taken} of {self._places} places, {self._body_bytes} body bytes>"

    def statistics(self) -> LoadStatistics:
        """Return what is under way."""
        return LoadStatistics(self._taken, self._body_bytes, self._shed)

    def check(self) -> None:
        """Return when the engine takes another request.

        Raises:
            RequestError: 429, too many wait for it.
        """
        if self._taken >= self._places:
            raise self._shed_one()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the engine's queue.

        Raises:
            RequestError: 429, there is none.
        """
        self.check()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Account for what a request holds until the block ends.

        Yields:
            Holds so many bytes more, or raises RequestError (429): all requests together hold too many. Bytes count
            as they arrive, so a caller who sends slowly takes no room in advance.
        """
        held_bytes = 0

        def hold(count: int) -> None:
            nonlocal held_bytes
            if self._body_bytes + count > self._bodies_max_bytes:
                raise self._shed_one()
            self._body_bytes += count
            held_bytes += count

        try:
            yield hold
        finally:
            self._body_bytes -= held_bytes

    def _shed_one(self) -> RequestError:
        self._shed += 1
        return RequestError("Too Many Requests: the server is busy", 429, retry_after_s=RETRY_AFTER_S)


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
