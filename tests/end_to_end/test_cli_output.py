"""Output that cannot be written: a full device, a closed stream, a reader that has exited."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, environment, results, run_here

COMMANDS = [
    pytest.param(["--help"], id="help"),
    pytest.param(["--version"], id="version"),
    pytest.param(["run", "--help"], id="help-of-a-command"),
    pytest.param(["config"], id="group"),
    pytest.param(["config", "init"], id="config-init"),
    pytest.param(["config", "show"], id="config-show"),
    pytest.param(["completion", "bash"], id="completion"),
    pytest.param(["status", "out"], id="status"),
    pytest.param(["status", "out", "--json"], id="status-json"),
    pytest.param(["quota", "--api-url", "http://127.0.0.1:9", "--ledger", "ledger"], id="quota"),
    pytest.param(["serve", "keys", "list"], id="keys"),
    pytest.param(["serve", "--port", "0"], id="serve"),
]


@pytest.fixture
def full_device() -> Iterator[int]:
    with Path("/dev/full").open("wb") as device:
        yield device.fileno()


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("target", ["full_device", "closed_pipe"])
async def test_output_that_cannot_be_written_is_exit_1_without_a_traceback(
    scans: Path, tmp_path: Path, arguments: list[str], target: str, request: pytest.FixtureRequest
) -> None:
    """A full device, or a reader that has exited."""
    os.chdir(tmp_path)
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
    done = await anyio.run_process(
        [*COMMAND, *arguments],
        check=False,
        env=environment(KEY, PAGEMILL_STATE_DIR=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=request.getfixturevalue(target),
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        pytest.param(["config", "check"], 0, id="success"),
        pytest.param(["status", "nowhere"], 2, id="error-of-the-command"),
        pytest.param(["nothing"], 2, id="error-of-the-parser"),
    ],
)
async def test_messages_that_cannot_be_written_change_no_exit_code(
    arguments: list[str], exit_code: int, full_device: int
) -> None:
    done = await anyio.run_process([*COMMAND, *arguments], check=False, env=environment(KEY), stderr=full_device)
    assert done.returncode == exit_code


@pytest.mark.parametrize(
    ("redirection", "exit_code"),
    [
        pytest.param("<&-", 0, id="stdin-closed"),
        pytest.param(">&-", 0, id="stdout-closed"),
        pytest.param("2>&-", 0, id="stderr-closed"),
        pytest.param("2>/dev/full", 0, id="log-disk-full"),
        pytest.param(">/dev/full", 1, id="stdout-full"),
    ],
)
async def test_a_stream_that_is_closed_or_full_costs_no_page(
    scans: Path, tmp_path: Path, redirection: str, exit_code: int
) -> None:
    """Only a summary that was asked for must be written."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        command = [*COMMAND, "run", str(scans), "-o", str(tmp_path / "out"), "--api-url", fake.url, "--json"]
        script = f'exec "$@" {redirection}'
        done = await anyio.run_process(["bash", "-c", script, "bash", *command], check=False, env=environment(KEY))
    assert done.returncode == exit_code, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(results(tmp_path / "out")) == 2
