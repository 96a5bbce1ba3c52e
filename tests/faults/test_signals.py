"""SIGKILL, SIGTERM, SIGINT and SIGHUP, once and twice, at random moments of a run; a terminal that is gone."""

import asyncio
import fcntl
import os
import random
import re
import signal
import struct
import termios
from collections.abc import Awaitable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from tests.fakes import Call, Script
from tests.faults.scene import JOBS, PAGES, Scene, answer_after
from tests.runs import COMMAND, KEY, SABOTAGE, environment, read_until, run_arguments, start_command, wait_for_end

SEEDS = range(2)
SHUTTING_DOWN = b"a second signal aborts"
DEADLINE_S = 60
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Moment:
    """A random number of rounds of the server's event loop after the arrival of a random call.

    Later calls are answered only once `over` is set, so that the run does not end before.

    Args:
        seed: Of the random numbers.
        script: Answers the calls.
        call: The call's number; None draws it.
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
        """Answer a call, and note whether it is the one."""
        if call.number == self._call:
            self._arrived.set()
        if call.number > self._call:
            await self.over.wait()
        answer = self._script(call)
        return await answer if isinstance(answer, Awaitable) else answer

    async def wait(self) -> None:
        """Return at the moment."""
        await self._arrived.wait()
        for _ in range(self._rounds):
            await anyio.lowlevel.checkpoint()


async def interrupt(
    scene: Scene, seed: int, *signals: signal.Signals, call: int | None = None, sabotage: str | None = None
) -> int:
    """Run, send the first signal at a random moment and each further one during the shutdown; return the exit code."""
    moment = Moment(seed, answer_after(0.05), call=call)
    scene.fake.script = moment.script
    async with scene.start(sabotage=sabotage) as process:
        await moment.wait()
        process.send_signal(signals[0])
        for number in signals[1:]:
            await read_until(process, SHUTTING_DOWN)
            process.send_signal(number)
        moment.over.set()
        code, _ = await wait_for_end(process)
    return code


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_a_kill_only_calls_in_flight_are_repeated(scene: Scene, seed: int) -> None:
    assert await interrupt(scene, seed, signal.SIGKILL) == -signal.SIGKILL
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("seed", SEEDS)
async def test_after_one_signal_calls_in_flight_end_and_none_is_repeated(
    scene: Scene, seed: int, number: signal.Signals
) -> None:
    assert await interrupt(scene, seed, number) == 128 + number
    stopped = scene.check_stopped()
    assert (stopped.unwritten, stopped.surplus) == (0, 0)
    assert len(stopped.noted.lines) < PAGES
    assert await scene.run() == 0
    scene.check_finished()
    assert len(scene.fake.calls) == PAGES


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_second_signal_aborts_and_only_calls_in_flight_are_repeated(
    scene: Scene, number: signal.Signals
) -> None:
    assert await interrupt(scene, 7, number, number) == 128 + number
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


async def test_a_second_signal_names_each_call_that_may_be_billed(scene: Scene) -> None:
    """Also under `-qq`; the next run finds no other call without a text that was sent."""
    moment = Moment(5, answer_after(0.05), call=20)
    scene.fake.script = moment.script
    async with scene.start() as process:
        await moment.wait()
        await scene.fake.wait_for_calls(20 + JOBS - 1)
        process.send_signal(signal.SIGHUP)
        await read_until(process, SHUTTING_DOWN)
        process.send_signal(signal.SIGTERM)
        code, stderr = await wait_for_end(process)
        moment.over.set()
    assert code == 143
    named = re.findall(r"error: (page-\d+\.png) page 1: the call may be billed and is lost \(attempt (\S+)\)", stderr)
    assert len(named) == len(set(named)) >= scene.check_stopped().unwritten > 0
    sent = {call.filename for call in scene.fake.calls}
    ended, again = await scene.run_and_read()
    assert ended == 0
    lost = set(re.findall(r"(page-\d+\.png): an earlier call may have been billed", again))
    assert lost & sent <= {page for page, _ in named}
    scene.check_finished()


async def test_a_run_under_nohup_ignores_the_hangup(scene: Scene) -> None:
    moment = Moment(3, answer_after(0.05), call=20)
    scene.fake.script = moment.script
    async with scene.start(["env", "--ignore-signal=HUP"]) as process:
        await moment.wait()
        process.send_signal(signal.SIGHUP)
        moment.over.set()
        code, _ = await wait_for_end(process)
    assert code == 0
    scene.check_finished()


async def hang_up(scene: Scene, *, sabotage: str | None = None) -> int:
    """Run on a terminal of its own, close the terminal while calls are in flight, and return the exit code."""
    moment = Moment(2, answer_after(0.05), call=20)
    scene.fake.script = moment.script
    master, terminal = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    arguments = run_arguments(scene.scans, scene.directory, scene.fake.url, "-j", str(JOBS))
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", *(COMMAND if sabotage is None else (*SABOTAGE, sabotage)), *map(str, arguments)),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(KEY),
    )
    try:
        os.close(terminal)
        with anyio.fail_after(DEADLINE_S):
            await moment.wait()
            assert b"page" in os.read(master, 1 << 16)
            os.close(master)
            moment.over.set()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    await scene.fake.wait_until_quiet()
    return code


async def test_a_terminal_that_is_gone_loses_no_reply(scene: Scene) -> None:
    """As a dropped ssh session: SIGHUP comes, and nothing can be written to the terminal."""
    assert await hang_up(scene) == 129
    stopped = scene.check_stopped()
    assert (stopped.unwritten, stopped.surplus) == (0, 0)
    assert await scene.run() == 0
    scene.check_finished()
    assert len(scene.fake.calls) == PAGES


async def test_a_terminal_that_is_gone_loses_replies_when_the_hangup_is_not_watched(scene: Scene) -> None:
    """Negative control."""
    assert await hang_up(scene, sabotage="hangup-kills") == -signal.SIGHUP
    assert scene.check_stopped().unwritten > 0


async def test_a_signal_of_the_other_kind_aborts_too(scene: Scene) -> None:
    """As when a service manager stops a run after Ctrl-C; the second signal decides the exit code."""
    assert await interrupt(scene, 11, signal.SIGINT, signal.SIGTERM) == 128 + signal.SIGTERM
    scene.check_stopped()
    assert await scene.run() == 0
    scene.check_finished()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_one_signal_ends_a_run_whose_input_hangs(scans: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As an INPUT on a network mount whose server is gone; no workspace is made."""
    arguments = run_arguments(scans, tmp_path, "http://127.0.0.1:9")
    async with start_command(*arguments, command=(*SABOTAGE, "stuck-input")) as process:
        with anyio.fail_after(DEADLINE_S):
            await read_until(process, b"looking for")
            process.send_signal(number)
            code, _ = await wait_for_end(process)
    assert code == 128 + number
    assert not (tmp_path / "out").exists()


