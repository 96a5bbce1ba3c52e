"""Runs that end early: how they end, and that no hanging read, thread or stdin keeps them from ending."""

import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from anyio.abc import Process

from pipeline.errors import InterruptedRunError
from pipeline.records import State
from pipeline.shutdown import Shutdown
from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.faults.accounts import list_faults, read_usage
from tests.pages import write_pages
from tests.runs import (
    COMMAND,
    SABOTAGE,
    failures,
    read_until,
    results,
    run_arguments,
    run_here,
    start_command,
    wait_for_end,
)

PAGES = 30
JOBS = 4
OTHERS = 3
DEADLINE_S = 60


class TestEnds:
    """Every reason to end a run early ends it in the same way."""

    @pytest.mark.parametrize(
        ("sections", "exit_code", "sends_reserved"),
        [
            pytest.param({"run": {"max_calls": 4, "jobs": JOBS + 1}}, 10, True, id="max-calls"),
            pytest.param({"budget": {"quota": 4}, "run": {"jobs": JOBS + 1}}, 8, True, id="quota"),
            pytest.param({"run": {"max_failures": 0, "jobs": JOBS}}, 12, False, id="max-failures"),
            pytest.param({"run": {"max_duration": 0.5, "jobs": JOBS}}, 10, False, id="max-duration"),
            pytest.param({"run": {"jobs": JOBS}}, 130, False, id="signal"),
        ],
    )
    async def test_replies_to_calls_in_flight_are_recorded_and_the_accounts_add_up(
        self, scans: Path, tmp_path: Path, sections: dict[str, Any], exit_code: int, *, sends_reserved: bool
    ) -> None:
        """No call follows, each billed text is recorded, no reservation stays pending; the next run finishes."""
        write_pages(scans, PAGES)
        shutdown, out = Shutdown(), tmp_path / "out"
        full = anyio.Event()
        calls_at_the_end = 0

        async def answer(call: Call) -> web.StreamResponse:
            nonlocal calls_at_the_end
            if call.number > 1:
                if fake.in_flight == JOBS:
                    full.set()
                if call.number == 2 and exit_code in {12, 130}:
                    await full.wait()
                    if exit_code == 12:
                        return web.json_response({"statusText": "bad image"}, status=400)
                    shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
                await shutdown.requested.wait()
                calls_at_the_end = calls_at_the_end or len(fake.calls)
            return accept(call)

        async with serve_fake(answer) as fake:
            with anyio.fail_after(DEADLINE_S):
                summary = await run_here(scans, out, fake.url, shutdown=shutdown, **sections)
            billed, calls = sum(fake.billed.values()), len(fake.calls)
            assert summary.exit_code == exit_code
            assert sends_reserved or not full.is_set() or calls == calls_at_the_end
            assert len(results(out)) == summary.totals[State.DONE] == billed == summary.calls
            usage = read_usage(tmp_path / "ledger")
            assert (usage.used, usage.pending, usage.unknown) == (billed, 0, 0)
            assert summary.totals[State.FAILED] == len(failures(out))
            assert summary.pages == sum(summary.totals.values()) == PAGES
            assert list_faults(out) == []
            again = await run_here(scans, out, fake.url)
        failed = len(failures(out))
        assert (again.totals[State.DONE], again.totals[State.FAILED], again.pages) == (PAGES - failed, failed, PAGES)
        assert set(fake.billed.values()) == {1}

    async def test_a_server_that_hangs_costs_one_call_per_page_without_retries(
        self, scans: Path, tmp_path: Path
    ) -> None:
        """Each call has a deadline and counts as billed; no page is blamed, because none got a text."""
        write_pages(scans, 3)

        async def hang(call: Call) -> web.StreamResponse:
            await anyio.sleep_forever()
            return accept(call)

        async with serve_fake(hang) as fake:
            with anyio.fail_after(DEADLINE_S):
                summary = await run_here(scans, tmp_path / "out", fake.url, api={"timeout_s": 0.2}, run={"retries": 0})
        assert (summary.exit_code, summary.totals[State.PENDING], failures(tmp_path / "out")) == (5, 3, [])
        assert read_usage(tmp_path / "ledger").used == len(fake.calls) == 3


@asynccontextmanager
async def run_on_stdin(
    fake: FakeOcr, pages: Sequence[Path], directory: Path, *limit: str, command: Sequence[str] = COMMAND
) -> AsyncGenerator[Process]:
    """Start a run on pages that are named one by one on its stdin, which stays open."""
    async with start_command(*run_arguments("-", directory, fake.url, *limit), command=command) as process:
        assert process.stdin is not None
        with anyio.fail_after(DEADLINE_S):
            for page in pages:
                await process.stdin.send(f"{page}\n".encode())
                await fake.arrived.wait()
        yield process


