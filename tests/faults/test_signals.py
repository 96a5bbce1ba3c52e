"""SIGKILL, SIGTERM and SIGINT, once and twice, at random moments of a run."""

import random
import signal
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from tests.benchmarks.one_key import SABOTAGE
from tests.fakes import Call, Script, serve_fake
from tests.faults.scene import JOBS, PAGES, Scene, answer_after
from tests.pages import write_pages
from tests.runs import read_until, start_command, wait_for_end

SEEDS = range(2)
DRAINS = b"once more aborts"
DEADLINE_S = 60


@pytest.fixture
async def scene(scans: Path, tmp_path: Path) -> AsyncGenerator[Scene]:
    """A workspace of fifty pages and its server."""
    write_pages(scans, PAGES)
    async with serve_fake() as fake:
        yield Scene(fake, scans, tmp_path)


class Moment:
    """So many rounds of the event loop after the arrival of a call; drawn at random, and found again by its seed.

    Later calls are not answered until it is `over`, so that the run lasts as long.
    """

    def __init__(self, seed: int, script: Script, *, call: int | None = None) -> None:
        rng = random.Random(seed)
        self._call = rng.randint(1, PAGES - JOBS) if call is None else call
        self._rounds = rng.randint(0, 40)
        self._script = script
        self._arrived = anyio.Event()
        self.over = anyio.Event()

    def __repr__(self) -> str:
        return f"<Moment {self._rounds} rounds after call {self._call}>"

    async def script(self, call: Call) -> web.StreamResponse:
        """Answer, and see whether it is that call."""
        if call.number == self._call:
            self._arrived.set()
        if call.number > self._call:
            await self.over.wait()
        answer = self._script(call)
        return await answer if isinstance(answer, Awaitable) else answer

    async def wait(self) -> None:
        """Return when it has come."""
        await self._arrived.wait()
        for _ in range(self._rounds):
            await anyio.lowlevel.checkpoint()


async def interrupt(
    scene: Scene, seed: int, *signals: signal.Signals, call: int | None = None, sabotage: str | None = None
) -> int:
    """Run, and send the first signal at a random moment, each further one when the drain is under way."""
    moment = Moment(seed, answer_after(0.05), call=call)
    scene.fake.script = moment.script
    async with scene.start(sabotage=sabotage) as process:
        await moment.wait()
        process.send_signal(signals[0])
        for number in signals[1:]:
            await read_until(process, DRAINS)
            process.send_signal(number)
        moment.over.set()
        code, _ = await wait_for_end(process)
    return code


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_kill_repeats_only_what_was_in_flight(scene: Scene, seed: int) -> None:
    """At any moment: nothing recorded vanishes or is paid again, and the ledger knew of every call."""
    assert await interrupt(scene, seed, signal.SIGKILL) == -signal.SIGKILL
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_one_signal_drains_and_nothing_is_repeated(scene: Scene, seed: int, number: signal.Signals) -> None:
    """Every call under way lands and is settled: when all is done, each page was sent once, and counted once."""
    assert await interrupt(scene, seed, number) == 128 + number
    stopped = scene.check_stopped()
    assert (stopped.unwritten, stopped.surplus) == (0, 0)
    assert len(stopped.noted.lines) < PAGES
    assert await scene.run() == 0
    scene.check_finished()
    assert len(scene.fake.calls) == PAGES


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
async def test_a_second_signal_aborts_and_repeats_only_what_was_in_flight(scene: Scene, number: signal.Signals) -> None:
    """Who asks twice gets the same exit status at once; what was in flight counts as spent and is sent again."""
    assert await interrupt(scene, 7, number, number) == 128 + number
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


async def test_a_signal_of_the_other_kind_aborts_too(scene: Scene) -> None:
    """SIGTERM after Ctrl-C, as a service manager sends it to a run that drains: the second names the exit status."""
    assert await interrupt(scene, 11, signal.SIGINT, signal.SIGTERM) == 128 + signal.SIGTERM
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
async def test_one_signal_ends_a_run_that_still_looks_for_its_inputs(
    scans: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """An INPUT on a dead network mount: the exit status is the usual one, and no workspace was made."""
    arguments = ("run", scans, "-o", tmp_path / "out", "--api-url", "http://127.0.0.1:9")
    async with start_command(*arguments, command=(*SABOTAGE, "stuck-input")) as process:
        with anyio.fail_after(DEADLINE_S):
            await read_until(process, b"looking for")
            process.send_signal(number)
            code, _ = await wait_for_end(process)
    assert code == 128 + number
    assert not (tmp_path / "out").exists()


async def test_a_run_that_waits_for_its_inputs_while_it_drains_is_seen(scans: Path, tmp_path: Path) -> None:
    """Negative control: when the thread that looks for them is not left behind, only a second signal ends the run."""
    arguments = ("run", scans, "-o", tmp_path / "out", "--api-url", "http://127.0.0.1:9")
    async with start_command(*arguments, command=(*SABOTAGE, "stuck-input,wait-for-threads")) as process:
        with anyio.fail_after(DEADLINE_S):
            await read_until(process, b"looking for")
            process.send_signal(signal.SIGINT)
            await read_until(process, DRAINS)
            with pytest.raises(TimeoutError), anyio.fail_after(2):
                await process.wait()
            process.send_signal(signal.SIGINT)
            assert await wait_for_end(process) == (130, "")


async def test_a_drain_that_does_not_wait_for_replies_is_seen(scene: Scene) -> None:
    """Negative control: without the drain the calls under way have no line."""
    assert await interrupt(scene, 2, signal.SIGTERM, sabotage="abort-at-once") == 128 + signal.SIGTERM
    assert scene.check_stopped().unwritten > 0


async def test_a_page_that_counts_before_it_is_written_is_seen(scene: Scene) -> None:
    """Negative control: when the slot is free before the line is on disk, a kill takes more than was in flight."""
    assert await interrupt(scene, 3, signal.SIGKILL, call=31, sabotage="count-before-writing") == -signal.SIGKILL
    with pytest.raises(AssertionError, match="pages were sent and have no line"):
        scene.check_stopped()
