"""An event loop on virtual time: nobody waits, and yet everything happens in its order.

The clock stands still while anything runs: a callback, a worker thread, data on a socket. When all wait for the clock,
it jumps to the next timer. Precedent: trio's `MockClock(autojump_threshold=0)`.
"""

import asyncio
import functools
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

_STUCK_S = 10.0
"""Real seconds without anything that could ever happen, after which a test fails instead of hanging."""

_THREAD_ENDS_S = 0.01
"""Real seconds after which a worker thread is looked at again."""

_IN_TRANSIT_S = 0.02
"""Real seconds that data may take from one end of an open socket to the other before its reader counts as idle."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for the clock by moving it."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        while self.loop.is_busy():
            # A thread wakes the loop when its work is done, but some are counted as busy for a moment longer.
            if ready := super().select(_THREAD_ENDS_S):
                return ready
        in_transit_s = _IN_TRANSIT_S if len(self.get_map()) > 1 else 0  # one is the loop's own
        ready = super().select(in_transit_s if timeout is not None else _STUCK_S)
        if timeout is None and not ready:
            raise RuntimeError("stuck: no timer, no thread and no socket will ever wake a task")
        if timeout is not None and not ready:
            self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The standard loop, but its time passes only when nothing else can happen."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now_s = 0.0
        self._executor_calls = 0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds; it begins at 0."""
        return self._now_s

    def jump(self, wait_s: float) -> None:
        """Move the clock forward."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        self._now_s = max(self._now_s, min(timers, default=self._now_s + wait_s))  # the exact time, free of rounding

    def is_busy(self) -> bool:
        """Return True while a worker thread of this loop is at work: the executor's, or one of anyio's."""
        return self._executor_calls > 0 or any(
            getattr(thread, "loop", None) is self and thread.queue.unfinished_tasks  # type: ignore[attr-defined]
            for thread in threading.enumerate()
            if type(thread).__name__ == "WorkerThread"
        )

    def run_in_executor(self, executor: Any, func: Callable[..., Result], *args: Any) -> "asyncio.Future[Result]":  # type: ignore[override]
        """Run a function in a thread; the clock stands still until it ends."""
        future = super().run_in_executor(executor, func, *args)
        self._executor_calls += 1
        future.add_done_callback(self._end_executor_call)
        return future

    def _end_executor_call(self, _: object) -> None:
        self._executor_calls -= 1


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on a virtual-time loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def on_virtual_time(test: Callable[Parameters, Coroutine[Any, Any, Result]]) -> Callable[Parameters, Result]:
    """Turn an asynchronous test into one that runs on virtual time."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return run_virtual(test(*args, **kwargs))

    return run
