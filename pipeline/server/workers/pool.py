"""A pool of worker processes: a queue of idle ones, each with one page at a time."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline.config import ServeConfig
from pipeline.convert.processes import module_command
from pipeline.engine.recognition import BusyError, EngineState, Recognition, RecognitionError
from pipeline.engine.runtime import choose_backend
from pipeline.errors import EngineError, TruncatedImageError
from pipeline.server.workers.frames import Broken, Unreadable, WorkerFrame
from pipeline.server.workers.process import WorkerProcess
from pipeline.server.workers.sizing import RECYCLE_BYTES, choose_sizing, read_machine

T = TypeVar("T")

_logger = logging.getLogger(__name__)

PAGE_DEADLINE_S = 120.0
"""The densest page of 4000 px takes 25 s on the development machine when that is busy."""

RESTART_DELAYS_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each attempt to replace a worker; the last one again and again."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many workers, how they are started, and how long a page may take.

    Attributes:
        command: Starts one worker.
        workers: At least 1.
        page_deadline_s: A worker that takes longer is replaced, and its page fails.
        recycle_bytes: A worker that holds more after a page is replaced, and its page is answered.
        restart_delays_s: Before each attempt to replace a worker.
    """

    command: Sequence[str]
    workers: int
    page_deadline_s: float = PAGE_DEADLINE_S
    recycle_bytes: int = RECYCLE_BYTES
    restart_delays_s: Sequence[float] = field(default=RESTART_DELAYS_S)


def plan_pool(config: ServeConfig) -> PoolOptions:
    """Return the pool that the configuration asks for on this machine.

    Raises:
        EngineError: the engine's packages are missing; the message names the command that installs them.
    """
    backend = choose_backend(config.backend)
    sizing = choose_sizing(config.workers, read_machine(), on_gpu=backend == "cuda")
    options = {"--engine": config.engine, "--backend": backend, "--threads": str(sizing.threads)}
    command = module_command("pipeline.server.workers.worker", *chain.from_iterable(options.items()))
    return PoolOptions(command, sizing.workers)


class Pool:
    """Recognises pages in worker processes; an async context manager that starts and ends them.

    Args:
        options: The workers.
        page_took: Told how many seconds a worker took for a page that it answered.

    Raises:
        EngineError: on entering, when a worker does not start.
    """

    def __init__(self, options: PoolOptions, *, page_took: Callable[[float], None] | None = None) -> None:
        self._options = options
        self._page_took = page_took
        self._waiting = 0
        self._restarts = 0
        self._idle: asyncio.Queue[WorkerProcess] = asyncio.Queue()
        self._workers: set[WorkerProcess] = set()
        self._ending: set[WorkerProcess] = set()
        self._jobs: set[asyncio.Task[Any]] = set()
        self._problem: EngineError | None = None
        """Why the last attempt to replace a worker failed; None when it did not."""

    def __repr__(self) -> str:
        return f"<Pool {len(self._workers)} workers, {self._idle.qsize()} idle>"

    def state(self) -> EngineState:
        """Return how many workers run, and how many pages wait for one."""
        return EngineState(len(self.worker_pids), self._waiting, self._restarts, self._problem is not None)

    @property
    def worker_pids(self) -> list[int]:
        """The processes that run now."""
        return sorted(worker.pid for worker in self._workers if worker.is_alive)

    async def __aenter__(self) -> Self:
        """Start all workers; return when every one has loaded its engine."""
        starts = [asyncio.create_task(self._add_worker()) for _ in range(self._options.workers)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self._end_workers()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers, whatever they are doing."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._end_workers()

    async def recognise(self, image: bytes) -> Recognition:
        """Return what an image says, once a worker is free.

        A caller that goes away while its page is being read leaves the worker to finish it, which costs less than a
        new worker.

        Raises:
            TruncatedImageError: the image cannot be decoded.
            BusyError: no worker became free in time.
            RecognitionError: the worker died or took too long; it is being replaced.
        """
        worker = await self._take_idle()
        frame = await asyncio.shield(self._spawn(self._ask(worker, image)))
        match frame:
            case Recognition():
                return frame
            case Unreadable(message):
                raise TruncatedImageError(message)
            case Broken(message):
                raise RecognitionError(f"the engine failed: {message}")
            case RecognitionError():
                raise frame
            case _:
                raise RecognitionError("a worker gave no answer")

    async def _take_idle(self) -> WorkerProcess:
        while True:
            if not self._workers and self._problem is not None:
                raise RecognitionError(f"no recognition worker runs: {self._problem}")
            self._waiting += 1
            try:
                async with asyncio.timeout(self._options.page_deadline_s):
                    worker = await self._idle.get()
            except TimeoutError as exc:
                raise BusyError("no recognition worker became free in time") from exc
            finally:
                self._waiting -= 1
            if worker.is_alive:
                return worker

    async def _ask(self, worker: WorkerProcess, image: bytes) -> WorkerFrame | RecognitionError:
        """Return the answer, or as a value what went wrong: nobody may be left to catch it."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._options.page_deadline_s):
                frame = await worker.ask(image)
        except TimeoutError:
            problem = RecognitionError(f"a page took longer than {self._options.page_deadline_s:g} s")
        except RecognitionError as exc:
            problem = exc
        else:
            if worker.memory_bytes > self._options.recycle_bytes:
                self._replace(worker)
            else:
                self._idle.put_nowait(worker)
            if self._page_took is not None:
                self._page_took(time.monotonic() - began_s)
            return frame
        self._replace(worker)
        return problem

    async def _watch(self, worker: WorkerProcess) -> None:
        """Replace a worker that ends, also where no page waits for it."""
        await worker.wait()
        self._replace(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:  # it is being replaced
            return
        _logger.warning("recognition worker %d is replaced", worker.pid)
        self._restarts += 1
        self._workers.discard(worker)
        self._ending.add(worker)
        worker.kill()
        self._spawn(self._add_worker_in_place_of(worker))

    async def _add_worker_in_place_of(self, worker: WorkerProcess) -> None:
        await worker.end()
        self._ending.discard(worker)
        attempt = 0
        while True:
            delays_s = self._options.restart_delays_s
            await asyncio.sleep(delays_s[min(attempt, len(delays_s) - 1)])
            attempt += 1
            try:
                await self._add_worker()
            except (EngineError, OSError) as exc:
                _logger.warning("a recognition worker cannot be replaced: %s", exc)
                self._problem = exc if isinstance(exc, EngineError) else EngineError(str(exc))
            else:
                self._problem = None
                return

    async def _add_worker(self) -> None:
        worker = await WorkerProcess.start(self._options.command)
        self._workers.add(worker)
        self._idle.put_nowait(worker)
        self._spawn(self._watch(worker))

    async def _end_workers(self) -> None:
        workers, self._workers, self._ending = self._workers | self._ending, set(), set()
        with suppress(asyncio.QueueEmpty):
            while True:
                self._idle.get_nowait()
        await asyncio.gather(*(worker.end() for worker in workers))

    def _spawn(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task
