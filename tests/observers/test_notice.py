"""The command at the end of a run: it gets the summary, no key, and no more than its time."""

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline.batch.observers import Start, Watch, observe
from pipeline.batch.summary import Summary
from pipeline.errors import KeyRejectedError, UsageError
from pipeline.observers.notice import Notice, NoticeError
from tests.summaries import RUN_ID, make_summary

START = Start(RUN_ID, Path("out"), datetime(2026, 11, 29, 2, tzinfo=UTC))


def write_command(path: Path, script: str) -> str:
    """Write an executable shell script, and return the command that runs it."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return shlex.quote(str(path))


async def test_the_command_gets_the_summary_and_its_arguments(tmp_path: Path) -> None:
    command = write_command(tmp_path / "my notice", f'cat > "{tmp_path}/$1.json"')
    notice = Notice(f"{command} 'to me'")
    notice.open()
    await notice.begin(START)
    await notice.end(make_summary(exit_code=3))
    fields = orjson.loads((tmp_path / "to me.json").read_bytes())
    assert (fields["exit_code"], fields["run_id"], fields["totals"]["done"]) == (3, RUN_ID, 12)


async def test_a_run_that_ended_before_it_began_is_told_too(tmp_path: Path) -> None:
    notice = Notice(write_command(tmp_path / "notice", f"cat > {tmp_path}/said.json"))
    await notice.begin(START)
    await notice.end(KeyRejectedError("no"))
    assert orjson.loads((tmp_path / "said.json").read_bytes()) == {"run_id": RUN_ID, "exit_code": 7, "reason": "no"}


async def test_the_command_gets_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEMILL_API_KEY", "sk-secret")
    monkeypatch.setenv("LLMOCR_API_KEY", "sk-secret")
    await Notice(write_command(tmp_path / "notice", f"env > {tmp_path}/environ")).end(make_summary())
    assert "sk-secret" not in (tmp_path / "environ").read_text()
    assert "PATH=" in (tmp_path / "environ").read_text()


async def test_a_command_that_reads_nothing_is_fine(tmp_path: Path) -> None:
    await Notice(write_command(tmp_path / "notice", "exec <&-; exit 0")).end(make_summary())


async def test_what_it_prints_does_not_reach_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """There is the summary of `--json`."""
    await Notice(write_command(tmp_path / "notice", "echo sent")).end(make_summary())
    assert "sent" not in capfd.readouterr().out


async def test_a_failing_command_says_its_status(tmp_path: Path) -> None:
    with pytest.raises(NoticeError, match="exit status 4"):
        await Notice(write_command(tmp_path / "notice", "exit 4")).end(make_summary())


async def test_a_command_that_hangs_is_killed_with_its_children(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ignores SIGTERM, reads nothing, and has a child."""
    monkeypatch.setattr(Notice, "patience_s", 0.5)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = write_command(tmp_path / "notice", f"trap '' TERM; exec 8>{fifo}; sleep 60 & sleep 60; wait")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        summary = await observe([Notice(command)], START, run_at_once)
        with anyio.fail_after(10):  # the last of them closes the FIFO as it dies
            await anyio.wait_readable(reader)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
    assert summary.exit_code == 0
    assert "--notify-command: not done after 0.5 s, given up; the run does not depend on it" in caplog.messages


async def test_a_daemon_that_it_leaves_behind_keeps_no_run_open(tmp_path: Path) -> None:
    """Its stderr is that of the run, and stays open in the daemon."""
    notice = Notice(write_command(tmp_path / "notice", f"sleep 60 & echo $! > {tmp_path}/pid; exit 0"))
    with anyio.fail_after(20):
        await notice.end(make_summary())
    os.kill(int((tmp_path / "pid").read_text()), 9)


@pytest.mark.parametrize("command", ["/no/such/program", "notice-that-is-nowhere --now", "'unfinished", ""])
def test_a_program_that_is_not_there_is_an_error_at_once(command: str) -> None:
    with pytest.raises(UsageError, match="notify command: "):
        Notice(command).open()


def test_a_program_on_the_path_is_found() -> None:
    Notice(f"{sys.executable} -c pass").open()


async def run_at_once(watch: Watch) -> Summary:
    del watch
    return make_summary()
