"""`kill -9` of a real run: what was recorded stays, and is never paid for again."""

import signal
from collections import Counter
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from pipeline.budget import ledger_path
from pipeline.ledger import Ledger
from pipeline.rules.quota import Calendar
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


@pytest.mark.parametrize("at_call", [1, 2, 7, 23])
async def test_after_a_kill_the_run_finishes_without_sending_a_recorded_page_again(
    scans: Path, tmp_path: Path, at_call: int
) -> None:
    """Every page once in results.jsonl; only calls that were in flight repeat, and the ledger counts them all."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        await run_until_killed(fake, scans, out, at_call=at_call)
        recorded = {line["sha256"] for line in results(out)}
        sent = Counter(call.digest for call in fake.calls)
        fake.script = accept
        done = await run_command("run", scans, "-o", out, "--api-url", fake.url, "--ledger", out.parent / "ledger")
        calls = Counter(call.digest for call in fake.calls)
    assert done.returncode == 0, done.stderr.decode()
    lines = results(out)
    assert Counter(line["source"] for line in lines) == {f"page-{number:04}.png": 1 for number in range(PAGES)}
    assert [digest for digest in recorded if calls[digest] > 1] == []
    repeated = sum(calls.values()) - len(calls)
    assert repeated == len(sent) - len(recorded) <= JOBS
    ledger = Ledger(ledger_path(out.parent / "ledger", KEY, "127.0.0.1"), Calendar(), None)
    assert ledger.usage().used >= sum(fake.billed.values())
    ledger.close()
    verified = await run_command("verify", out)
    assert (verified.returncode, verified.stdout) == (0, b"")


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


async def test_the_first_signal_drains_and_says_so(scans: Path, tmp_path: Path) -> None:
    """SIGINT: no new call goes out, those under way land, exit 130; running again finishes."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    release, held = anyio.Event(), anyio.Event()

    async def script(call: Call) -> web.Response:
        if call.number > 5:
            held.set()
            await release.wait()
        return accept(call)

    async with serve_fake(script) as fake:
        command = [*COMMAND, "run", str(scans), "-o", str(out), "--api-url", fake.url, "-j", "2"]
        async with await anyio.open_process(command, env=environment(KEY)) as process:
            await held.wait()
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            with anyio.fail_after(30):
                said = await process.stderr.receive()
            release.set()
            assert await process.wait() == 130
        assert b"SIGINT" in said
        assert len(results(out)) == len(fake.calls) <= 5 + 2
        assert (await run_command("run", scans, "-o", out, "--api-url", fake.url)).returncode == 0
    assert len(results(out)) == PAGES
    assert set(fake.billed.values()) == {1}


async def test_the_second_signal_ends_at_once(scans: Path, tmp_path: Path) -> None:
    """Who asks twice does not wait for a server that hangs."""
    write_pages(scans, 3)
    reached = anyio.Event()

    async def script(call: Call) -> web.Response:
        reached.set()
        await anyio.sleep_forever()
        return accept(call)

    async with serve_fake(script) as fake:
        command = [*COMMAND, "run", str(scans), "-o", str(tmp_path / "out"), "--api-url", fake.url]
        async with await anyio.open_process(command, env=environment(KEY)) as process:
            await reached.wait()
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            await process.stderr.receive()
            process.send_signal(signal.SIGTERM)
            with anyio.fail_after(10):
                assert await process.wait() == 143
