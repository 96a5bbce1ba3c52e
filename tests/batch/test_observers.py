"""Observers are told of a run from its beginning to its end, and nothing that they do changes how it ends."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from pipeline.batch.observers import Ended, Observer, Start, Watch, new_run_id, observe
from pipeline.batch.progress import Snapshot
from pipeline.batch.summary import Summary
from pipeline.errors import KeyRejectedError, StopError, UsageError
from tests.summaries import make_snapshot, make_summary
from tests.virtual_time import on_virtual_time

START = Start("1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b", Path("out"), datetime(2026, 11, 29, 2, tzinfo=UTC))


class Diary(Observer):
    """Notes what it is told, and when."""

    name = "diary"

    def __init__(self, every_s: float | None = None) -> None:
        self.every_s = every_s
        self.entries: list[tuple[float, str]] = []

    def note(self, text: str) -> None:
        self.entries.append((anyio.current_time(), text))

    async def begin(self, start: Start) -> None:
        self.note(f"begin {start.run_id[:4]}")

    async def see(self, snapshot: Snapshot) -> None:
        self.note(f"see {snapshot.calls}")

    async def end(self, ended: Ended) -> None:
        self.note(f"end {ended.exit_code}")


async def run_for(watch: Watch, duration_s: float, *, exit_code: int = 0) -> Summary:
    """Run for a time, with a snapshot from the start."""
    watch.show(make_snapshot)
    await anyio.sleep(duration_s)
    return make_summary(exit_code=exit_code)


@on_virtual_time
async def test_an_observer_is_told_of_the_beginning_regularly_and_of_the_end() -> None:
    diary = Diary(every_s=10)
    summary = await observe([diary], START, lambda watch: run_for(watch, 25, exit_code=8))
    assert summary.exit_code == 8
    assert diary.entries == [(0, "begin 1b4e"), (0, "see 2"), (10, "see 2"), (20, "see 2"), (25, "end 8")]


@on_virtual_time
async def test_an_observer_without_an_interval_sees_no_snapshot() -> None:
    diary = Diary()
    await observe([diary], START, lambda watch: run_for(watch, 25))
    assert [text for _, text in diary.entries] == ["begin 1b4e", "end 0"]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        pytest.param(UsageError("no key"), 2, id="before-it-begins"),
        pytest.param(KeyRejectedError("401"), 7, id="the-error's-own"),
        pytest.param(ZeroDivisionError("a bug"), 1, id="a-bug"),
    ],
)
async def test_an_error_is_an_end_and_is_raised_as_it_was(error: Exception, exit_code: int) -> None:
    diary = Diary(every_s=10)

    async def fail(_: Watch) -> Summary:
        raise error

    with pytest.raises(type(error)) as caught:
        await observe([diary], START, fail)
    assert caught.value is error
    assert [text for _, text in diary.entries] == ["begin 1b4e", f"end {exit_code}"]


class Broken(Observer):
    """Fails, or hangs, at each call."""

    name = "broken"
    every_s = 1.0
    patience_s = 3.0

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure

    async def begin(self, start: Start) -> None:
        del start
        await self.act()

    async def see(self, snapshot: Snapshot) -> None:
        del snapshot
        await self.act()

    async def end(self, ended: Ended) -> None:
        del ended
        await self.act()

    async def act(self) -> None:
        if self.failure is not None:
            raise self.failure
        await anyio.sleep_forever()


@on_virtual_time
async def test_a_failing_observer_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary(every_s=10)
    summary = await observe([Broken(OSError("disk full")), diary], START, lambda watch: run_for(watch, 5))
    assert (summary.exit_code, anyio.current_time()) == (0, 5)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["broken: disk full; the run does not depend on it"]
    assert [text for _, text in diary.entries] == ["begin 1b4e", "see 2", "end 0"]


@on_virtual_time
async def test_a_hanging_observer_holds_up_the_end_for_twice_its_patience_at_most(
    caplog: pytest.LogCaptureFixture,
) -> None:
    summary = await observe([Broken(None)], START, lambda watch: run_for(watch, 0.5))
    assert (summary.exit_code, anyio.current_time()) == (0, 6)  # 3 s of the beginning, 3 s of the end
    assert "broken: not done after 3 s, given up; the run does not depend on it" in caplog.messages


class Demanding(Observer):
    """Lacks what it needs."""

    name = "demanding"

    def open(self) -> None:
        raise UsageError("port 9464: taken")


async def test_an_observer_that_lacks_what_it_needs_ends_the_run_before_it_begins() -> None:
    diary = Diary()

    async def run(_: Watch) -> Summary:
        raise AssertionError("nothing may run")

    with pytest.raises(StopError, match="taken"):
        await observe([diary, Demanding()], START, run)
    assert [text for _, text in diary.entries] == ["begin 1b4e", "end 2"]


def test_ids_of_runs_differ() -> None:
    assert len({new_run_id() for _ in range(100)}) == 100
