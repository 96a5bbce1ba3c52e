"""After `kill -9` of a real run: calls whose answer is lost are told by name. What is lost: `tests/faults/`."""

import signal
from collections import Counter
from pathlib import Path

import anyio
from aiohttp import web

from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, environment, results, run_command

PAGES = 30
JOBS = 4


async def run_until_killed(fake: FakeOcr, scans: Path, out: Path, *, at_call: int) -> None:
    """Start the command and kill it while the server holds call number `at_call`."""
    reached = anyio.Event()

    async def script(call: Call) -> web.Response:
        if call.number == at_call:
            reached.set()
        if call.number >= at_call:
            await anyio.sleep_forever()  # the server drops the connection when the client is gone
        return accept(call)

    fake.script = script
    command = [*COMMAND, "run", str(scans), "-o", str(out), "--api-url", fake.url, "-j", str(JOBS)]
    command += ["--ledger", str(out.parent / "ledger")]
    async with await anyio.open_process(command, env=environment(KEY)) as process:
        with anyio.fail_after(60):
            await reached.wait()
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_calls_that_a_kill_left_open_are_named(scans: Path, tmp_path: Path) -> None:
    """The next run says for which pages a call may have been billed in vain."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, out, at_call=9)
        recorded = {line["id"] for line in results(out)}
        open_pages = {f"sha256:{call.digest}#1" for call in fake.calls} - recorded
        open_files = {call.filename for call in fake.calls} - {line["source"] for line in results(out)}
        fake.script = accept
        done = await run_command("run", scans, "-o", out, "--api-url", fake.url, "--ledger", out.parent / "ledger")
    said = done.stderr.decode()
    assert open_pages
    assert [page for page in open_pages | open_files if page not in said] == []


async def test_a_call_left_open_is_named_though_the_ledger_moved(scans: Path, tmp_path: Path) -> None:
    """A workspace remembers where its last run reserved: another place does not hide what is open there."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, out, at_call=1)
        fake.script = accept
        done = await run_command("run", scans, "-o", out, "--api-url", fake.url, "--ledger", tmp_path / "elsewhere")
    assert f"sha256:{fake.calls[0].digest}#1" in done.stderr.decode()
    assert done.returncode == 0


async def test_at_most_once_reports_what_a_kill_left_open_and_sends_it_not(scans: Path, tmp_path: Path) -> None:
    """With `--at-most-once` no content is ever sent twice, whatever happens."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, out, at_call=9)
        lost = len({call.digest for call in fake.calls}) - len(results(out))
        fake.script = accept
        done = await run_command(
            "run", scans, "-o", out, "--at-most-once", "--api-url", fake.url, "--ledger", out.parent / "ledger"
        )
        assert max(Counter(call.digest for call in fake.calls).values()) == 1
    assert done.returncode == 3, done.stderr.decode()
    # Of the calls in flight, some may have been reserved and not yet sent: nobody can tell after a kill.
    assert PAGES - JOBS <= len(results(out)) <= PAGES - lost
