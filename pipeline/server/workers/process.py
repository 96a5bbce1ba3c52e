"""A worker process, as its parent handles it."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pipeline.convert.processes import child_environ
from pipeline.engine.recognition import RecognitionError
from pipeline.errors import EngineError
from pipeline.server.workers.frames import (
    FrameError,
    NotStarted,
    Ready,
    Task,
    WorkerFrame,
    encode_frame,
    receive_worker_frame,
)
from pipeline.server.workers.resources import resident_bytes

START_TIMEOUT_S: Final = 120.0
EXIT_TIMEOUT_S: Final = 2.0


class WorkerProcess:
    """A worker process and its pipes; one task at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    def __repr__(self) -> str:
        state = "alive" if self.is_alive else f"exit {self._process.returncode}"
        return f"<WorkerProcess {self.pid}, {state}>"

    @classmethod
    async def start(cls, command: Sequence[str]) -> "WorkerProcess":
        """Start a process; return it when its engine has loaded.

        Raises:
            EngineError: the worker does not start, or takes longer than `START_TIMEOUT_S`; the message is one line.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=child_environ(os.environ),
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                frame = await receive_worker_frame(worker._stdout)
        except (EOFError, FrameError, TimeoutError) as exc:
            await worker.end()
            raise EngineError(
                f"a recognition worker does not start: {str(exc) or f'no message within {START_TIMEOUT_S:g} s'}"
            ) from exc
        except BaseException:
            worker.kill()
            await worker.end()
            raise
        if not isinstance(frame, Ready):
            await worker.end()
            raise EngineError(
                frame.message
                if isinstance(frame, NotStarted)
                else "a recognition worker sent a result before it was ready"
            )
        return worker

    @property
    def pid(self) -> int:
        """The id of the process, and of its process group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; False once its exit has been noticed."""
        return self._process.returncode is None

    @property
    def memory_bytes(self) -> int:
        """Resident memory; 0 where the system does not report it."""
        return resident_bytes(self.pid)

    async def run_task(self, image: bytes) -> WorkerFrame:
        """Send an image to the worker; return its result.

        Raises:
            RecognitionError: the worker died or sent an invalid message; it must be replaced.
        """
        try:
            self._stdin.write(encode_frame(Task(image)))
            await self._stdin.drain()
            return await receive_worker_frame(self._stdout)
        except (EOFError, FrameError, OSError) as exc:
            raise RecognitionError("the recognition worker died") from exc

    async def wait(self) -> None:
        """Return when the process has exited."""
        await self._process.wait()

    def kill(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Close the worker's stdin, at which it exits; kill it after `EXIT_TIMEOUT_S`. Return when it has exited."""
        self._stdin.close()
        try:
            async with asyncio.timeout(EXIT_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
