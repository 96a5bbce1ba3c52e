"""One worker process, seen from its parent."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

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
from pipeline.server.workers.sizing import resident_bytes

START_DEADLINE_S = 120.0
END_DEADLINE_S = 2.0


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
        """Return a worker whose engine has loaded.

        Raises:
            EngineError: it does not start; the message is one line.
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
            async with asyncio.timeout(START_DEADLINE_S):
                frame = await receive_worker_frame(worker._stdout)
        except (EOFError, FrameError, TimeoutError) as exc:
            await worker.end()
            raise EngineError(f"a recognition worker does not start: {str(exc) or 'it does not answer'}") from exc
        except BaseException:
            worker.kill()
            await worker.end()
            raise
        if not isinstance(frame, Ready):
            await worker.end()
            raise EngineError(frame.message if isinstance(frame, NotStarted) else "a worker that is not ready answers")
        return worker

    @property
    def pid(self) -> int:
        """The process's id, and that of its session."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once the end of the process was noticed."""
        return self._process.returncode is None

    @property
    def memory_bytes(self) -> int:
        """What it holds; 0 where nobody tells."""
        return resident_bytes(self.pid)

    async def ask(self, image: bytes) -> WorkerFrame:
        """Return the worker's answer to an image.

        Raises:
            RecognitionError: the worker died, or speaks something else; it is of no more use.
        """
        try:
            self._stdin.write(encode_frame(Task(image)))
            await self._stdin.drain()
            return await receive_worker_frame(self._stdout)
        except (EOFError, FrameError, OSError) as exc:
            raise RecognitionError("the recognition worker died") from exc

    async def wait(self) -> None:
        """Return when the process has ended."""
        await self._process.wait()

    def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Close its stdin, which ends it; kill it when that takes too long. Returns when it is gone."""
        self._stdin.close()
        try:
            async with asyncio.timeout(END_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
