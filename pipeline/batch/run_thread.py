"""Carries out a run in a thread and an event loop of its own.

What the program does meanwhile (a loop that computes, a task that is cancelled, an event loop that ends) then neither
delays the writing of a paid reply nor cancels a call that may be billed. A notebook, whose own event loop runs already,
can make the call like any script.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import anyio

from pipeline.batch.events import EventQueue
from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.batch.summary import Summary, describe_summary
from pipeline.errors import InterruptedRunError, PlannedStopError, StopError
from pipeline.shutdown import Shutdown

logger = logging.getLogger("pagemill")


class RunThread:
    """One run; the thread is a daemon, so that a process which ends without waiting for it does not hang.

    Args:
        job: What to do.
        events: Takes what happens; ended after the run.
    """

    def __init__(self, job: Job, events: EventQueue) -> None:
        self._job = job
        self._events = events
        self._shutdown = Shutdown()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Summary] | None = None
        self._guard: object = None
        self.is_left = False
        """Nobody reads its events any more."""
        self.outcome: Future[Summary] = Future()
        """The run's summary, or what it raised."""

    def __repr__(self) -> str:
        return f"<RunThread {self.outcome!r}>"

    def start(self, guard: object = None) -> None:
        """Start the run with a copy of the caller's context variables; the guard is kept until the run has ended."""
        self._guard = guard
        self.outcome.set_running_or_notify_cancel()  # from now on, nobody who waits for it can cancel it
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=copy_context().run, args=(self._work,), name="pagemill run", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:  # the system has no thread left
            self._loop.close()
            self.outcome.set_exception(exc)
            raise

    def stop(self, reason: StopError) -> None:
        """End the run in order, from any thread: no new call goes out, those under way finish."""
        self._call(self._shutdown.request, reason)

    def leave(self) -> None:
        """End the run in order, from any thread, and drop its events: nobody reads them any more."""
        if self._loop is not None and not self.is_left and not self.outcome.done():
            self.is_left = True
            logger.info("ended by the program: finishing the calls in flight")
            self.stop(PlannedStopError("ended by the program"))
            self._events.close()  # afterwards, for this lets pages begin that have waited for room
            self.outcome.add_done_callback(_log_failure)

    def abort(self) -> None:
        """Cancel the run, from any thread, and log each call that may be billed and whose text is lost."""
        self._call(self._abort)

    async def wait(self) -> None:
        """Return once the run has ended, in the event loop of the reader; a cancellation is raised only then."""
        cancellation: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not self.outcome.done():
                try:
                    await self._events.wait_for_end()
                except asyncio.CancelledError as exc:
                    cancellation = exc
        if cancellation is not None:
            raise cancellation

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: the run has ended
                self._loop.call_soon_threadsafe(function, *arguments)

    def _work(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._take_loop) as runner:
                summary = runner.run(self._run())
        except BaseException as exc:  # noqa: BLE001 - raised again where the outcome is read
            self.outcome.set_exception(exc)
        else:
            self.outcome.set_result(summary)
        finally:
            self._events.end()
            self._guard = None

    def _take_loop(self) -> Any:  # noqa: ANN401 - the type of a loop factory differs between versions of typeshed
        return self._loop

    async def _run(self) -> Summary:
        self._task = asyncio.current_task()
        return await run(self._job, self._shutdown, self._events)

    def _abort(self) -> None:
        for message in self._shutdown.describe_calls():
            logger.error("%s", message)
        if self._task is not None:
            self._task.cancel()


def _log_failure(outcome: Future[Summary]) -> None:
    error = outcome.exception()
    if error is not None and not isinstance(error, PlannedStopError):
        logger.error("the run has failed: %s", str(error) or type(error).__name__)


def run_sync(job: Job) -> Summary:
    """Run a job, and return when it has ended; see `run`. It works where an event loop runs, too, as in a notebook.

    The run has a thread of its own. Ctrl-C, or a notebook's "interrupt", ends it in order and raises KeyboardInterrupt
    when the calls in flight are recorded; a second one gives them up.

    Args:
        job: What to do.

    Raises:
        KeyboardInterrupt: after an interrupt; the workspace can be resumed.
        StopError: as `run` does.
    """
    thread = RunThread(job, EventQueue())
    try:
        thread.start()
        wait([thread.outcome])
    except (KeyboardInterrupt, SystemExit):  # the latter from a program's own signal handler
        _drain(thread)
        raise
    return thread.outcome.result()


def _drain(thread: RunThread) -> None:
    try:
        logger.warning("interrupted: finishing the calls in flight; a second interrupt gives them up")
        thread.stop(InterruptedRunError("ended by SIGINT", exit_code=130))
        wait([thread.outcome])
    except KeyboardInterrupt:
        thread.abort()
        wait([thread.outcome])
    else:
        if thread.outcome.exception() is None:
            logger.warning("%s", describe_summary(thread.outcome.result()))
