"""`run_sync`: it works where an event loop runs, and an interrupt ends it in order."""

import asyncio
import signal
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import Process

from pipeline import Job, Service, State, run_sync
from pipeline.errors import UsageError
from tests.fakes import accept_when, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_pages
from tests.runs import KEY, ROOT, configure, environment, read_until, results, wait_for_end

BEGIN = """\
import asyncio, logging, sys
from pipeline import Job, run_sync, stream
logging.basicConfig(format="%(message)s", level="INFO")
job = Job(sys.argv[1], "out")
async def iterate():
    async for record in stream(job):
        pass
try:
    {call}
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


def fail_job(scans: Path, tmp_path: Path) -> Job:
    """Return a job that needs no server: its one page is empty."""
    (scans / "bad.png").write_bytes(b"")
    service = Service("http://127.0.0.1:9", KEY, "127.0.0.1")
    return Job(scans, tmp_path / "out", service=service, config=configure(tmp_path / "out"))


async def test_run_sync_works_where_an_event_loop_runs(scans: Path, tmp_path: Path) -> None:
    assert run_sync(fail_job(scans, tmp_path)).totals[State.FAILED] == 1


def test_run_sync_works_inside_anyio_run(scans: Path, tmp_path: Path) -> None:
    async def main() -> int:
        await anyio.lowlevel.checkpoint()
        return run_sync(fail_job(scans, tmp_path)).totals[State.FAILED]

    assert anyio.run(main) == 1


async def test_run_sync_works_in_a_thread(scans: Path, tmp_path: Path) -> None:
    summary = await asyncio.to_thread(run_sync, fail_job(scans, tmp_path))
    assert summary.totals[State.FAILED] == 1


async def test_run_sync_raises_what_run_raises(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run_sync(Job(tmp_path / "missing", tmp_path / "out", config=configure(tmp_path / "out")))


@pytest.mark.parametrize(("interrupts", "texts"), [pytest.param(1, 5, id="once"), pytest.param(2, 1, id="twice")])
async def test_an_interrupt_ends_run_sync_in_order_and_a_second_one_at_once(
    interrupts: int, texts: int, scans: Path, tmp_path: Path
) -> None:
    """Once: calls in flight are recorded. Twice: they are named, for they may be billed."""
    write_pages(scans, 20)
    released = asyncio.Event()

    async with serve_fake(accept_when(released, from_call=2)) as fake:
        process = await start_script("run_sync(job)", scans, tmp_path, fake.url)
        async with process:
            await fake.wait_for_calls(5)
            process.send_signal(signal.SIGINT)
            before = await read_until(process, b"interrupted")
            if interrupts == 2:
                process.send_signal(signal.SIGINT)
            else:
                released.set()
            exit_code, after = await wait_for_end(process)
            assert process.stdout is not None
            stdout = b"".join([block async for block in process.stdout])
        stderr = before.decode() + after
        assert exit_code == 0, stderr
        released.set()
        assert stdout == b"KeyboardInterrupt\n"
        assert "Traceback" not in stderr
        assert len(fake.calls) == 5
        assert len(results(tmp_path / "out")) == texts
        assert stderr.count("may be billed") == 5 - texts
    assert interrupts == 2 or ("stopped: ended by SIGINT" in stderr and list_faults(tmp_path / "out") == [])


async def test_an_interrupt_of_a_program_that_streams_loses_no_reply(scans: Path, tmp_path: Path) -> None:
    """`asyncio.run` cancels the loop over a bare stream, and waits at its end for the calls in flight."""
    write_pages(scans, 20)
    released = asyncio.Event()
    async with serve_fake(accept_when(released, from_call=2)) as fake:
        process = await start_script("asyncio.run(iterate())", scans, tmp_path, fake.url)
        async with process:
            await fake.wait_for_calls(5)
            process.send_signal(signal.SIGINT)
            await read_until(process, b"ended by the program: finishing")
            assert fake.in_flight == 4
            released.set()
            exit_code, stderr = await wait_for_end(process)
        assert (exit_code, len(fake.calls)) == (0, 5), stderr
        assert "Traceback" not in stderr
    assert len(results(tmp_path / "out")) == 5
    assert list_faults(tmp_path / "out") == []


async def start_script(call: str, scans: Path, directory: Path, url: str) -> Process:
    """Start a program that makes a call, with four jobs."""
    environ = environment(
        KEY,
        PAGEMILL_API_URL=url,
        PAGEMILL_JOBS="4",
        PAGEMILL_STATE_DIR=str(directory),
        PYTHONPATH=str(ROOT),
        PYTHONUNBUFFERED="1",
    )
    script = BEGIN.format(call=call)
    return await anyio.open_process([sys.executable, "-c", script, str(scans)], cwd=directory, env=environ)
