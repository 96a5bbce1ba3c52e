"""Runs a job and yields what happens: `async for record in stream(job)`.

No scope of structured concurrency is open while the iterator is suspended, so a consumer may leave it anywhere (PEP
789). The run is in a thread of its own. In the consumer's event loop an asynchronous generator stands for it, because
event loops close these at their end and wait for that (`loop.shutdown_asyncgens`).
"""

from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast, get_args

from pipeline.batch.events import Event, EventQueue
from pipeline.batch.job import Job
from pipeline.batch.run_thread import RunThread
from pipeline.batch.summary import Summary
from pipeline.errors import PlannedStopError
from pipeline.records import Record

Item = TypeVar("Item")


class Stream(AsyncIterator[Item], Generic[Item]):
    """What happens in one run, in its order; the run begins with the iteration, or with `async with`.

    A record or failure is yielded once its line is on disk. Replies are written whatever the consumer does; while it is
    behind by 64, no further page begins. A consumer that ends the iteration ends the run: no new call goes out, those
    in flight are recorded, and the workspace can be resumed. `async with` waits for that. A cancelled `anext` loses
    nothing. Several tasks may iterate together; each item goes to one of them.

    Args:
        job: What to do.
        kinds: Classes of the events to yield.
    """

    def __init__(self, job: Job, *kinds: type[Event]) -> None:
        self._events = EventQueue(*kinds)
        self._thread = RunThread(job, self._events)
        self._is_begun = self._is_closed = False

    def __del__(self) -> None:
        """End the run of a loop that was left and that nothing holds any more."""
        self._thread.leave()

    def __repr__(self) -> str:
        return f"<Stream {self._thread!r}>"

    @property
    def summary(self) -> Summary:
        """How the run ended.

        Raises:
            RuntimeError: it has not ended.
            StopError: it ended with this error.
        """
        if not self._thread.outcome.done():
            raise RuntimeError("the run has not ended: iterate to the end, or leave `async with` first")
        return self._thread.outcome.result()

    def stop(self) -> None:
        """End the run in order, from any thread: the iteration yields what the calls in flight bring, and ends."""
        self._thread.stop(PlannedStopError("ended by the program"))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Return the next item.

        Raises:
            StopAsyncIteration: the run has ended.
            StopError: the run ended with this error; see `run`.
        """
        if self._is_closed:
            raise StopAsyncIteration
        await self._begin()
        try:
            event = await self._events.get()
        except BaseException:  # a cancellation: its traceback, which a notebook keeps, must not keep the run
            del self
            raise
        if event is not None:
            return cast("Item", event)
        await self.aclose()
        error = self._thread.outcome.exception()
        if error is not None and not self._thread.is_left and not isinstance(error, PlannedStopError):
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the run in order, and return when the calls in flight are recorded and the workspace is free."""
        self._is_closed = True
        if self._is_begun:
            self._thread.leave()
            await self._thread.wait()

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            guard = _guard(self._thread)
            await anext(guard)  # makes it known to the event loop
            self._thread.start(guard)


async def _guard(thread: RunThread) -> AsyncGenerator[None]:
    """End a run in order when the event loop closes this generator at its own end."""
    try:
        yield
    finally:
        thread.leave()
        await thread.wait()


def stream(job: Job) -> Stream[Record]:
    """Run a job and yield each record of this run once it is on disk; `read_records` has those of earlier runs, too.

    Duplicates and skipped pages are records; failures are not, `events` yields them.

        async with stream(job) as records:
            async for record in records:
                ...
        print(records.summary.totals)

    Args:
        job: What to do.
    """
    return Stream[Record](job, Record)


def events(job: Job) -> Stream[Event]:
    """Run a job and yield a `Start`, then each `Record`, `Failure` and `Pause`, at last the `Summary`; see `stream`.

    Args:
        job: What to do.
    """
    return Stream[Event](job, *get_args(Event))
