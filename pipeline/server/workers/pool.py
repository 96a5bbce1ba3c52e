"""A pool of worker processes: a queue of idle workers, each of which reads one page at a time."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pipeline.config import ServeConfig
from pipeline.convert.command import module_command
from pipeline.convert.resources import read_machine
from pipeline.engine.precision import require_supported
from pipeline.engine.recognition import BusyError, EngineState, Recognition, RecognitionError
from pipeline.engine.runtime import choose_backend
from pipeline.errors import EngineError, StopError, TruncatedImageError
from pipeline.server.workers.frames import WORKER_FRAME, EngineFailed, Undecodable, WorkerFrame
from pipeline.server.workers.process import WorkerProcess
from pipeline.server.workers.resources import RECYCLE_BYTES, choose_sizing

T = TypeVar("T")

_logger = logging.getLogger(__name__)

PAGE_TIMEOUT_S: Final = 120.0
"""Measured: 25 s for the densest page of 4000 px on a busy two-core machine."""

RESTART_DELAYS_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delay before each attempt to replace a worker; the last one repeats."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Number of workers, how they are started and when they are replaced.

    Attributes:
        command: The command that starts one worker.
        workers: Number of workers, at least 1.
        page_timeout_s: Limit for one page; a worker that takes longer is replaced and its page fails. Also the limit
            for a page that waits for a worker.
        recycle_bytes: Resident memory beyond which a worker is replaced after its page.
        restart_delays_s: Delay before each attempt to replace a worker.
    """

    command: Sequence[str]
    workers: int
    page_timeout_s: float = PAGE_TIMEOUT_S
    recycle_bytes: int = RECYCLE_BYTES
    restart_delays_s: Sequence[float] = field(default=RESTART_DELAYS_S)


def plan_pool(config: ServeConfig) -> PoolOptions:
    """Return the pool that the configuration asks for on this machine.

    Raises:
        EngineError: packages of the engine are missing; the message has the command that installs them.
        UsageError: the backend does not compute in the configured precision.
    """
    backend = choose_backend(config.backend)
    require_supported(config.precision, backend)
    sizing = choose_sizing(config.workers, read_machine(), on_gpu=backend == "cuda")
    options = {
        "--engine": config.engine,
        "--backend": backend,
        "--precision": config.precision,
        "--threads": str(sizing.threads),
    }
    command = module_command("pipeline.server.workers.worker", *chain.from_iterable(options.items()))
    return PoolOptions(command, sizing.workers)