async def test_a_run_that_waits_for_the_hanging_thread_ends_only_at_a_second_signal(
    scans: Path, tmp_path: Path
) -> None:
    """Negative control."""
    arguments = run_arguments(scans, tmp_path, "http://127.0.0.1:9")
    async with start_command(*arguments, command=(*SABOTAGE, "stuck-input,wait-for-threads")) as process:
        with anyio.fail_after(DEADLINE_S):
            await read_until(process, b"looking for")
            process.send_signal(signal.SIGINT)
            await read_until(process, SHUTTING_DOWN)
            with pytest.raises(TimeoutError), anyio.fail_after(2):
                await process.wait()
            process.send_signal(signal.SIGINT)
            assert await wait_for_end(process) == (130, "")


async def test_a_shutdown_that_does_not_wait_for_replies_leaves_calls_without_a_line(scene: Scene) -> None:
    """Negative control."""
    assert await interrupt(scene, 2, signal.SIGTERM, sabotage="abort-at-once") == 128 + signal.SIGTERM
    assert scene.check_stopped().unwritten > 0


async def test_pages_that_count_before_they_are_written_fail_the_check(scene: Scene) -> None:
    """Negative control: a kill loses more texts than calls were in flight."""
    assert await interrupt(scene, 3, signal.SIGKILL, call=31, sabotage="count-before-writing") == -signal.SIGKILL
    with pytest.raises(AssertionError, match="pages were sent and have no line"):
        scene.check_stopped()
