"""A run on a cluster, with an engine that makes the attempts in this process; Ray's is in `test_ray_engine`."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web

from pipeline.batch.job import Job
from pipeline.batch.summary import Summary
from pipeline.cluster.attempt import ShardOrder, ShardOutcome, attempt_shard
from pipeline.cluster.driver import run_on_cluster
from pipeline.cluster.shard_folder import find_shards
from pipeline.errors import InterruptedRunError, UsageError
from pipeline.records import State
from pipeline.service import Service
from pipeline.shutdown import Shutdown
from tests.fakes import Call, accept, answer_error, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import KEY, configure, results, run_command, run_here, start_command


@dataclass
class LocalEngine:
    """Makes attempts in this process."""

    machines: int = 1
    before: Callable[[ShardOrder], Any] = lambda _: None
    orders: list[int] = field(default_factory=list)

    def open(self, out: Path) -> None:
        assert (out / "run.json").exists()

    def close(self) -> None:
        return

    def capacity(self) -> int:
        return 2

    async def attempt(self, order: ShardOrder) -> ShardOutcome:
        self.orders.append(order.shard)
        self.before(order)
        return await attempt_shard(order)


async def run(
    scans: Path,
    out: Path,
    url: str,
    *,
    engine: LocalEngine | None = None,
    shutdown: Shutdown | None = None,
    accept_ledger: bool = False,
    **more: Any,
) -> Summary:
    """Run on a cluster with shards of 4 files."""
    config = configure(out, cluster={"shard_files": 4}, **more)
    job = Job(
        inputs=[str(scans)],
        workspace=out,
        service=Service(url, KEY, "127.0.0.1"),
        config=config,
        accept_ledger=accept_ledger,
    )
    return await run_on_cluster(job, shutdown, engine=engine if engine is not None else LocalEngine())


async def status(out: Path) -> dict[str, Any]:
    """Return what `status` says."""
    done = await run_command("status", out, "--json")
    assert done.returncode == 0, done.stderr
    fields: dict[str, Any] = orjson.loads(done.stdout)
    return fields


async def test_a_cluster_run_is_one_workspace_like_a_run_on_one_machine(scans: Path, tmp_path: Path) -> None:
    """Duplicates, archives, files that are no pages: the same records; the accounts close; running again is free."""
    pages = write_pages(scans, 10)
    for page in pages[:3]:
        shutil.copy(page, scans / f"z {page.name}")
    (scans / "notes.txt").write_text("x")
    (scans / "undecided").write_bytes(pages[0].read_bytes())
    (scans / "book").write_bytes(b"AT&TFORM")
    (scans / "broken.png").write_bytes(b"x")
    out, one = tmp_path / "out", tmp_path / "one"
    async with serve_fake() as fake:
        summary = await run(scans, out, fake.url)
        calls = len(fake.calls)
        again = await run(scans, out, fake.url)
        alone = await run_here(scans, one, fake.url, budget={"ledger": str(tmp_path / "another")})
        here = await run_here(scans, out, fake.url)
    assert (summary.exit_code, calls) == (3, 10)
    assert (again.exit_code, again.calls, here.calls) == (3, 0, 0)
    assert summary.totals == again.totals == alone.totals
    assert dict(summary.ignored) == dict(again.ignored) == dict(alone.ignored)
    assert {(line["source"], line["text"]) for line in results(out)} == {
        (line["source"], line["text"]) for line in results(one)
    }
    assert (await run_command("verify", out)).stdout == b""
    found = await status(out)
    assert (found["done"], found["duplicate"], found["failed"], found["pending"]) == (10, 4, 1, 0)


async def test_new_and_changed_files_go_into_new_shards(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 8)
    out, engine = tmp_path / "out", LocalEngine()
    async with serve_fake() as fake:
        await run(scans, out, fake.url)
        write_page(scans / "new.png", 50)
        os.utime(scans / "page-0000.png", ns=(1, 1))
        summary = await run(scans, out, fake.url, engine=engine)
    assert (summary.exit_code, engine.orders, list(find_shards(out)), len(fake.calls)) == (0, [3], [1, 2, 3], 9)
    assert {line["source"] for line in results(out)} == {path.name for path in scans.iterdir()}
    assert (await run_command("verify", out)).stdout == b""


async def test_the_quota_ends_the_run_and_the_next_month_goes_on(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 14)
    out = tmp_path / "out"
    async with serve_fake() as fake:
        first = await run(scans, out, fake.url, budget={"quota": 6})
        found = await status(out)
        second = await run(scans, out, fake.url, budget={"quota": 14})
    assert (first.exit_code, first.calls, second.exit_code, len(fake.calls)) == (8, 6, 0, 14)
    assert (found["done"], found["done"] + found["pending"]) == (6, 14) or found["pending_is_at_least"]
    assert second.totals[State.DONE] == 14
    assert (await run_command("verify", out)).stdout == b""


async def test_a_rejected_key_ends_all_attempts(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 40)
    engine = LocalEngine()
    async with serve_fake(answer_error(401)) as fake:
        summary = await run(scans, tmp_path / "out", fake.url, engine=engine)
    assert summary.exit_code == 7
    assert len(fake.calls) <= 4 * 8


async def test_ctrl_c_finishes_the_calls_under_way_on_all_nodes(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 20)
    out, shutdown = tmp_path / "out", Shutdown()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number == 5:
            shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
        if call.number >= 5:
            await anyio.sleep(1.5)  # longer than attempts look for the order
        return accept(call)

    async with serve_fake(answer) as fake:
        first = await run(scans, out, fake.url, shutdown=shutdown, run={"jobs": 1})
        calls = len(fake.calls)
        fake.script = accept
        second = await run(scans, out, fake.url)
    assert (first.exit_code, second.exit_code) == (130, 0)
    assert calls < 20 == len(fake.calls)
    assert sum(first.run.values()) == calls
    assert list((out / "work").glob("drain-*")) == []


async def test_a_driver_that_was_killed_is_started_again(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 20)
    out, reached = tmp_path / "out", anyio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number == 10:
            reached.set()
            with suppress(TimeoutError):
                await anyio.sleep_forever()
        return accept(call)

    async with serve_fake(answer) as fake:
        command = (sys.executable, "-m", "tests.cluster.local_cluster")
        async with start_command(scans, out, fake.url, tmp_path / "ledger", command=command) as process:
            await reached.wait()
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        fake.script = accept
        killed = await status(out)
        summary = await run(scans, out, fake.url)
    assert (killed["finished"], killed["pages"]) == (None, 0)
    assert (summary.exit_code, summary.totals[State.DONE]) == (0, 20)
    assert len(fake.calls) <= 20 + 16
    assert len(results(out)) == len({line["id"] for line in results(out)}) == 20
    assert (await run_command("verify", out)).stdout == b""


async def test_another_ledger_is_asked_for_and_then_taken(scans: Path, tmp_path: Path) -> None:
    """Its epochs begin anew, those of the directories do not; no page is paid again."""
    write_pages(scans, 8)
    out, other = tmp_path / "out", {"ledger": str(tmp_path / "another")}
    async with serve_fake() as fake:
        await run(scans, out, fake.url, budget={"quota": 6})
        with pytest.raises(UsageError, match="--accept-ledger"):
            await run(scans, out, fake.url, budget=other)
        summary = await run(scans, out, fake.url, budget=other, accept_ledger=True)
    assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (0, 8, 8)
    assert (await run_command("verify", out)).stdout == b""


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        pytest.param({"run": {"limit": 3}}, "--limit cannot", id="limit"),
        pytest.param({"run": {"max_calls": 3}}, "--max-calls cannot", id="max-calls"),
        pytest.param({"input": {"shard": "1/2"}}, "--shard cannot", id="shard"),
    ],
)
async def test_what_a_cluster_cannot_do_is_refused(
    scans: Path, tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    write_pages(scans, 1)
    with pytest.raises(UsageError, match=message):
        await run(scans, tmp_path / "out", "http://127.0.0.1:9", **sections)


async def test_several_machines_need_a_ledger_in_postgresql(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    with pytest.raises(UsageError, match="postgresql://"):
        await run(scans, tmp_path / "out", "http://127.0.0.1:9", engine=LocalEngine(machines=2))
