"""Attempts at shards without an engine: kills, machines that wake up, quotas, and contents that several shards have."""

import os
import shutil
import signal
from pathlib import Path

import anyio
import asyncpg
import orjson
from aiohttp import web

from pipeline.cluster.attempt import attempt_shard
from pipeline.cluster.drain import Drain
from pipeline.cluster.epoch_folders import find_epochs, find_newest
from pipeline.cluster.shard_folder import shard_path
from pipeline.errors import KeyRejectedError
from pipeline.inputs.shard_rows import read_shard
from tests.cluster.attempts import list_shards, order, read_outcome, start_attempt
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_page, write_pages
from tests.postgres import PostgresServer
from tests.runs import configure, result_lines, results, run_command, wait_for_end


async def make_database(server: PostgresServer, name: str) -> str:
    """Make an empty database and return its URL."""
    db = await asyncpg.connect(server.url("postgres"))
    await db.execute(f"CREATE DATABASE {name}")
    await db.close()
    return server.url(name)


async def end_leases(url: str) -> None:
    """End the leases of all runs, as half a minute without a beat would."""
    db = await asyncpg.connect(url)
    await db.execute("UPDATE pagemill.owner SET expires = clock_timestamp() - interval '1 second'")
    await db.close()


async def count_used(out: Path, url: str, fake_url: str) -> tuple[int, int]:
    """Return used and pending calls of the month."""
    done = await run_command("quota", "--api-url", fake_url, "--ledger", url, "--json")
    month = orjson.loads(done.stdout)[-1]
    return month["used"], month["pending"]


class TestShardFolder:
    async def test_listing_again_adds_what_is_new_or_changed(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 5)
        out = tmp_path / "out"
        assert await list_shards(scans, out, 2) == 3
        before = [shard_path(out, number).read_bytes() for number in (1, 2, 3)]
        assert await list_shards(scans, out, 2) == 3
        write_page(scans / "new.png", 7)
        write_page(scans / "page-0001.png", 8)
        assert await list_shards(scans, out, 2) == 4
        assert [shard_path(out, number).read_bytes() for number in (1, 2, 3)] == before
        added = [file.name for file in read_shard(shard_path(out, 4)).files]
        assert sorted(added) == ["new.png", "page-0001.png"]


