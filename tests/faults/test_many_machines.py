"""Runs that share a ledger in PostgreSQL, as the real command: the quota, kills, a database that restarts."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import asyncpg
import orjson
import pytest
from aiohttp import web

from pipeline.billing import Calendar
from pipeline.ledger.operations import Reserve
from pipeline.ledger.places import key_hash
from pipeline.ledger.postgres import place
from pipeline.ledger.postgres.database import Address
from pipeline.ledger.postgres.ledger import PostgresLedger
from pipeline.records import PageId
from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.pages import write_pages
from tests.postgres import PASSWORD, PostgresServer, run_postgres
from tests.runs import KEY, read_until, results, run_command, run_here, start_command, wait_for_end

PAGES = 12


def arguments(scans: Path, out: Path, fake: FakeOcr, url: str, *more: str) -> list[str]:
    """Return the arguments of a run with a ledger in the database."""
    return ["run", str(scans), "-o", str(out), "--api-url", fake.url, "--ledger", url, *more]


async def read_used(fake: FakeOcr, url: str) -> dict[str, int]:
    """Return the month of `pagemill quota`."""
    done = await run_command("quota", "--api-url", fake.url, "--ledger", url, "--json")
    assert done.returncode == 0, done.stderr
    month: dict[str, int] = orjson.loads(done.stdout)[-1]
    return month


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A server of this test alone, which may stop it."""
    with run_postgres() as server:
        yield server


class TestCommands:
    async def test_every_command_reads_the_ledger_and_none_shows_the_password(
        self, scans: Path, tmp_path: Path, database: PostgresServer
    ) -> None:
        out, url = tmp_path / "out", database.url("postgres")
        write_pages(scans, PAGES)
        async with serve_fake() as fake:
            done = [
                await run_command("plan", scans, "--api-url", fake.url, "--ledger", url, "--quota", "9", "--spread"),
                await run_command(*arguments(scans, out, fake, url, "--quota", "9"), "-v", "--json"),
                await run_command("plan", scans, "-o", out, "--api-url", fake.url, "--ledger", url, "--quota", "9"),
                await run_command("quota", "--api-url", fake.url, "--ledger", url, "--already-used", "10"),
                await run_command("status", out, "--html", tmp_path / "status.html", PAGEMILL_LEDGER=url),
                await run_command("verify", out, PAGEMILL_LEDGER=url),
                await run_command("config", "show", PAGEMILL_LEDGER=url),
                await run_command("config", "check", PAGEMILL_LEDGER=url),
                await run_command(*arguments(scans, out, fake, url, "--quota", "20")),
                await run_command("verify", out, PAGEMILL_LEDGER=url),
            ]
            used = await read_used(fake, url)
        assert [each.returncode for each in done] == [0, 8, 0, 0, 0, 0, 0, 0, 0, 0], [each.stderr for each in done]
        assert len(fake.calls) == PAGES == len(results(out))
        assert (used["used"], used["pending"]) == (13, 0)
        shown = b"".join(each.stdout + each.stderr for each in done) + (out / "run.json").read_bytes()
        assert PASSWORD.encode() not in shown + (tmp_path / "status.html").read_bytes()
        assert KEY.encode() not in shown
        assert b"postgresql://archive@127.0.0.1" in done[6].stdout

    async def test_a_workspace_remembers_its_ledger_in_the_database(
        self, scans: Path, tmp_path: Path, database: PostgresServer
    ) -> None:
        """A directory, or another key, is another ledger: exit 2."""
        out, url = tmp_path / "out", database.url("postgres")
        write_pages(scans, 2)
        async with serve_fake() as fake:
            assert (await run_command(*arguments(scans, out, fake, url))).returncode == 0
            elsewhere = await run_command(*arguments(scans, out, fake, str(tmp_path / "ledger")), PGPASSWORD=PASSWORD)
            other_key = await run_command(*arguments(scans, out, fake, url), key="sk-another")
            again = await run_command(*arguments(scans, out, fake, url))
        assert (elsewhere.returncode, other_key.returncode, again.returncode) == (2, 2, 0)
        assert b"--accept-ledger" in elsewhere.stderr
        assert b"another API key" in other_key.stderr

    async def test_a_database_that_is_away_is_exit_5_and_nothing_is_sent(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 2)
        async with serve_fake() as fake:
            url = f"postgresql://archive:{PASSWORD}@127.0.0.1:1/x"
            done = await run_command(*arguments(scans, tmp_path / "out", fake, url), PAGEMILL_RUN_PATIENCE_S="0.5")
        assert done.returncode == 5
        assert b"the database is away" in done.stderr
        assert PASSWORD.encode() not in done.stderr
        assert fake.calls == []


