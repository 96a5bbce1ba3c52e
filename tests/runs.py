"""Runs pagemill in tests: in this process, or as the real command in a process of its own."""

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
from zstandard import ZstdDecompressor

from pipeline.batch.job import Job
from pipeline.batch.retry import RetrySelection
from pipeline.batch.runner import run
from pipeline.batch.summary import Summary
from pipeline.config import Config
from pipeline.service import Service
from pipeline.shutdown import Shutdown

KEY = "sk-test-0123456789abcdef"
COMMAND = (sys.executable, "-m", "pipeline")
SABOTAGE = (sys.executable, "-m", "tests.faults.sabotage")
"""The command with guarantees removed; their names follow, separated by commas."""
ROOT = Path(__file__).resolve().parent.parent


def configure(workspace: Path, **sections: dict[str, Any]) -> Config:
    """Return a configuration with the given sections and, unless they name another, a ledger beside the workspace."""
    budget = {"ledger": str(workspace.parent / "ledger"), **sections.pop("budget", {})}
    return msgspec.convert({"budget": budget, **sections}, Config)


async def run_here(
    inputs: Path | Sequence[str | Path],
    workspace: Path,
    url: str,
    *,
    shutdown: Shutdown | None = None,
    retry: RetrySelection | None = None,
    again: str | None = None,
    accept_ledger: bool = False,
    pay_again: bool = False,
    key: str = KEY,
    **sections: Any,
) -> Summary:
    """Run in this process with the test key.

    Args:
        inputs: A directory or manifest, or several INPUTs.
        workspace: The directory given to `-o`.
        url: The service's base URL.
        shutdown: Lets the test end the run early.
        retry: Recognise these failed pages instead of the inputs.
        again: Glob of the pages that are sent again.
        accept_ledger: As in `Job`.
        pay_again: As in `Job`.
        key: The API key.
        sections: Sections of the configuration, such as `run={"jobs": 4}`.
    """
    listed = [inputs] if isinstance(inputs, Path) else inputs
    job = Job(
        inputs=[str(item) for item in listed],
        workspace=workspace,
        service=Service(url, key, "127.0.0.1"),
        config=configure(workspace, **sections),
        retry=retry,
        again=again,
        accept_ledger=accept_ledger,
        pay_again=pay_again,
    )
    return await run(job, shutdown)


async def run_command(
    *arguments: str | Path, key: str | None = KEY, command: Sequence[str] = COMMAND, **environ: str
) -> CompletedProcess[bytes]:
    """Run the real command, or one that sabotages or traces it, to its end.

    Args:
        arguments: The command's arguments.
        key: The API key in its environment; None sets none.
        command: The command itself; another one sabotages or traces it.
        environ: Further variables of its environment.
    """
    return await anyio.run_process(
        [*command, *map(str, arguments)], check=False, env=environment(key, **environ), cwd=Path.cwd()
    )


@asynccontextmanager
async def start_command(
    *arguments: str | Path, command: Sequence[str] = COMMAND, stdin: int | None = None, **environ: str
) -> AsyncGenerator[Process]:
    """Start the real command with the test key, in a process group that is killed when the context ends.

    Args:
        arguments: The command's arguments.
        command: The command itself; another one sabotages or traces it.
        stdin: A descriptor for its stdin; None makes the pipe `process.stdin`.
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
        with suppress(ProcessLookupError):  # the end of its tracer does not end a stopped process
            os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()


def run_arguments(inputs: str | Path, directory: Path, url: str, *more: str | Path) -> tuple[str | Path, ...]:
    """Return arguments of `run` with workspace and ledger in a directory: `out` and `ledger`."""
    return ("run", inputs, "-o", directory / "out", "--ledger", directory / "ledger", "--api-url", url, *more)


async def read_until(process: Process, text: bytes) -> bytes:
    """Read stderr until it contains the text, and return what was read."""
    stderr = b""
    assert process.stderr is not None
    while text not in stderr:
        stderr += await process.stderr.receive()
    return stderr


async def wait_for_end(process: Process) -> tuple[int, str]:
    """Return the command's exit code and the rest of its stderr."""
    assert process.stderr is not None
    stderr = b"".join([block async for block in process.stderr])
    return await process.wait(), stderr.decode(errors="replace")


def environment(key: str | None, **environ: str) -> dict[str, str]:
    """Return a command's environment: the current one without PYTHON*, with this checkout importable and the key."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    inherited["SSL_CERT_FILE"] = os.devnull  # reading the system's certificate authorities takes 0.1 s per command
    named = {"PAGEMILL_API_KEY": key} if key is not None else {}
    return {**inherited, "PYTHONPATH": str(ROOT), **named, **environ}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file; an empty list when it is missing."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def result_lines(workspace: Path) -> list[bytes]:
    """Return the lines of all files of records, without their newlines, as other programs read them."""
    files = [*sorted(workspace.glob("results-*.jsonl*")), workspace / "results.jsonl"]
    contents = [_unpack(path) if path.suffix == ".zst" else path.read_bytes() for path in files if path.exists()]
    return [line for content in contents for line in content.split(b"\n")[:-1]]


def _unpack(path: Path) -> bytes:
    with path.open("rb") as file, ZstdDecompressor().stream_reader(file, read_across_frames=True) as lines:
        return lines.read()


def results(workspace: Path) -> list[dict[str, Any]]:
    """Return the records of a workspace."""
    return [orjson.loads(line) for line in result_lines(workspace)]


def failures(workspace: Path) -> list[dict[str, Any]]:
    """Return the lines of failures.jsonl."""
    return read_lines(workspace / "failures.jsonl")
