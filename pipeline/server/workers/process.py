"""An engine worker, as its pool handles it."""

import asyncio
from typing import Final

from pipeline.convert.frames import FrameError, Ready
from pipeline.convert.process import ChildProcess
from pipeline.engine.recognition import RecognitionError
from pipeline.errors import EngineError, UsageError
from pipeline.server.workers.frames import NotStarted, Task, WorkerFrame

START_TIMEOUT_S: Final = 120.0


class WorkerProcess(ChildProcess[WorkerFrame]):
    """A process with an engine of its own; one task at a time."""

    async def wait_until_ready(self) -> None:
        """Return when the engine has loaded. The caller ends the worker, whatever happens here.

        Raises:
            EngineError: the worker does not start, or takes longer than `START_TIMEOUT_S`; the message is one line.
            UsageError: a setting asks for what this machine does not have.
        """
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                frame = await self.receive()
        except (EOFError, FrameError, TimeoutError) as exc:
            raise EngineError(
                f"a recognition worker does not start: {str(exc) or f'no message within {START_TIMEOUT_S:g} s'}"
            ) from exc
        match frame:
            case Ready():
                return
            case NotStarted(message, is_setting_wrong):
                raise UsageError(message) if is_setting_wrong else EngineError(message)
            case _:
                raise EngineError("a recognition worker sent a result before it was ready")

    async def run_task(self, image: bytes) -> WorkerFrame:
        """Send an image to the worker; return its result.

        Raises:
            RecognitionError: the worker died or sent an invalid message; it must be replaced.
        """
        try:
            return await self.exchange(Task(image))
        except (EOFError, FrameError, OSError) as exc:
            raise RecognitionError("the recognition worker died") from exc
