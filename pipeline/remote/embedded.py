"""The embedded engine: a server process of this run, on a loopback port with a key of its own."""

import asyncio
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio

from pipeline.config import OPERATOR_KEY_VARIABLE, Config, ServeConfig
from pipeline.convert.command import child_environ, module_command
from pipeline.errors import EngineError, UsageError
from pipeline.service import Service
from pipeline.shutdown import SERVER_SHUTDOWN_S

SERVICE_NAME = "embedded"

START_DEADLINE_S = 180.0
END_DEADLINE_S = SERVER_SHUTDOWN_S + 5.0
TERMINATE_DEADLINE_S = 3.0
TAIL_LINES = 20


@asynccontextmanager
async def embedded_service(config: Config, *, command: Sequence[str] | None = None) -> AsyncIterator[Service]:
    """Start the server as a child process; end it with the context.

    The child has its own session: Ctrl-C reaches only this process, which finishes its pages first. The child exits
    when its stdin closes, so it does not outlive this process.

    Args:
        config: `[serve]` chooses the engine and the workers.
        command: Command of the server; by default `pagemill serve`.

    Raises:
        EngineError: the server does not start; the message ends with its last line on stderr.
        UsageError: it does not start because of a setting.
    """
    key = secrets.token_urlsafe(32)
    process = await asyncio.create_subprocess_exec(
        *(command or serve_command(config.serve)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environ(os.environ) | {OPERATOR_KEY_VARIABLE: key},
        start_new_session=True,
    )
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    # Read stderr all the time: a full pipe would block the child. It is not shown: the terminal has the progress bar.
    reader = asyncio.create_task(_keep_tail(process.stderr, tail))
    try:
        base_url = await _read_base_url(process, reader, tail)
        yield Service(base_url=base_url, key=key, name=SERVICE_NAME)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
            reader.cancel()
            await asyncio.wait({reader})


def serve_command(config: ServeConfig) -> list[str]:
    """Return the command that serves the configured engine on a free loopback port until stdin closes."""
    options = {
        "--host": "127.0.0.1",
        "--port": "0",
        "--engine": config.engine,
        "--backend": config.backend,
        "--precision": config.precision,
        "--workers": str(config.workers),
    }
    flat = [word for option in options.items() for word in option]
    return module_command("pipeline", "serve", *flat, "--exit-with-parent")


async def _read_base_url(process: asyncio.subprocess.Process, reader: asyncio.Task[None], tail: deque[str]) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            line = (await process.stdout.readline()).decode("utf-8", "replace").strip()
    except TimeoutError as exc:
        raise EngineError(f"the embedded engine does not start within {START_DEADLINE_S:g} s") from exc
    if line.startswith("http://"):
        return line
    # Its last line may still be in the pipe; a grandchild that keeps the pipe open is not waited for.
    exited = asyncio.ensure_future(process.wait())
    await asyncio.wait({reader, exited}, timeout=1.0)
    exited.cancel()
    error = UsageError if process.returncode == UsageError.exit_code else EngineError
    last = tail[-1] if tail else line or "no reason given"
    raise error(f"the embedded engine does not start: {last}")


async def _keep_tail(stream: asyncio.StreamReader, tail: deque[str]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line beyond the reader's limit is dropped
            continue
        if not line:
            return
        text = line.decode("utf-8", "replace").strip()
        if text:
            tail.append(text)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the child: close its stdin, then SIGTERM, then SIGKILL."""
    assert process.stdin is not None
    process.stdin.close()
    for deadline_s, signal_it in ((END_DEADLINE_S, process.terminate), (TERMINATE_DEADLINE_S, process.kill)):
        try:
            async with asyncio.timeout(deadline_s):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                signal_it()
        else:
            return
    await process.wait()
