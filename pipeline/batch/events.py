"""What happens in a run, for the program that started it: frozen values, and the queue between the two threads.

A run has an event loop of its own (`run_thread`), so events cross from one event loop to another. Writing never waits:
a page that ends is on disk and settled, whatever the reader does. Only pages that have not begun wait for room.
"""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pipeline.batch.observers import Start
from pipeline.batch.summary import Summary
from pipeline.records import Failure, Record

CAPACITY: Final = 64
"""Events that wait for their reader before no further page begins; those in flight come on top."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The service refused a call for now, such as with 429: all calls wait.

    Attributes:
        wait_s: Seconds that it asks to wait; None when it does not say, and the run finds the pace.
    """

    wait_s: float | None


Event = Start | Record | Failure | Pause | Summary
"""What happens in a run: it begins, a page ends with a record or a failure, calls pause, the run ends."""


class EventQueue:
    """Takes the events of a run in the run's event loop, and gives them to tasks of another one.

    Args:
        kinds: Classes of the events to keep; without any, the run has no reader.
        capacity: Events that wait before the queue is full.
    """

    def __init__(self, *kinds: type[Event], capacity: int = CAPACITY) -> None:
        self._kinds = kinds
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._is_ended = False
        self._readers: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<EventQueue {len(self._events)} events{', ended' if self._is_ended else ''}>"

    def put(self, event: Event) -> None:
        """Add an event; never waits. Of pauses without another event between them, the last one is kept."""
        if not isinstance(event, self._kinds):
            return
        with self._lock:
            if isinstance(event, Pause) and self._events and isinstance(self._events[-1], Pause):
                self._events.pop()
            self._events.append(event)
            _wake(self._readers)

    async def wait_for_room(self) -> None:
        """Return once fewer than `capacity` events wait for their reader."""
        while len(self._events) >= self._capacity:
            with self._lock:
                if len(self._events) < self._capacity:
                    return
                waiter = _add_waiter(self._writers)
            await waiter

    async def get(self) -> Event | None:
        """Return the next event; None when there will be none. A cancelled call takes no event."""
        await asyncio.sleep(0)  # a reader that never waits would keep other tasks, and its cancellation, from running
        while True:
            with self._lock:
                if self._events:
                    event = self._events.popleft()
                    if len(self._events) < self._capacity:
                        _wake(self._writers)
                    return event
                if self._is_ended:
                    return None
                waiter = _add_waiter(self._readers)
            await waiter

    async def wait_for_end(self) -> None:
        """Return once no event will follow, whether or not all were taken."""
        while (waiter := self._end_waiter()) is not None:
            await waiter

    def _end_waiter(self) -> "asyncio.Future[None] | None":
        with self._lock:
            return None if self._is_ended else _add_waiter(self._readers)

    def end(self) -> None:
        """Let readers end once they have taken what is left: no event follows."""
        with self._lock:
            self._is_ended = True
            _wake(self._readers)

    def close(self) -> None:
        """Drop all events, and those to come: nobody reads any more."""
        with self._lock:
            self._kinds = ()
            self._events.clear()
            _wake(self._writers)


def _add_waiter(waiters: list["asyncio.Future[None]"]) -> "asyncio.Future[None]":
    """Add a future of this event loop; those of cancelled tasks leave."""
    waiters[:] = [waiter for waiter in waiters if not waiter.done()]
    waiters.append(asyncio.get_running_loop().create_future())
    return waiters[-1]


def _wake(waiters: list["asyncio.Future[None]"]) -> None:
    """Wake the waiting tasks of other event loops."""
    for waiter in waiters:
        with suppress(RuntimeError):  # its event loop is closed
            waiter.get_loop().call_soon_threadsafe(_resolve, waiter)
    waiters.clear()


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
