"""A run that is stopped (SIGSTOP, a suspended machine) and goes on: replies that wait in its sockets are read."""

import os
import signal
from collections import Counter
from pathlib import Path

import anyio
from aiohttp import web

from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.faults.accounts import check_every_page_once, count_used, list_faults
from tests.pages import write_pages
from tests.runs import COMMAND, SABOTAGE, read_lines, run_arguments, start_command, wait_for_end

PAGES = 24
JOBS = 8
STOPPED_S = 2.5
DEADLINES = ("PAGEMILL_API_READ_TIMEOUT_S=1.5", "PAGEMILL_API_TIMEOUT_S=2.0", "PAGEMILL_RETRIES=0")
"""Shorter than the stop; every call in flight is overdue when the run goes on."""


async def stop_for_a_while(scans: Path, place: Path, fake: FakeOcr, *, sabotage: str | None = None) -> tuple[int, str]:
    """Run, stop the process while calls are in flight, let the replies arrive, and let it go on.

    Returns:
        Exit code and stderr.
    """
    full, resumed = anyio.Event(), anyio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number > 1 and not resumed.is_set():
            if fake.in_flight == JOBS:
                full.set()
            await full.wait()
            await anyio.sleep(0.3)  # the process is stopped by then
        return accept(call)

    fake.script = answer
    command = COMMAND if sabotage is None else (*SABOTAGE, sabotage)
    arguments = run_arguments(scans, place, fake.url, "-j", str(JOBS))
    async with start_command(*arguments, command=("env", *DEADLINES, *command)) as process:
        with anyio.fail_after(60):
            await full.wait()
            os.killpg(process.pid, signal.SIGSTOP)
            await anyio.sleep(STOPPED_S)
            resumed.set()
            os.killpg(process.pid, signal.SIGCONT)
            return await wait_for_end(process)


async def test_replies_that_arrived_while_the_run_was_stopped_are_recorded(scans: Path, tmp_path: Path) -> None:
    """None is paid twice."""
    write_pages(scans, PAGES)
    async with serve_fake() as fake:
        code, stderr = await stop_for_a_while(scans, tmp_path, fake)
    assert code == 0, stderr
    assert set(fake.billed.values()) == {1}
    assert count_used(tmp_path / "ledger") == PAGES
    check_every_page_once(tmp_path / "out", PAGES)
    assert list_faults(tmp_path / "out") == []


async def test_deadlines_that_are_judged_at_once_lose_them(scans: Path, tmp_path: Path) -> None:
    """Negative control: each call that is given up is named, and counts.

    Whether a stop meets the timers before the sockets is the system's choice; of five stops one does so.
    """
    write_pages(scans, PAGES)
    for attempt in range(5):
        place = tmp_path / str(attempt)
        async with serve_fake() as fake:
            code, stderr = await stop_for_a_while(scans, place, fake, sabotage="judge-at-once")
        lost = [line for line in stderr.splitlines() if "the call may have been billed (attempt" in line]
        assert count_used(place / "ledger") >= sum(fake.billed.values())
        if lost:
            break
    assert lost, "in five stops no call was given up"
    assert code in {3, 5}, stderr
    recorded = Counter(line["source"] for line in read_lines(place / "out" / "results.jsonl"))
    assert len(recorded) < PAGES


async def test_several_stops_cost_nothing(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, PAGES)

    async def answer(call: Call) -> web.StreamResponse:
        await anyio.sleep(0.2)
        return accept(call)

    async with serve_fake(answer) as fake:
        arguments = run_arguments(scans, tmp_path, fake.url, "-j", "4")
        async with start_command(*arguments, command=("env", *DEADLINES, *COMMAND)) as process:
            with anyio.fail_after(60):
                for stop in range(3):
                    await fake.wait_for_calls(4 * stop + 2)
                    os.killpg(process.pid, signal.SIGSTOP)
                    await anyio.sleep(2.2)
                    os.killpg(process.pid, signal.SIGCONT)
                code, stderr = await wait_for_end(process)
    assert code == 0, stderr
    assert set(fake.billed.values()) == {1}
