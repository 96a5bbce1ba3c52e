"""Turns that callers share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.engine.recognition import BusyError
from pipeline.server.http.turns import ACTIVE_S, FairTurns
from tests.clocks import Clock


class Jobs:
    """Jobs of callers, in the order in which they begin; each ends when the test says so."""

    def __init__(self, turns: FairTurns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[str]] = []

    async def add(self, *names: str) -> None:
        """Add jobs; the caller is the first letter of the name."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self.turns.run(name[0], lambda name=name: self._work(name))))  # type: ignore[misc]
            await settle()

    async def end(self, name: str) -> None:
        """End a job."""
        self._ends[name].set()
        await settle()

    async def cancel(self, name: str) -> None:
        """Cancel the caller of a job."""
        self._tasks[list(self._ends).index(name)].cancel()
        await settle()

    async def end_all(self) -> None:
        """Cancel the callers and end all jobs."""
        for task in self._tasks:
            task.cancel()
        for end in self._ends.values():
            end.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await settle()

    async def _work(self, name: str) -> str:
        self.begun.append(name)
        await self._ends[name].wait()
        return name


@asynccontextmanager
async def jobs(turns: int, *, finishes_jobs: bool = True, clock: Clock | None = None) -> AsyncIterator[Jobs]:
    """Yield jobs of a number of turns; they end with the block."""
    time = clock or Clock()
    made = Jobs(FairTurns(turns, finishes_jobs=finishes_jobs, clock_s=lambda: time.uptime_s))
    try:
        yield made
    finally:
        await made.end_all()
    assert repr(made.turns) == f"<FairTurns 0 of {turns} taken, 0 waiting>"


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(8):
        await asyncio.sleep(0)


async def test_a_lone_caller_gets_every_turn() -> None:
    async with jobs(2) as made:
        await made.add("a1", "a2", "a3")
        assert made.begun == ["a1", "a2"]
        assert repr(made.turns) == "<FairTurns 2 of 2 taken, 1 waiting>"
        await made.end("a1")
        assert made.begun == ["a1", "a2", "a3"]


async def test_a_caller_s_first_job_goes_before_the_queue_of_another() -> None:
    async with jobs(1) as made:
        await made.add("a1", "a2", "a3", "b1")
        await made.end("a1")
        await made.end("b1")
        assert made.begun == ["a1", "b1", "a2"]


async def test_callers_take_turns() -> None:
    async with jobs(1) as made:
        await made.add("a1", "a2", "a3", "b1", "b2", "c1")
        for name in ("a1", "b1", "c1", "a2", "b2"):
            await made.end(name)
        assert made.begun == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_while_several_callers_are_active_none_takes_the_last_turn_beside_another_of_its_own() -> None:
    """So a caller whose pages take minutes never has every worker."""
    async with jobs(2) as made:
        await made.add("b1")
        await made.end("b1")
        await made.add("a1", "a2")
        assert made.begun == ["b1", "a1"]
        await made.add("b2")
        assert made.begun == ["b1", "a1", "b2"]


async def test_a_caller_is_active_for_a_while_only() -> None:
    clock = Clock()
    async with jobs(2, clock=clock) as made:
        await made.add("b1")
        await made.end("b1")
        clock.uptime_s += ACTIVE_S + 1
        await made.add("a1", "a2")
        assert made.begun == ["b1", "a1", "a2"]


@pytest.mark.parametrize("finishes_jobs", [True, False])
async def test_a_cancelled_caller_s_turn_ends_with_its_job(finishes_jobs: bool) -> None:  # noqa: FBT001
    """A worker finishes its page: a caller that disconnects and calls again must not get a second worker for it."""
    async with jobs(1, finishes_jobs=finishes_jobs) as made:
        await made.add("a1", "b1")
        await made.cancel("a1")
        assert made.begun == (["a1"] if finishes_jobs else ["a1", "b1"])
        await made.end("a1")
        assert made.begun == ["a1", "b1"]


async def test_a_cancelled_caller_leaves_the_queue() -> None:
    async with jobs(1) as made:
        await made.add("a1", "b1", "c1")
        await made.cancel("b1")
        assert made.turns.waiting == 1
        await made.end("a1")
        assert made.begun == ["a1", "c1"]


async def test_a_turn_that_is_granted_to_a_cancelled_caller_goes_to_the_next() -> None:
    async with jobs(1) as made:
        await made.add("a1", "b1", "c1")
        made._ends["a1"].set()
        made._tasks[1].cancel()
        await settle()
        assert made.begun == ["a1", "c1"]


async def test_a_job_whose_turn_does_not_come_in_time_finds_the_server_busy() -> None:
    turns, ends = FairTurns(1, finishes_jobs=True, wait_max_s=0.01), asyncio.Event()
    first = asyncio.create_task(turns.run("a", ends.wait))
    await settle()
    with pytest.raises(BusyError):
        await turns.run("b", ends.wait)
    ends.set()
    await first
    assert repr(turns) == "<FairTurns 0 of 1 taken, 0 waiting>"


async def test_the_error_of_a_job_is_its_caller_s_and_frees_the_turn() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    turns = FairTurns(1, finishes_jobs=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await turns.run("a", fail)