async def exit_code_of(process: Process, *, deadline_s: float = DEADLINE_S) -> int:
    """Wait for the run's end and return its exit code.

    Raises:
        TimeoutError: the run does not end within the deadline.
    """
    with anyio.fail_after(deadline_s):
        code, _ = await wait_for_end(process)
    return code


class TestHangs:
    @pytest.mark.parametrize(
        ("limit", "exit_code"),
        [
            pytest.param([], 130, id="signal"),
            pytest.param(["--max-duration", "0.5"], 10, id="max-duration"),
            pytest.param(["--max-calls", "1"], 10, id="max-calls"),
            pytest.param(["--quota", "1"], 8, id="quota"),
        ],
    )
    async def test_a_stdin_that_stays_open_does_not_keep_the_run_from_ending(
        self, scans: Path, tmp_path: Path, limit: list[str], exit_code: int
    ) -> None:
        async with serve_fake() as fake, run_on_stdin(fake, write_pages(scans, 2), tmp_path, *limit) as process:
            if not limit:
                process.send_signal(signal.SIGINT)
            assert await exit_code_of(process) == exit_code
        assert len(results(tmp_path / "out")) == sum(fake.billed.values()) <= 2

    async def test_a_wait_for_stdin_that_is_not_cancelled_ends_only_with_stdin(
        self, scans: Path, tmp_path: Path
    ) -> None:
        """Negative control."""
        waiting = (*SABOTAGE, "wait-for-names")
        async with (
            serve_fake() as fake,
            run_on_stdin(fake, write_pages(scans, 1), tmp_path, command=waiting) as process,
        ):
            process.send_signal(signal.SIGINT)
            await read_until(process, b"SIGINT")
            with pytest.raises(TimeoutError):
                await exit_code_of(process, deadline_s=2)
            assert process.stdin is not None
            await process.stdin.aclose()
            assert await exit_code_of(process) == 130

    @pytest.mark.parametrize(
        ("limit", "exit_code"),
        [
            pytest.param([], 130, id="signal"),
            pytest.param(["--max-duration", "1.5"], 10, id="max-duration"),
            pytest.param(["--max-calls", "2"], 10, id="max-calls"),
        ],
    )
    async def test_a_read_that_never_returns_does_not_keep_the_run_from_ending(
        self, scans: Path, tmp_path: Path, limit: list[str], exit_code: int
    ) -> None:
        """As on a network mount whose server is gone: the page stays pending, the others are recorded."""
        write_stuck_page(scans)
        async with serve_fake() as fake:
            stuck = run_arguments(scans, tmp_path, fake.url, *limit)
            async with start_command(*stuck, command=(*SABOTAGE, "stuck-read")) as process:
                with anyio.fail_after(DEADLINE_S):
                    if not limit:
                        await fake.wait_for_calls(OTHERS)
                        process.send_signal(signal.SIGINT)
                    code, stderr = await wait_for_end(process)
        assert code == exit_code, stderr
        assert len(results(tmp_path / "out")) == sum(fake.billed.values()) <= OTHERS
        assert "stuck.png" not in {line["source"] for line in results(tmp_path / "out")}

    async def test_a_second_signal_ends_a_run_that_waits_for_a_hanging_thread(
        self, scans: Path, tmp_path: Path
    ) -> None:
        """Also the negative control: a run that waits for its threads does not end by itself."""
        write_stuck_page(scans)
        async with serve_fake() as fake:
            stuck = run_arguments(scans, tmp_path, fake.url)
            async with start_command(*stuck, command=(*SABOTAGE, "stuck-read,wait-for-threads")) as process:
                with anyio.fail_after(DEADLINE_S):
                    await fake.wait_for_calls(OTHERS)
                    process.send_signal(signal.SIGINT)
                    await read_until(process, b"SIGINT")
                    with anyio.move_on_after(2):
                        await process.wait()
                    assert process.returncode is None
                    process.send_signal(signal.SIGINT)
                    assert (await wait_for_end(process))[0] == 130


def write_stuck_page(scans: Path) -> None:
    """Write three pages, and `stuck.png`, which the sabotage `stuck-read` never finishes reading."""
    first, *_ = write_pages(scans, OTHERS + 1)
    first.rename(scans / "stuck.png")
