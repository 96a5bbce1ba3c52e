"""Fair turns: a limited number of jobs at a time, shared among callers.

A queue that serves first come, first served belongs to the caller that fills it. Here each caller has a queue of its
own, and a free turn goes to the caller that has the fewest; among equals, to the one whose last turn is longest ago.

A job cannot be interrupted, so turns are also kept back: while several callers are active, one that has a turn does
not get the last free one. A lone caller gets all turns.

Precedent: fair queueing, J. Nagle, RFC 970.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from pipeline.engine.recognition import BusyError

T = TypeVar("T")

WAIT_MAX_S: Final = 120.0
"""How long a job waits for its turn."""

ACTIVE_S: Final = 30.0
"""A caller is active for this long after its last job began or ended, and while it waits."""


class FairTurns:
    """Runs jobs of callers, a limited number at a time.

    Args:
        turns: Number of jobs at a time.
        finishes_jobs: Whether a job goes on when its caller is cancelled; its turn then ends with the job.
        wait_max_s: Limit for the wait for a turn.
        clock_s: A monotonic clock.
    """

    def __init__(
        self,
        turns: int,
        *,
        finishes_jobs: bool,
        wait_max_s: float = WAIT_MAX_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = turns
        self._finishes_jobs = finishes_jobs
        self._wait_max_s = wait_max_s
        self._clock_s = clock_s
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._last_s: OrderedDict[str, float] = OrderedDict()
        """When each active caller's last turn began or ended, the longest ago first."""
        self._jobs: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<FairTurns {self._running.total()} of {self._turns} taken, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """Number of jobs that wait."""
        return sum(map(len, self._waiting.values()))

    async def run(self, caller: str, job: Callable[[], Awaitable[T]]) -> T:
        """Run a job in a turn of this caller, and return its result.

        Raises:
            BusyError: no turn was free in time.
        """
        await self._wait_turn(caller)
        task: asyncio.Future[T] = asyncio.ensure_future(job())
        self._jobs.add(task)
        task.add_done_callback(lambda done: self._end_turn(caller, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._finishes_jobs:
                task.cancel()
            raise
        finally:
            del task  # its exception's traceback refers to this frame: a cycle, which would keep the job's image

    async def _wait_turn(self, caller: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._grant_turns()
        try:
            async with asyncio.timeout(self._wait_max_s):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():  # granted in the same moment
                self._give_back(caller)
            else:
                self._leave_queue(caller, turn)
            self._grant_turns()
            if isinstance(exc, TimeoutError):
                raise BusyError("no recognition worker became free in time") from exc
            raise

    def _grant_turns(self) -> None:
        while (caller := self._choose_caller()) is not None:
            turn = self._waiting[caller].popleft()
            if not self._waiting[caller]:
                del self._waiting[caller]
            if turn.cancelled():
                continue
            self._running[caller] += 1
            self._note_activity(caller)
            turn.set_result(None)

    def _choose_caller(self) -> str | None:
        free = self._turns - self._running.total()
        if free <= 0:
            return None
        now_s = self._clock_s()
        while self._last_s and now_s - next(iter(self._last_s.values())) > ACTIVE_S:
            self._last_s.popitem(last=False)
        active = self._last_s.keys() | self._waiting.keys() | self._running.keys()
        keeps_one = free == 1 and len(active) > 1 and self._turns > 1
        order = {caller: place for place, caller in enumerate(self._last_s)}
        caller = min(self._waiting, key=lambda name: (self._running[name], order.get(name, -1)), default=None)
        return None if caller is None or (keeps_one and self._running[caller]) else caller

    def _end_turn(self, caller: str, job: "asyncio.Future[T]") -> None:
        self._jobs.discard(job)
        if not job.cancelled():
            job.exception()  # the caller may be gone, and nobody else asks
        self._give_back(caller)
        self._note_activity(caller)
        self._grant_turns()

    def _give_back(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]

    def _leave_queue(self, caller: str, turn: "asyncio.Future[None]") -> None:
        if (queue := self._waiting.get(caller)) is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[caller]

    def _note_activity(self, caller: str) -> None:
        self._last_s[caller] = self._clock_s()
        self._last_s.move_to_end(caller)
