"""Runs pagemill in tests: in this process against a fake server, or as the real command."""

import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import Any

import anyio
import msgspec
import orjson
from anyio.abc import Process

from pipeline.batch.job import Job
from pipeline.batch.progress import Summary
from pipeline.batch.runner import run
from pipeline.config import Config
from pipeline.records import Service
from pipeline.shutdown import Shutdown

KEY = "sk-test-0123456789abcdef"
COMMAND = (sys.executable, "-m", "pipeline")
ROOT = Path(__file__).resolve().parent.parent


def configure(workspace: Path, **sections: dict[str, Any]) -> Config:
    """Return a configuration with a ledger beside the workspace and the given sections on top."""
    budget = {"ledger": str(workspace.parent / "ledger"), **sections.pop("budget", {})}
    return msgspec.convert({"budget": budget, **sections}, Config)


async def run_here(
    inputs: Path | Sequence[str | Path], workspace: Path, url: str, *, shutdown: Shutdown | None = None, **sections: Any
) -> Summary:
    """Run in this process with the test key; sections are those of the configuration."""
    listed = [inputs] if isinstance(inputs, Path) else inputs
    job = Job(
        inputs=[str(item) for item in listed],
        workspace=workspace,
        service=Service(url, KEY, "127.0.0.1"),
        config=configure(workspace, **sections),
    )
    return await run(job, shutdown)


async def run_command(
    *arguments: str | Path, key: str | None = KEY, command: Sequence[str] = COMMAND, **environ: str
) -> CompletedProcess[bytes]:
    """Run the real command, or one that sabotages or traces it, to its end."""
    return await anyio.run_process(
        [*command, *map(str, arguments)], check=False, env=environment(key, **environ), cwd=Path.cwd()
    )


@asynccontextmanager
async def start_command(
    *arguments: str | Path, command: Sequence[str] = COMMAND, stdin: int | None = None, **environ: str
) -> AsyncGenerator[Process]:
    """Start the real command with the test key, in a process group of its own that does not outlive the context.

    Args:
        arguments: Of the command.
        command: The command itself; another one sabotages or traces it.
        stdin: What it reads; None is the pipe `process.stdin`.
        environ: Further variables of its environment.
    """
    process = await anyio.open_process(
        [*command, *map(str, arguments)],
        stdin=PIPE if stdin is None else stdin,
        env=environment(KEY, **environ),
        cwd=Path.cwd(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # a process that is stopped is not ended by the end of its tracer
            os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()


async def read_until(process: Process, text: bytes) -> bytes:
    """Return what a command said on stderr, as soon as it has said this."""
    said = b""
    assert process.stderr is not None
    while text not in said:
        said += await process.stderr.receive()
    return said


async def wait_for_end(process: Process) -> tuple[int, str]:
    """Return the exit code of a command, and what else it said on stderr until its end."""
    assert process.stderr is not None
    said = b"".join([block async for block in process.stderr])
    return await process.wait(), said.decode(errors="replace")


def environment(key: str | None, **environ: str) -> dict[str, str]:
    """Return the environment of a command: that of a user, with the checkout importable and a key."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    inherited["SSL_CERT_FILE"] = os.devnull  # to read the authorities of the world takes each command 0.1 s
    named = {"PAGEMILL_API_KEY": key} if key is not None else {}
    return {**inherited, "PYTHONPATH": str(ROOT), **named, **environ}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file; none when it is missing."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def results(workspace: Path) -> list[dict[str, Any]]:
    """Return the lines of results.jsonl."""
    return read_lines(workspace / "results.jsonl")


def failures(workspace: Path) -> list[dict[str, Any]]:
    """Return the lines of failures.jsonl."""
    return read_lines(workspace / "failures.jsonl")