class TestFaults:
    async def test_a_kill_and_a_crash_of_the_database_lose_nothing_and_spend_nothing_twice(
        self, scans: Path, tmp_path: Path, database: PostgresServer
    ) -> None:
        """Three runs; one is killed and the database crashes while they call. Later runs finish all that was begun."""
        write_pages(scans, PAGES)
        url, reached, codes = database.url("postgres"), anyio.Event(), list[int]()
        outs = [tmp_path / name for name in ("killed", "two", "three")]
        quota = ("--quota", str(3 * PAGES + 4), "-j", "4")

        async def answer(call: Call) -> web.Response:
            if call.number >= 10:
                reached.set()
            await anyio.sleep(0.05)  # so that calls are in flight when the run is killed
            return accept(call)

        async def run(out: Path) -> None:
            async with start_command(*arguments(scans, out, fake, url, *quota)) as process:
                if out == outs[0]:
                    await reached.wait()
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    codes.append((await wait_for_end(process))[0])

        async def restart() -> None:
            await reached.wait()
            await anyio.to_thread.run_sync(database.stop, "immediate")
            await anyio.to_thread.run_sync(database.start)

        async with serve_fake(answer) as fake:
            async with anyio.create_task_group() as tasks:
                for out in outs:
                    tasks.start_soon(run, out)
                tasks.start_soon(restart)
            await end_leases(database)  # as half a minute would
            last = await run_command(*arguments(scans, outs[0], fake, url, *quota))
            verified = [await run_command("verify", out, PAGEMILL_LEDGER=url) for out in outs]
            used = await read_used(fake, url)
        assert codes == [0, 0]
        assert last.returncode == 0, last.stderr
        assert [each.returncode for each in verified] == [0, 0, 0], [each.stdout for each in verified]
        assert [len(results(out)) for out in outs] == [PAGES] * 3
        assert used["pending"] == 0
        assert len(fake.calls) <= used["used"] <= 3 * PAGES + 4

    async def test_a_database_away_for_longer_than_the_lease_costs_nothing(
        self, scans: Path, tmp_path: Path, database: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls under way are recorded, no other goes out, and the run goes on when it is back."""
        monkeypatch.setattr(place, "LEASE_S", 1.0)
        write_pages(scans, PAGES)
        out, url, sent, down = tmp_path / "out", database.url("postgres"), anyio.Event(), list[int]()

        async def answer(call: Call) -> web.Response:
            if call.number == 5:
                sent.set()
            await anyio.sleep(0.02)
            return accept(call)

        async def take_away() -> None:
            await sent.wait()
            await anyio.to_thread.run_sync(database.stop, "immediate")
            await anyio.sleep(0.5)  # calls under way end
            down.append(len(fake.calls))
            await anyio.sleep(1.2)  # the lease ends
            down.append(len(fake.calls))
            await anyio.to_thread.run_sync(database.start)

        async with serve_fake(answer) as fake:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take_away)
                summary = await run_here(scans, out, fake.url, run={"jobs": 2}, budget={"ledger": url, "quota": PAGES})
            used = await read_used(fake, url)
            verified = await run_command("verify", out, PAGEMILL_LEDGER=url)
        assert down[0] == down[1] < PAGES
        assert (summary.exit_code, len(fake.calls), len(results(out))) == (0, PAGES, PAGES)
        assert (used["used"], used["pending"], verified.returncode) == (PAGES, 0, 0)

    async def test_ctrl_c_ends_a_run_that_waits_for_the_database(
        self, scans: Path, tmp_path: Path, database: PostgresServer
    ) -> None:
        """Texts that were paid for are on disk; the next run settles their calls."""
        write_pages(scans, PAGES)
        out, url, sent = tmp_path / "out", database.url("postgres"), anyio.Event()

        async def answer(call: Call) -> web.Response:
            if call.number == 3:
                sent.set()
            await anyio.sleep(0.02)
            return accept(call)

        async with serve_fake(answer) as fake:
            async with start_command(*arguments(scans, out, fake, url, "-j", "2")) as process:
                await sent.wait()
                await anyio.to_thread.run_sync(database.stop, "immediate")
                await read_until(process, b"the database is away")
                process.send_signal(signal.SIGINT)
                code, _ = await wait_for_end(process)
            await anyio.to_thread.run_sync(database.start)
            await end_leases(database)
            sent_before, kept = len(fake.calls), len(results(out))
            last = await run_command(*arguments(scans, out, fake, url))
            verified = await run_command("verify", out, PAGEMILL_LEDGER=url)
            used = await read_used(fake, url)
        assert code == 130
        assert sent_before == kept
        assert (last.returncode, verified.returncode) == (0, 0), (last.stderr, verified.stdout)
        assert (len(fake.calls), len(results(out))) == (PAGES, PAGES)
        assert (used["used"], used["pending"]) == (PAGES, 0)

    async def test_a_workspace_that_another_machine_fills_is_locked(
        self, scans: Path, tmp_path: Path, database: PostgresServer
    ) -> None:
        """Its lock file is on another machine, its lease in the database: exit 11."""
        write_pages(scans, 1)
        out, url = tmp_path / "out", database.url("postgres")
        async with serve_fake() as fake:
            assert (await run_command(*arguments(scans, out, fake, url))).returncode == 0
            workspace = orjson.loads((out / "run.json").read_bytes())["workspace"]
            address = Address(url, key_hash(KEY, "127.0.0.1"))
            with closing(PostgresLedger(address, Calendar(), None, lease_s=3.0)) as other, other.own() as owner:
                other.execute([Reserve(PageId("p"))], workspace, owner.id, lambda: "a")
                done = await run_command(*arguments(scans, out, fake, url))
        assert done.returncode == 11
        assert b"on another machine" in done.stderr


async def end_leases(database: PostgresServer) -> None:
    """End the leases of all runs."""
    db = await asyncpg.connect(database.url("postgres"))
    await db.execute("UPDATE pagemill.owner SET expires = 'epoch'")
    await db.close()