class TestAttempts:
    async def test_a_shard_is_recognised_once(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 5)
        out = tmp_path / "out"
        config = configure(out)
        await list_shards(scans, out, 3)
        async with serve_fake() as fake:
            outcomes = [await attempt_shard(order(out, shard, fake.url, config)) for shard in (1, 2, 1)]
        assert [(each.exit_code, sum(each.run.values())) for each in outcomes] == [(0, 3), (0, 2), (0, 0)]
        assert [path.name for path in find_epochs(out, 1)] == ["e0001"]
        assert len(fake.calls) == 5

    async def test_contents_of_several_shards_cost_one_call(self, scans: Path, tmp_path: Path) -> None:
        """Also of a file that was only touched, and stands in another shard file with its new time."""
        for number, page in enumerate(write_pages(scans, 3)):
            shutil.copy(page, scans / f"z-{number}.png")
        out, whole = tmp_path / "out", tmp_path / "whole"
        await list_shards(scans, out, 3)
        os.utime(scans / "page-0000.png", ns=(1, 1))
        assert await list_shards(scans, out, 3) == 3
        async with serve_fake() as fake:
            for shard in (1, 2, 3):
                assert (await attempt_shard(order(out, shard, fake.url, configure(out)))).exit_code == 0
        parts = [find_newest(out, shard) for shard in (1, 2, 3)]
        merged = await run_command("merge", *[str(part) for part in parts], "-o", whole)
        assert merged.returncode == 0, merged.stderr
        assert len(fake.calls) == 3
        assert len({line["source"] for line in results(whole)}) == 6
        assert (await run_command("verify", whole)).returncode == 0

    async def test_a_killed_attempt_is_followed_by_one_that_has_its_lines(self, scans: Path, tmp_path: Path) -> None:
        write_pages(scans, 12)
        out, reached = tmp_path / "out", anyio.Event()
        config = configure(out, run={"jobs": 2})
        await list_shards(scans, out, 12)

        async def answer(call: Call) -> web.StreamResponse:
            if call.number == 6:
                reached.set()
                await anyio.sleep_forever()
            return accept(call)

        async with serve_fake(answer) as fake:
            made = order(out, 1, fake.url, config)
            async with start_attempt(made, tmp_path / "first") as process:
                await reached.wait()
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            fake.script = accept
            kept = result_lines(find_epochs(out, 1)[0])
            outcome = await attempt_shard(made)
        second = find_epochs(out, 1)[1]
        assert (outcome.exit_code, second.name) == (0, "e0002")
        assert result_lines(second)[: len(kept)] == kept
        assert len(results(second)) == len({line["id"] for line in results(second)}) == 12
        assert len(fake.calls) <= 12 + 2
        assert (await run_command("verify", second)).returncode == 0

    async def test_an_attempt_that_wakes_up_can_neither_call_nor_commit(
        self,
        scans: Path,
        tmp_path: Path,
        postgres_server: PostgresServer,
    ) -> None:
        """It was stopped for longer than its lease, and another one has done its shard."""
        write_pages(scans, 12)
        url = await make_database(postgres_server, "zombie")
        out, reached, released = tmp_path / "out", anyio.Event(), anyio.Event()
        config = configure(out, run={"jobs": 2}, budget={"ledger": url, "quota": 14})
        await list_shards(scans, out, 12)

        async def answer(call: Call) -> web.StreamResponse:
            if call.number in {6, 7}:
                if call.number == 7:
                    reached.set()
                await released.wait()
            return accept(call)

        async with serve_fake(answer) as fake:
            made = order(out, 1, fake.url, config)
            async with start_attempt(made, tmp_path / "first") as process:
                await reached.wait()
                process.send_signal(signal.SIGSTOP)
                await end_leases(url)
                second = await attempt_shard(made)
                sent = len(fake.calls)
                released.set()  # what it had in flight is answered
                process.send_signal(signal.SIGCONT)
                _, stderr = await wait_for_end(process)
            used, pending = await count_used(out, url, fake.url)
        first = read_outcome(tmp_path / "first")
        assert (second.exit_code, first.exit_code) == (0, 11), (first, stderr)
        assert "taken for dead" in (first.reason or "")
        assert (len(fake.calls), sent, used, pending) == (14, 14, 14, 0)
        newest = find_newest(out, 1)
        assert newest is not None
        assert newest.name == "e0002"
        assert len(results(newest)) == 12
        verified = await run_command("verify", newest, PAGEMILL_LEDGER=url)
        assert verified.returncode == 0, verified.stdout

    async def test_an_order_to_drain_ends_an_attempt_and_the_next_one_goes_on(
        self, scans: Path, tmp_path: Path
    ) -> None:
        write_pages(scans, 8)
        out, drain = tmp_path / "out", Drain(tmp_path / "out", "run")
        config = configure(out, run={"jobs": 1})
        await list_shards(scans, out, 8)
        drained = anyio.Event()

        async def answer(call: Call) -> web.StreamResponse:
            if call.number == 3:
                drain.order(KeyRejectedError("the key was rejected"))
                drained.set()
            if drained.is_set():
                await anyio.sleep(1.5)  # longer than attempts look for the order
            return accept(call)

        async with serve_fake(answer) as fake:
            first = await attempt_shard(order(out, 1, fake.url, config))
            calls = len(fake.calls)
            drain.remove()
            fake.script = accept
            second = await attempt_shard(order(out, 1, fake.url, config))
        assert (first.exit_code, first.reason, second.exit_code) == (7, "the key was rejected", 0)
        assert calls < 8 == len(fake.calls)
        assert [path.name for path in find_epochs(out, 1)] == ["e0001", "e0002"]
