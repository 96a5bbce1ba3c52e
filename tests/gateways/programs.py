"""Starts the program of a limiter on a free loopback port, and ends it."""

import os
import signal
import socket
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import aiohttp
import anyio
from anyio.abc import Process

from tests.check import find_command

START_DEADLINE_S: Final = 30
END_DEADLINE_S: Final = 5
"""Time for a program to end at its signal; then it is killed."""


class StartError(Exception):
    """A program ended, or did not listen in time."""


def find_program(name: str) -> str:
    """Return the path of an installed program.

    Raises:
        StartError: it is not installed.
    """
    found = find_command(name)
    if found is None:
        raise StartError(f"{name} is not installed: python3 tests/check.py installs what the tests need")
    return found


@contextmanager
def reserve_port() -> Iterator[int]:
    """Yield a loopback port that no other process is given meanwhile.

    A socket is bound to it and does not listen. A program that sets SO_REUSEADDR, as all these do, may bind it, too.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def run_program(
    command: Sequence[str | Path], port: int, output: Path, *, graceful_signal: signal.Signals = signal.SIGTERM
) -> AsyncGenerator[None]:
    """Run a program that listens on a port, from its first accepted connection to the end of the context.

    Args:
        command: The program, which stays in the foreground, and its arguments.
        port: The loopback port on which it listens.
        output: The file that takes its stdout and stderr.
        graceful_signal: Makes it log the calls that it has answered, then end.

    Raises:
        StartError: it ended, or accepts no connection in time; the message has its output.
    """
    with output.open("wb") as file:
        process = await anyio.open_process(
            list(map(str, command)), stdin=DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        await _wait_until_listening(process, port, output)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await end_group(process, graceful_signal)


async def _wait_until_listening(process: Process, port: int, output: Path) -> None:
    with anyio.move_on_after(START_DEADLINE_S):
        while process.returncode is None:
            with suppress(OSError):
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                return
            await anyio.sleep(0.02)
    raise StartError(f"exit status {process.returncode}: {output.read_text(errors='replace')[-2000:]}")


async def wait_for_answer(url: str) -> None:
    """Return once a GET reaches the fake service, whose answers name aiohttp as their server.

    Raises:
        StartError: it does not in time.
    """
    with anyio.move_on_after(START_DEADLINE_S):
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(url) as response:
                    if "aiohttp" in response.headers.get("Server", ""):
                        return
                await anyio.sleep(0.05)
    raise StartError(f"{url} does not lead to the service")


async def end_group(process: Process, graceful_signal: signal.Signals = signal.SIGTERM) -> None:
    """End a process that leads its own group: this signal, and after a while SIGKILL, to the whole group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, graceful_signal)
    with anyio.move_on_after(END_DEADLINE_S):
        await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()
