"""Which pings a run sends."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.batch.observers import Start, Watch, observe
from pipeline.batch.summary import Summary
from pipeline.errors import KeyRejectedError
from pipeline.exit_codes import EXIT_CODES
from pipeline.observers.pings import Pings
from tests.monitor import run_monitor
from tests.summaries import RUN_ID, make_summary

START = Start(RUN_ID, Path("out"), datetime(2026, 11, 29, 2, tzinfo=UTC))


@pytest.mark.parametrize("exit_code", [code for code in EXIT_CODES if code != 0])
async def test_the_exit_code_decides_between_success_and_failure(exit_code: int) -> None:
    with run_monitor() as monitor:
        pings = Pings(monitor.url)
        await pings.begin(START)
        await pings.end(make_summary(exit_code=exit_code))
    assert monitor.paths == ["/job/start", "/job" if exit_code in {3, 8, 10} else "/job/fail"]
    assert {ping.run_id for ping in monitor.pings} == {RUN_ID}
    assert monitor.pings[1].body.startswith(f"exit {exit_code}: 2 new")


async def test_a_monitor_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Pings, "patience_s", 0.2)

    async def run(_: Watch) -> Summary:
        return make_summary(exit_code=8)

    with run_monitor() as monitor:
        monitor.silent.set()
        summary = await observe([Pings(monitor.url)], START, run)
    assert summary.exit_code == 8
    assert monitor.paths == ["/job/start", "/job"]
    assert "--ping-url: not done after 0.2 s, given up; the run does not depend on it" in caplog.messages


async def test_a_run_that_ended_before_it_began_is_a_failure_with_its_reason() -> None:
    with run_monitor() as monitor:
        pings = Pings(monitor.url)
        await pings.begin(START)
        await pings.end(KeyRejectedError("the key was\nrejected"))
    assert monitor.pings[1].path == "/job/fail"
    assert monitor.pings[1].body == r"exit 7: the key was\nrejected"
