"""A pool of worker processes for conversions: started when first needed, bounded in time, recycled.

A worker that crashes or takes too long costs the task that it had, and is replaced when the next task needs one.
"""

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from pipeline.convert.frames import FrameError, Ready
from pipeline.convert.process import ChildProcess
from pipeline.errors import ConversionError, ConverterStartError

logger = logging.getLogger("pagemill")

START_TIMEOUT_S: Final = 60.0
RECYCLE_TASKS: Final = 1000
"""Tasks after which a worker is replaced: native decoders leak."""
RECYCLE_BYTES: Final = 1 << 30
"""Memory of its own beyond which a worker is replaced. Measured: 150 MB after A4 pages of 300 dpi."""

_SLICE_S: Final = 1.0
"""A deadline is counted in slices that have passed, so that a run which was suspended does not count the pause."""
_EXIT_NOTICE_S: Final = 2.0
"""Longest wait for the end of a killed worker; one that reads from a dead network mount cannot be killed."""

_SIGNALS: Final = {number.value: number.name for number in signal.Signals}

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many workers there are, how they are started, and their bounds.

    Attributes:
        command: The command that starts one worker; its first message is `Ready`.
        workers: Most workers at a time, at least 1.
        task_timeout_s: Longest time for one task.
        recycle_tasks: Tasks after which a worker is replaced.
        recycle_bytes: Memory of its own beyond which a worker is replaced after its task.
    """

    command: Sequence[str]
    workers: int
    task_timeout_s: float
    recycle_tasks: int = RECYCLE_TASKS
    recycle_bytes: int = RECYCLE_BYTES


class _Worker(ChildProcess[M]):
    """A worker with the number of its tasks and the key of the last one."""

    tasks: int = 0
    key: str = ""


class ConversionPool(Generic[M]):
    """Runs tasks in worker processes; an async context manager that kills them all in the end.

    Args:
        options: The workers.
        decoder: Of the workers' messages: `Ready` and the results.
    """

    def __init__(self, options: PoolOptions, decoder: msgspec.msgpack.Decoder[M]) -> None:
        self._options = options
        self._decoder = decoder
        self._free = asyncio.Semaphore(options.workers)
        self._idle: list[_Worker[M]] = []
        self._busy: set[_Worker[M]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ConversionPool {len(self._busy)} busy, {len(self._idle)} idle, {self._options.workers} at most>"

    @property
    def worker_pids(self) -> list[int]:
        """The ids of the running processes."""
        return sorted(worker.pid for worker in (*self._idle, *self._busy) if worker.is_alive)

    async def __aenter__(self) -> Self:
        """Start nothing: the first task does."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill all workers, also those that are at a task; they hold nothing that could be lost."""
        for worker in (*self._idle, *self._busy):
            self._retire(worker)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    async def run(self, task: Struct, *, key: str) -> M:
        """Return the result of a task, once a worker is free. Cancelling kills the worker.

        Args:
            task: What to do.
            key: Tasks of one key go to the same worker where possible: it has their file open.

        Raises:
            ConversionError: the worker crashed or took too long.
            ConverterStartError: no worker can be started.
        """
        worker = await self._acquire(key)
        result: M | None = None
        try:
            result = await self._run_bounded(worker, task)
            return result
        finally:
            worker.tasks += 1
            self._release(worker, is_sound=result is not None)

    async def _run_bounded(self, worker: _Worker[M], task: Struct) -> M:
        exchange = asyncio.ensure_future(worker.exchange(task))
        left_s = self._options.task_timeout_s
        try:
            while not exchange.done() and left_s > 0:
                slice_s = min(_SLICE_S, left_s)
                await asyncio.wait([exchange], timeout=slice_s)
                left_s -= slice_s
            if not exchange.done():
                raise ConversionError(f"took longer than {self._options.task_timeout_s:g} s to decode")
            return exchange.result()
        except (EOFError, FrameError, OSError) as exc:
            raise ConversionError(await _describe_end(worker)) from exc
        finally:
            exchange.cancel()

    async def _acquire(self, key: str) -> _Worker[M]:
        """Return a worker reserved for the caller: the one that had this key last, another idle one, or a new one."""
        await self._free.acquire()
        self._idle = [worker for worker in self._idle if worker.is_alive]
        if self._idle:
            worker = next((worker for worker in self._idle if worker.key == key), self._idle[0])
            self._idle.remove(worker)
        else:
            try:
                worker = await self._start()
            except ConverterStartError as exc:
                if not self._busy:
                    self._free.release()
                    raise
                logger.warning("%s; %d go on", exc, len(self._busy))
                return await self._acquire(key)  # with one worker fewer from now on
            except BaseException:
                self._free.release()
                raise
        worker.key = key
        self._busy.add(worker)
        return worker

    async def _start(self) -> _Worker[M]:
        try:
            worker = await _Worker.spawn(self._options.command, self._decoder)
        except OSError as exc:
            raise ConverterStartError(f"no conversion worker can be started: {exc.strerror or exc}") from exc
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                frame = await worker.receive()
        except (EOFError, FrameError, OSError, TimeoutError) as exc:
            self._retire(worker)
            raise ConverterStartError(
                f"a conversion worker does not start: {str(exc) or f'no message within {START_TIMEOUT_S:g} s'}"
            ) from exc
        except BaseException:
            self._retire(worker)
            raise
        assert isinstance(frame, Ready)
        return worker

    def _release(self, worker: _Worker[M], *, is_sound: bool) -> None:
        self._busy.discard(worker)
        options = self._options
        if is_sound and worker.tasks < options.recycle_tasks and worker.private_bytes <= options.recycle_bytes:
            self._idle.append(worker)
        else:
            self._retire(worker)
        self._free.release()

    def _retire(self, worker: _Worker[M]) -> None:
        worker.kill()
        ending = asyncio.ensure_future(_reap(worker))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _reap(worker: ChildProcess[M]) -> None:
    try:
        async with asyncio.timeout(_EXIT_NOTICE_S):
            await worker.wait()
    except TimeoutError:
        logger.warning("conversion worker %d does not end", worker.pid)
    finally:
        worker.close()


async def _describe_end(worker: ChildProcess[M]) -> str:
    """Return how a worker ended that sent no result."""
    try:
        async with asyncio.timeout(_EXIT_NOTICE_S):
            code = await worker.wait()
    except TimeoutError:
        return "the decoder sent an invalid message"
    if code == -signal.SIGKILL:
        return "the decoder was killed (SIGKILL); the machine may have run out of memory"
    if -code in _SIGNALS:
        return f"the decoder crashed ({_SIGNALS[-code]})"
    return f"the decoder exited with {code}"
