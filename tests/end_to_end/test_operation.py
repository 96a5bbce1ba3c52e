"""What an operator sees of a night: pings, metrics, the log, a command at the end; none of them changes the night."""

import asyncio
import shlex
import signal
import socket
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson
import pytest

from tests.corrections import correct
from tests.fakes import accept_when, answer_error, serve_fake
from tests.monitor import run_monitor
from tests.observers.test_metrics import read_series
from tests.pages import write_pages
from tests.runs import read_lines, read_until, run_arguments, run_command, start_command, wait_for_end


def write_notice(tmp_path: Path, script: str = 'cat > "$1"') -> str:
    """Return a command that writes what it is told to notice.json."""
    path = tmp_path / "notice"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return shlex.join([str(path), str(tmp_path / "notice.json")])


async def test_pings_metrics_log_and_command_tell_of_one_run(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 5)
    with run_monitor() as monitor:
        async with serve_fake() as fake:
            arguments = run_arguments(scans, tmp_path, fake.url, "--json", "-q", "--log-format", "json")
            more = ("--metrics-file", tmp_path / "pagemill.prom", "--log-file", tmp_path / "log.jsonl")
            notice = ("--ping-url", monitor.url, "--notify-command", write_notice(tmp_path))
            done = await run_command(*arguments, *more, *notice, "--metrics-port", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    summary = orjson.loads(done.stdout)
    run_id = summary["run_id"]
    assert orjson.loads((tmp_path / "notice.json").read_bytes()) == summary
    assert orjson.loads((tmp_path / "out" / "run.json").read_bytes())["run_id"] == run_id
    assert monitor.paths == ["/job/start", "/job"]
    assert {ping.run_id for ping in monitor.pings} == {run_id}
    assert f'run_id="{run_id}"' in (tmp_path / "pagemill.prom").read_text()
    lines = read_lines(tmp_path / "log.jsonl")
    assert {line["run"] for line in lines} == {run_id}
    assert lines[-1]["message"].startswith("5 new; 5 done in all; 5 calls")
    assert not (tmp_path / "out" / "progress.json").exists()


async def test_metrics_count_what_a_person_has_reviewed_since_the_last_run(scans: Path, tmp_path: Path) -> None:
    a, b, c = write_pages(scans, 3)
    out, path = tmp_path / "out", tmp_path / "pagemill.prom"
    async with serve_fake() as fake:
        arguments = run_arguments(scans, tmp_path, fake.url, "--metrics-file", path)
        assert (await run_command(*arguments)).returncode == 0
        first = read_series(path.read_text(), out)
        assert (first["pagemill_pages_corrected", ()], first["pagemill_pages_checked", ()]) == (0, 0)
        corrected = [{"source": page.name, "page": 1, "text": "by hand"} for page in (a, b)]
        checked = {"source": c.name, "page": 1, "checked": True}
        await anyio.to_thread.run_sync(lambda: correct(out, *corrected, checked))
        assert (await run_command(*arguments)).returncode == 0
    again = read_series(path.read_text(), out)
    assert (again["pagemill_pages_corrected", ()], again["pagemill_pages_checked", ()]) == (2, 1)
    status = orjson.loads((await run_command("status", out, "--json")).stdout)
    assert (status["corrected"], status["checked"]) == (2, 1)


@pytest.mark.parametrize("is_up", [True, False], ids=["monitor-fails", "monitor-is-down"])
async def test_nobody_who_watches_changes_how_the_run_ends(scans: Path, tmp_path: Path, is_up: bool) -> None:  # noqa: FBT001
    """A monitor that is down, a command that fails, a full disk for the metrics."""
    write_pages(scans, 2)
    with run_monitor() as former:
        pass
    with run_monitor() as monitor:
        monitor.answers = [(500, "")] * 10
        async with serve_fake(answer_error(401, "Unauthorized")) as fake:
            notice = ("--notify-command", write_notice(tmp_path, "exit 9"))
            watched = ("--ping-url", (monitor if is_up else former).url, "--metrics-file", tmp_path / "x.prom")
            (tmp_path / ".x.prom.new").mkdir()
            done = await run_command(*run_arguments(scans, tmp_path, fake.url), *watched, *notice)
    assert done.returncode == 7
    stderr = done.stderr.decode()
    assert stderr.count("the run does not depend on it") == 3, stderr
    assert "Traceback" not in stderr
    assert "/job" not in stderr


async def test_a_port_that_is_taken_ends_the_run_before_any_call(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    with socket.create_server(("127.0.0.1", 0)) as other, run_monitor() as monitor:
        async with serve_fake() as fake:
            port = str(other.getsockname()[1])
            arguments = run_arguments(scans, tmp_path, fake.url, "--metrics-port", port, "--ping-url", monitor.url)
            done = await run_command(*arguments)
            assert len(fake.calls) == 0
    assert done.returncode == 2
    assert f"metrics port 127.0.0.1:{port}: Address already in use" in done.stderr.decode()
    assert monitor.paths == ["/job/start", "/job/fail"]


async def test_a_night_without_a_key_is_reported(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    with run_monitor() as monitor:
        arguments = ("run", scans, "-o", tmp_path / "out", "--api-key-file", tmp_path / "missing")
        notice = ("--ping-url", monitor.url, "--notify-command", write_notice(tmp_path))
        done = await run_command(*arguments, *notice, key=None)
    assert done.returncode == 2
    assert monitor.paths == ["/job/start", "/job/fail"]
    assert "cannot read the API key" in monitor.pings[1].body
    told: dict[str, Any] = orjson.loads((tmp_path / "notice.json").read_bytes())
    assert (told["exit_code"], told["run_id"]) == (2, monitor.pings[0].run_id)


async def test_a_signal_is_a_failure_with_its_exit_code(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 8)
    released = asyncio.Event()
    with run_monitor() as monitor:
        async with serve_fake(accept_when(released, from_call=2)) as fake:
            arguments = run_arguments(scans, tmp_path, fake.url, "--ping-url", monitor.url, "--no-progress")
            async with start_command(*arguments) as process:
                await fake.wait_for_calls(2)
                process.send_signal(signal.SIGTERM)
                await read_until(process, b"second signal aborts")
                released.set()
                code, _ = await wait_for_end(process)
    assert code == 143
    assert monitor.paths == ["/job/start", "/job/fail"]
    assert monitor.pings[1].body.startswith("exit 143: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        pytest.param(["--ping-url", "hc-ping.com/secret"], "ping url: not an http(s) URL", id="ping-url"),
        pytest.param(["--notify-command", "no-such-program"], "no-such-program: not found", id="command"),
        pytest.param(["--stats", "soon"], "operate.stats: 'soon' is no duration", id="stats"),
        pytest.param(["--log-file", "missing/log"], "log file missing/log: No such file", id="log-file"),
        pytest.param(["--metrics-file", "missing/x.prom"], "no such directory", id="metrics-file"),
    ],
)
async def test_a_setting_that_is_wrong_is_exit_2_before_any_call(
    scans: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    write_pages(scans, 1)
    done = await run_command(*run_arguments(scans, tmp_path, "http://127.0.0.1:9"), *arguments)
    assert done.returncode == 2
    assert problem in done.stderr.decode()
    assert "secret" not in done.stderr.decode()


async def test_what_may_be_a_secret_is_not_in_run_json(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        arguments = run_arguments(scans, tmp_path, fake.url, "--notify-command", "true --token=tell-nobody")
        assert (await run_command(*arguments)).returncode == 0
    assert "tell-nobody" not in (tmp_path / "out" / "run.json").read_text()
