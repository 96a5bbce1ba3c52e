"""After `kill -9`, the next run names the calls whose reply was lost. `tests/faults/` tests that no page is lost."""

import signal
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import anyio
from aiohttp import web

from tests.fakes import Call, FakeOcr, accept, answer_error, serve_fake
from tests.faults.accounts import count_used
from tests.pages import write_pages
from tests.runs import failures, results, run_arguments, run_command, start_command

PAGES = 30
JOBS = 4


async def run_until_killed(
    fake: FakeOcr, scans: Path, directory: Path, *, at_call: int, flags: tuple[str, ...] = ()
) -> None:
    """Start the command and kill it while the server delays its answer to call number `at_call` and later ones."""
    reached = anyio.Event()

    async def script(call: Call) -> web.Response:
        if call.number == at_call:
            reached.set()
        if call.number >= at_call:
            await anyio.sleep_forever()  # the server cancels this when the client is gone
        return accept(call)

    fake.script = script
    async with start_command(*run_arguments(scans, directory, fake.url, "-j", str(JOBS), *flags)) as process:
        with anyio.fail_after(60):
            await reached.wait()
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_the_next_run_names_the_calls_that_a_kill_left_open(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, tmp_path, at_call=9)
        recorded = {line["id"] for line in results(out)}
        open_pages = {f"sha256:{call.digest}#1" for call in fake.calls} - recorded
        open_files = {call.filename for call in fake.calls} - {line["source"] for line in results(out)}
        fake.script = accept
        done = await run_command(*run_arguments(scans, tmp_path, fake.url))
    stderr = done.stderr.decode()
    assert open_pages
    assert [page for page in open_pages | open_files if page not in stderr] == []


async def test_a_call_left_open_is_named_although_the_ledger_moved(scans: Path, tmp_path: Path) -> None:
    """A workspace remembers the ledger of its last run."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, tmp_path, at_call=1)
        fake.script = accept
        other = ("run", scans, "-o", out, "--api-url", fake.url, "--ledger", tmp_path / "elsewhere")
        assert (await run_command(*other)).returncode == 2
        done = await run_command(*other, "--accept-ledger")
    assert f"sha256:{fake.calls[0].digest}#1" in done.stderr.decode()
    assert done.returncode == 0


async def test_at_most_once_leaves_out_exactly_the_pages_that_were_sent(scans: Path, tmp_path: Path) -> None:
    """Pages that waited for their turn are sent by the next run; every run reports the uncertain ones, exit 3."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    flags = ("--at-most-once", "--rate", "20")
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, tmp_path, at_call=9, flags=flags)
        lost = {call.filename for call in fake.calls} - {line["source"] for line in results(out)}
        fake.script = accept
        for _ in range(2):
            done = await run_command(*run_arguments(scans, tmp_path, fake.url, "--at-most-once"))
            assert done.returncode == 3, done.stderr.decode()
        assert max(Counter(call.digest for call in fake.calls).values()) == 1
    assert {line["source"] for line in failures(out)} == lost
    assert len(results(out)) == PAGES - len(lost)


async def test_pages_hold_no_reservation_while_the_first_call_goes_alone(scans: Path, tmp_path: Path) -> None:
    """Thirty kills at that moment counted 1,840 calls for 202 that were sent."""
    write_pages(scans, PAGES)
    async with serve_fake() as fake:
        for kills in range(1, 4):
            await run_until_killed(fake, scans, tmp_path, at_call=kills)
            assert len(fake.calls) == count_used(tmp_path / "ledger") == kills


async def test_pages_hold_no_reservation_while_the_account_must_wait(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, PAGES)
    refused = anyio.Event()

    def script(call: Call) -> Awaitable[web.StreamResponse] | web.StreamResponse:
        if call.number < 9:
            return accept(call)
        refused.set()
        return answer_error(429, Retry_After="300")(call)

    async with serve_fake(script) as fake:
        arguments = run_arguments(scans, tmp_path, fake.url, "-j", str(JOBS))
        async with start_command(*arguments) as process:
            with anyio.fail_after(60):
                await refused.wait()
                while count_used(tmp_path / "ledger") != 8:  # noqa: ASYNC110 - the ledger belongs to another process
                    await anyio.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert len(results(tmp_path / "out")) == 8
