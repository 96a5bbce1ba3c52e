"""Admission control: bounds queued requests, fetches and buffered bytes; shares them among callers; sheds with 429."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from pipeline.server.http.eviction import SLOW_S
from pipeline.server.http.requests import RequestError
from pipeline.server.http.sharing import Holding, choose_to_give_way

QUEUE_SLOTS_PER_WORKER: Final = 16
"""Requests that may wait for one worker or be read by it. At 5 s per page the last one waits 80 s, less than the pool's
limit for a waiting page; behind pages of 25 s, the densest, the pool's limit ends its wait."""

OTHERS_PART: Final = 8
"""This part of the queue's slots is never taken by one caller alone: pages that are being read do not give way."""

BODIES_MAX_BYTES: Final = 128 * 1024 * 1024
"""Limit for the buffered bodies of all requests together: nine of the largest, or four hundred common scans."""

FETCHES: Final = 8
"""Concurrent fetches of URLs; each may hold an image of 10 MiB."""

BODY_PROGRESS_BYTES: Final = 16 * 1024
"""A body that receives less than this in `SLOW_S` is slow."""

SERVER_BUSY: Final = "Too Many Requests: the server is busy"

RETRY_AFTER_S: Final = 5
"""Retry-After of a request that was shed: about the time for one page, after which a slot is free."""


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """The current load, and the requests that were shed.

    Attributes:
        slots_taken: Requests that wait for the engine or are being read by it.
        body_bytes: Size of the buffered bodies of all requests.
        shed_requests: Requests that were answered with 429 since the start.
    """

    slots_taken: int
    body_bytes: int
    shed_requests: int


class Share:
    """What a request holds of the server; it gives way to other callers until its page is being read.

    Attributes:
        caller: Whose request it is.
        body_bytes: Bytes of the body, or of a fetched image.
        has_slot: Whether it has a slot of the engine's queue.
        is_fetching: Whether it fetches a URL.
        gave_way: Whether it ends for another caller's request.
        ended: Set when the request has ended.
    """

    def __init__(self, caller: str, now_s: float) -> None:
        self.caller = caller
        self.body_bytes = 0
        self.has_slot = False
        self.is_fetching = False
        self.gave_way = False
        self.ended = asyncio.Event()
        self._timeouts: set[asyncio.Timeout] = set()
        self._begun_s = now_s
        self._progress_s = now_s
        self._progress_bytes = 0
        self._is_receiving = True
        self._is_kept = False

    def __repr__(self) -> str:
        return f"<Share of {self.caller}, {self.body_bytes} body bytes>"

    def add_bytes(self, number: int, now_s: float) -> None:
        """Add bytes that have arrived."""
        self.body_bytes += number
        self._progress_bytes += number
        if self._progress_bytes >= BODY_PROGRESS_BYTES:
            self._progress_bytes, self._progress_s = 0, now_s

    def end_body(self) -> None:
        """Note that the body has arrived."""
        self._is_receiving = False

    def keep(self) -> None:
        """Give way no more: the page is being read."""
        self._is_kept = True

    def hold(self, amount: int, now_s: float) -> Holding:
        """Return this request's part of a resource."""
        is_slow = self._is_receiving and now_s - self._progress_s > SLOW_S
        return Holding(self.caller, amount, self._begun_s, not self._is_kept, is_slow)

    def give_way(self) -> None:
        """End the request with 429, at its next wait."""
        self.gave_way = True
        for timeout in self._timeouts:
            timeout.reschedule(-math.inf)

    @asynccontextmanager
    async def until_given_way(self) -> AsyncGenerator[None]:
        """Run the block until this request gives way to another caller's.

        Raises:
            RequestError: 429, it gave way.
        """
        timeout = asyncio.timeout_at(-math.inf if self.gave_way else None)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise _busy_error() from None
        finally:
            self._timeouts.discard(timeout)


