"""A child process and its pipes, as its parent handles them."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from pipeline.convert.command import child_environ
from pipeline.convert.frames import encode_frame, receive_frame
from pipeline.convert.resources import private_bytes, resident_bytes

EXIT_TIMEOUT_S: Final = 2.0

_PIPE_BUFFER_BYTES: Final = 1 << 20
"""The event loop wakes up once per this many bytes of a long message."""

M = TypeVar("M")


class ChildProcess(Generic[M]):
    """A child process that answers each message with one of type `M`."""

    def __init__(self, process: asyncio.subprocess.Process, decoder: msgspec.msgpack.Decoder[M]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._decoder = decoder

    def __repr__(self) -> str:
        state = "alive" if self.is_alive else f"exit {self.returncode}"
        return f"<{type(self).__name__} {self.pid}, {state}>"

    @classmethod
    async def spawn(cls, command: Sequence[str], decoder: msgspec.msgpack.Decoder[M]) -> Self:
        """Start a process in a session of its own, without the API keys in its environment.

        Raises:
            OSError: the system cannot start it.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=child_environ(os.environ),
            start_new_session=True,
            limit=_PIPE_BUFFER_BYTES,
        )
        return cls(process, decoder)

    @property
    def pid(self) -> int:
        """The id of the process, and of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal; None until the exit has been noticed."""
        return self._process.returncode

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; False once its exit has been noticed."""
        return self.returncode is None

    @property
    def memory_bytes(self) -> int:
        """Resident memory; 0 where the system does not report it."""
        return resident_bytes(self.pid)

    @property
    def private_bytes(self) -> int:
        """Resident memory that it shares with no other process; 0 where the system does not report it."""
        return private_bytes(self.pid)

    async def receive(self) -> M:
        """Return the next message of the process.

        Raises:
            EOFError: the process exited.
            FrameError: it sent something else.
        """
        return await receive_frame(self._stdout, self._decoder)

    async def exchange(self, message: Struct) -> M:
        """Send a message; return the answer.

        Raises:
            EOFError: the process exited.
            OSError: the process closed its end of the pipe.
            FrameError: it sent something else.
        """
        self._stdin.write(encode_frame(message))
        await self._stdin.drain()
        return await self.receive()

    async def wait(self) -> int:
        """Return the exit code when the process has exited."""
        return await self._process.wait()

    def kill(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipe to the process, at which it exits."""
        self._stdin.close()

    async def end(self) -> None:
        """Close the pipe, at which the process exits; kill it after `EXIT_TIMEOUT_S`. Return when it has exited."""
        self.close()
        try:
            async with asyncio.timeout(EXIT_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
