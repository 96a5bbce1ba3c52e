"""Deadlines that are judged only after what has arrived is read.

A process that was stopped (SIGSTOP, a suspended machine, a paused container) finds on waking both its timers expired
and the replies waiting in its sockets; event loops may run the timers first (libuv always, asyncio after EINTR). A
reply that is given up then was paid for, and its page is paid for again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

_LOOK_S: Final = 0.2
"""Before a deadline expires the loop runs for this long, and reads what has arrived."""

_SUSPENDED_S: Final = 1.0
"""A timer that is later than this fired late because the process did not run: the deadline begins anew."""

_LATE_S: Final = 0.02
_MAX_LOOKS: Final = 3


class Deadline:
    """Calls back when a time is over during which the process was running.

    Args:
        loop: The event loop.
        expire: Called once per start, when the time is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._timeout_s = 0.0
        self._due_s = 0.0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Deadline {self._timeout_s} s, {'running' if self._timer is not None else 'stopped'}>"

    def start(self, timeout_s: float) -> None:
        """Begin, or begin anew."""
        self._timeout_s = timeout_s
        self._looks = 0
        look_s = min(_LOOK_S, timeout_s / 2)
        self._schedule(timeout_s - look_s)

    def stop(self) -> None:
        """Do not call back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, wait_s: float) -> None:
        self.stop()
        self._due_s = self._loop.time() + wait_s
        self._timer = self._loop.call_at(self._due_s, self._judge)

    def _judge(self) -> None:
        late_s = self._loop.time() - self._due_s
        self._looks += 1
        if late_s > _SUSPENDED_S:
            self.start(self._timeout_s)
        elif self._looks == 1 or (late_s > _LATE_S and self._looks < _MAX_LOOKS):
            self._schedule(min(_LOOK_S, self._timeout_s / 2))
        else:
            self._timer = None
            self._expire()


@asynccontextmanager
async def deadline(timeout_s: float) -> AsyncGenerator[None]:
    """Run the context's body for at most this time.

    Raises:
        TimeoutError: the time is over.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        watch = Deadline(loop, lambda: scope.reschedule(loop.time()))
        watch.start(timeout_s)
        try:
            yield
        finally:
            watch.stop()