class Pool:
    """Reads pages in worker processes; an async context manager that starts and ends them.

    Args:
        options: The workers.
        record_page: Called with the seconds that a worker took for a page.

    Raises:
        EngineError: a worker does not start; raised on entering.
        UsageError: a setting asks for what this machine does not have; raised on entering.
    """

    def __init__(self, options: PoolOptions, *, record_page: Callable[[float], None] | None = None) -> None:
        self._options = options
        self._record_page = record_page
        self._waiting = 0
        self._restarts = 0
        self._idle: asyncio.Queue[WorkerProcess] = asyncio.Queue()
        self._workers: set[WorkerProcess] = set()
        self._ending: set[WorkerProcess] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._restart_error: EngineError | None = None
        """The error of the last attempt to replace a worker; None after a success."""

    def __repr__(self) -> str:
        return f"<Pool {len(self._workers)} workers, {self._idle.qsize()} idle>"

    def state(self) -> EngineState:
        """Return the number of running workers, of waiting pages and of replaced workers."""
        return EngineState(len(self.worker_pids), self._waiting, self._restarts, self._restart_error is not None)

    @property
    def worker_pids(self) -> list[int]:
        """The ids of the running processes."""
        return sorted(worker.pid for worker in self._workers if worker.is_alive)

    async def __aenter__(self) -> Self:
        """Start all workers; return when each has loaded its engine."""
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
        """End all workers, also those that are reading a page."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._end_workers()

    async def recognise(self, image: bytes) -> Recognition:
        """Return the text of an image, once a worker is free.

        When the caller is cancelled, the worker finishes the page, which costs less than starting a new worker.

        Raises:
            TruncatedImageError: the image cannot be decoded.
            BusyError: no worker became free in time.
            RecognitionError: the worker died or took too long and is being replaced, or the engine failed.
        """
        worker = await self._acquire_worker()
        frame = await asyncio.shield(self._spawn(self._run_task(worker, image)))
        match frame:
            case Recognition():
                return frame
            case Undecodable(message):
                raise TruncatedImageError(message)
            case EngineFailed(message):
                raise RecognitionError(f"the engine failed: {message}")
            case RecognitionError():
                raise frame
            case _:
                raise RecognitionError("a worker sent no result")

    async def _acquire_worker(self) -> WorkerProcess:
        while True:
            if not self._workers and self._restart_error is not None:
                raise RecognitionError(f"no recognition worker runs: {self._restart_error}")
            self._waiting += 1
            try:
                async with asyncio.timeout(self._options.page_timeout_s):
                    worker = await self._idle.get()
            except TimeoutError as exc:
                raise BusyError("no recognition worker became free in time") from exc
            finally:
                self._waiting -= 1
            if worker.is_alive:
                return worker

    async def _run_task(self, worker: WorkerProcess, image: bytes) -> WorkerFrame | RecognitionError:
        """Return the worker's result; return an error instead of raising it, since the caller may be cancelled."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._options.page_timeout_s):
                frame = await worker.run_task(image)
        except TimeoutError:
            error = RecognitionError(f"a page took longer than {self._options.page_timeout_s:g} s")
        except RecognitionError as exc:
            error = exc
        else:
            if worker.memory_bytes > self._options.recycle_bytes:
                self._replace(worker)
            else:
                self._idle.put_nowait(worker)
            if self._record_page is not None:
                self._record_page(time.monotonic() - began_s)
            return frame
        self._replace(worker)
        return error

    async def _replace_at_exit(self, worker: WorkerProcess) -> None:
        """Replace a worker that exits, also while it is idle."""
        await worker.wait()
        self._replace(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:  # already being replaced
            return
        _logger.warning("replacing recognition worker %d", worker.pid)
        self._restarts += 1
        self._workers.discard(worker)
        self._ending.add(worker)
        worker.kill()
        self._spawn(self._start_replacement(worker))

    async def _start_replacement(self, worker: WorkerProcess) -> None:
        await self._end(worker)
        attempt = 0
        while True:
            delays_s = self._options.restart_delays_s
            await asyncio.sleep(delays_s[min(attempt, len(delays_s) - 1)])
            attempt += 1
            try:
                await self._add_worker()
            except (StopError, OSError) as exc:
                _logger.warning("cannot replace a recognition worker: %s", exc)
                self._restart_error = exc if isinstance(exc, EngineError) else EngineError(str(exc))
            else:
                self._restart_error = None
                return

    async def _add_worker(self) -> None:
        worker = await WorkerProcess.spawn(self._options.command, WORKER_FRAME)
        self._ending.add(worker)  # until it is ready: whoever is cancelled here leaves it to `_end_workers`
        try:
            await worker.wait_until_ready()
        except StopError:
            await self._end(worker)
            raise
        self._ending.discard(worker)
        self._workers.add(worker)
        self._idle.put_nowait(worker)
        self._spawn(self._replace_at_exit(worker))

    async def _end(self, worker: WorkerProcess) -> None:
        await worker.end()
        self._ending.discard(worker)

    async def _end_workers(self) -> None:
        workers, self._workers, self._ending = self._workers | self._ending, set(), set()
        with suppress(asyncio.QueueEmpty):
            while True:
                self._idle.get_nowait()
        await asyncio.gather(*(worker.end() for worker in workers))

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
