"""An event loop on virtual time: timers fire in their order, without real waiting.

The clock does not advance while a callback or a worker thread runs or data is in transit on a socket. When nothing but
timers is left, it jumps to the next one. Precedent: trio's `MockClock(autojump_threshold=0)`.
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
"""Real time without timers, threads or data, after which a test fails instead of hanging."""

_THREAD_POLL_S = 0.01
"""Real time between two checks whether a worker thread has ended."""

_IN_TRANSIT_S = 0.02
"""Real time that data may take from one end of a socket to the other before the clock jumps."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that advances the loop's clock instead of waiting for a timer."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        while self.loop.is_busy():
            # a thread wakes the loop when its work is done, but may count as busy for a moment longer
            if ready := super().select(_THREAD_POLL_S):
                return ready
        in_transit_s = _IN_TRANSIT_S if len(self.get_map()) > 1 else 0  # the loop itself registers one socket
        ready = super().select(in_transit_s if timeout is not None else _STUCK_S)
        if timeout is None and not ready:
            raise RuntimeError("stuck: no timer, no thread and no socket will ever wake a task")
        if timeout is not None and not ready:
            self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The standard event loop with a clock that advances only when nothing else can happen."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now_s = 0.0
        self._executor_calls = 0
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._now_s

    def jump(self, wait_s: float) -> None:
        """Advance the clock to the next timer, or by `wait_s` when there is none."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        # the timer's own time: adding `wait_s` to the clock would round it
        self._now_s = max(self._now_s, min(timers, default=self._now_s + wait_s))

    def is_busy(self) -> bool:
        """Return True while a worker thread of this loop works: one of the executor or one of anyio."""
        return self._executor_calls > 0 or any(
            getattr(thread, "loop", None) is self and thread.queue.unfinished_tasks  # type: ignore[attr-defined]
            for thread in threading.enumerate()
            if type(thread).__name__ == "WorkerThread"
        )

    def run_in_executor(self, executor: Any, func: Callable[..., Result], *args: Any) -> "asyncio.Future[Result]":  # type: ignore[override]
        """Run a function in a thread; the clock does not advance until it ends."""
        future = super().run_in_executor(executor, func, *args)
        self._executor_calls += 1
        future.add_done_callback(self._end_executor_call)
        return future

    def _end_executor_call(self, _: object) -> None:
        self._executor_calls -= 1


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end on a new virtual-time loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def on_virtual_time(test: Callable[Parameters, Coroutine[Any, Any, Result]]) -> Callable[Parameters, Result]:
    """Turn an asynchronous test into one that runs on virtual time."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return run_virtual(test(*args, **kwargs))

    return run