class AdmissionControl:
    """Shares the server's memory, fetches and queue among callers, and sheds requests beyond a bound.

    Args:
        queue_slots: Requests that may wait for the engine, or be read by it, at a time.
        bodies_max_bytes: Limit for the buffered bodies of all requests together.
        fetches: Fetches of URLs at a time.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        queue_slots: int = QUEUE_SLOTS_PER_WORKER,
        *,
        bodies_max_bytes: int = BODIES_MAX_BYTES,
        fetches: int = FETCHES,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue_slots = queue_slots
        self._slots_per_caller = queue_slots - queue_slots // OTHERS_PART
        self._bodies_max_bytes = bodies_max_bytes
        self._fetches = fetches
        self._clock_s = clock_s
        self._shares: dict[Share, None] = {}
        self._body_bytes = 0
        self._shed_requests = 0

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<AdmissionControl {now.slots_taken} of {self.queue_slots} slots, {now.body_bytes} body bytes>"

    def statistics(self) -> AdmissionStatistics:
        """Return the current load."""
        slots = sum(share.has_slot for share in self._shares)
        return AdmissionStatistics(slots, self._body_bytes, self._shed_requests)

    @contextmanager
    def share(self, caller: str) -> Iterator[Share]:
        """Give a request its share of the server until the block ends.

        Args:
            caller: Whose share it is: requests of one caller compete with each other first.
        """
        share = Share(caller, self._clock_s())
        self._shares[share] = None
        try:
            yield share
        finally:
            self._remove(share)
            share.ended.set()

    def count_bytes(self, share: Share, number: int) -> None:
        """Count buffered bytes, when they have arrived: a slow sender takes no memory from others in advance.

        Raises:
            RequestError: 429, all requests together hold too much.
        """
        if share.gave_way:
            raise _busy_error()
        while self._body_bytes + number > self._bodies_max_bytes:
            self._make_room([(other, other.body_bytes) for other in self._shares], share, number)
        self._body_bytes += number
        share.add_bytes(number, self._clock_s())

    def check_queue(self, share: Share) -> None:
        """Return when the queue has a slot for this request; a waiting request of another caller may give way.

        Raises:
            RequestError: 429, the queue is full.
        """
        if sum(other.has_slot and other.caller == share.caller for other in self._shares) >= self._slots_per_caller:
            raise self._shed()
        while len(queued := [other for other in self._shares if other.has_slot]) >= self.queue_slots:
            self._make_room([(other, 1) for other in queued], share, 1)

    @contextmanager
    def queue_slot(self, share: Share) -> Iterator[None]:
        """Hold a slot of the engine's queue until the block ends.

        Raises:
            RequestError: 429, the queue is full.
        """
        self.check_queue(share)
        share.has_slot = True
        try:
            yield
        finally:
            share.has_slot = False

    @asynccontextmanager
    async def fetch_slot(self, share: Share) -> AsyncGenerator[None]:
        """Fetch a URL in the block.

        Raises:
            RequestError: 429, other requests are fetching.
        """
        while len(fetching := [other for other in self._shares if other.is_fetching]) >= self._fetches:
            await self._make_room([(other, 1) for other in fetching], share, 1).ended.wait()
        share.is_fetching = True
        try:
            yield
        finally:
            share.is_fetching = False

    def _make_room(self, held: Sequence[tuple[Share, int]], share: Share, needed: int) -> Share:
        """End a request that gives way to this one, and return its share.

        Args:
            held: The shares with their part of the resource.
            share: The request that needs more.
            needed: How much more.

        Raises:
            RequestError: 429, no request gives way.
        """
        now_s = self._clock_s()
        index = choose_to_give_way([other.hold(amount, now_s) for other, amount in held], share.caller, needed)
        if index is None or held[index][0] is share:
            raise self._shed()
        chosen = held[index][0]
        self._shed_requests += 1
        self._remove(chosen)
        chosen.give_way()
        return chosen

    def _remove(self, share: Share) -> None:
        if share in self._shares:
            del self._shares[share]
            self._body_bytes -= share.body_bytes

    def _shed(self) -> RequestError:
        self._shed_requests += 1
        return _busy_error()


def _busy_error() -> RequestError:
    return RequestError(SERVER_BUSY, 429, retry_after_s=RETRY_AFTER_S)
