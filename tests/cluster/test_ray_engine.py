"""The command on a real Ray cluster of two nodes, one of which loses power."""

import os
import signal
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import orjson
import pytest
from aiohttp import web

from pipeline.cluster.ray_engine import EXPECTED, NodeFacts, find_faults
from pipeline.errors import WorkspaceLockedError
from pipeline.workspace.lock import share_workspace
from tests.cluster.namespaces import run_machines
from tests.cluster.raylets import run_raylets
from tests.cluster.test_attempt import count_used, end_leases, make_database
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_pages
from tests.postgres import PostgresServer
from tests.runs import COMMAND, results, run_command, start_command, wait_for_end

PAGES = 40
JOBS = 2
HELD = 12
"""Calls from this number on are held until the node is dead; both nodes are within their shards of 20 files then."""


def test_a_node_that_lacks_settings_is_named_with_them() -> None:
    complete = NodeFacts("a", "1", EXPECTED, sees_out=True)
    assert find_faults(complete, "1") == []
    lacking = NodeFacts("a", "2", {**EXPECTED, "RAY_health_check_period_ms": "5000"}, sees_out=True)
    version, settings = find_faults(lacking, "1")
    assert version == "pagemill 2, the driver has 1"
    assert settings.startswith("started without RAY_health_check_period_ms=1000: ")


async def test_a_cluster_that_is_not_there_is_exit_2(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    ledger = tmp_path / "ledger"
    arguments = ("run", scans, "-o", tmp_path / "out", "--api-url", "http://127.0.0.1:9", "--ledger", ledger)
    done = await run_command(*arguments, "--cluster", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert b"--cluster 127.0.0.1:1: " in done.stderr


async def test_a_node_that_loses_power_costs_its_calls_in_flight_at_most(
    scans: Path,
    tmp_path: Path,
    postgres_server: PostgresServer,
) -> None:
    """Every page once, no call beyond the quota; the accounts of ledger and workspace agree."""
    write_pages(scans, PAGES)
    url = await make_database(postgres_server, "ray")
    out, both, reached, killed = tmp_path / "out", anyio.Event(), anyio.Event(), anyio.Event()
    quota = PAGES + 2 * JOBS

    async def answer(call: Call) -> web.StreamResponse:
        if fake.in_flight == 2:  # one of each node: until one has succeeded, a run makes one call at a time
            both.set()
        if fake.in_flight == 2 * JOBS and call.number >= HELD:
            reached.set()
        await both.wait()
        if call.number >= HELD:
            await killed.wait()
        return accept(call)

    with run_raylets(1, 1) as raylets:
        async with serve_fake(answer) as fake:
            arguments = ("run", scans, "-o", out, "--api-url", fake.url, "--ledger", url, "--quota", str(quota))
            more = ("-j", str(JOBS), "--cluster", raylets.address, "--json")
            async with start_command(*arguments, *more, PAGEMILL_CLUSTER_SHARD_FILES="20") as process:
                await reached.wait()
                shown = await run_command("status", out, "--json", PAGEMILL_LEDGER=url)
                await anyio.to_thread.run_sync(raylets.kill, 1)
                await end_leases(url)  # as half a minute would; the living renew theirs
                killed.set()
                code, stderr = await wait_for_end(process)
            used, pending = await count_used(out, url, fake.url)
        repeated = sum(number - 1 for number in Counter(call.digest for call in fake.calls).values())
    assert code == 0, stderr
    assert "RAY_" not in stderr
    assert orjson.loads(shown.stdout)["under_way"] is not None
    assert len(results(out)) == len({line["id"] for line in results(out)}) == PAGES
    assert repeated <= JOBS
    assert len(fake.calls) <= used <= quota
    assert pending == 0
    assert list((out / "work").glob("*/e0002"))
    verified = await run_command("verify", out, PAGEMILL_LEDGER=url)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.deep
async def test_a_driver_that_was_killed_is_started_again_on_the_same_cluster(
    scans: Path,
    tmp_path: Path,
    postgres_server: PostgresServer,
) -> None:
    """Ray ends its tasks; their leases end, and the same command goes on."""
    write_pages(scans, PAGES)
    url = await make_database(postgres_server, "driver")
    out, reached, killed = tmp_path / "out", anyio.Event(), anyio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number >= HELD:
            reached.set()
            await killed.wait()
        return accept(call)

    with run_raylets(1, 1) as raylets:
        async with serve_fake(answer) as fake:
            arguments = ("run", scans, "-o", out, "--api-url", fake.url, "--ledger", url, "-j", str(JOBS))
            more = ("--cluster", raylets.address)
            async with start_command(*arguments, *more, PAGEMILL_CLUSTER_SHARD_FILES="20") as process:
                await reached.wait()
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            killed.set()
            again = await run_command(*arguments, *more, PAGEMILL_CLUSTER_SHARD_FILES="20")
    assert again.returncode == 0, again.stderr
    assert len(results(out)) == len({line["id"] for line in results(out)}) == PAGES
    assert len(fake.calls) <= PAGES + 2 * JOBS
    verified = await run_command("verify", out, PAGEMILL_LEDGER=url)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.deep
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_a_node_that_was_cut_off_and_comes_back_makes_no_call(
    scans: Path,
    tmp_path: Path,
    postgres_server: PostgresServer,
) -> None:
    """Its processes live through a partition that is longer than its lease; others do its shard meanwhile."""
    write_pages(scans, 3 * PAGES)
    local = await make_database(postgres_server, "partition")
    out, reached = tmp_path / "out", anyio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number == PAGES:
            reached.set()
        await anyio.sleep(0.2)  # so that calls are in flight when the node is cut off
        return accept(call)

    with run_machines(3) as machines, run_raylets(1, 1, 1, machines=machines) as raylets:
        async with (
            serve_fake(answer) as fake,
            machines.forward(fake.url) as service,
            machines.forward(local) as url,
            start_command(
                *("run", scans, "-o", out, "--api-url", service, "--ledger", url, "-j", str(JOBS)),
                *("--quota", str(3 * PAGES + JOBS), "--cluster", raylets.address),
                command=(*machines.inside(1), *COMMAND),
                PAGEMILL_CLUSTER_SHARD_FILES=str(PAGES),
            ) as process,
        ):
            await reached.wait()
            machines.cut(3)
            with anyio.fail_after(90):
                while not (replaced := list((out / "work").glob("*/e0002"))):  # noqa: ASYNC110 - a lease must end
                    await anyio.sleep(0.2)
            machines.heal(3)
            code, stderr = await wait_for_end(process)
            former = replaced[0].with_name("e0001")
            with anyio.fail_after(30):
                while is_held(former):  # noqa: ASYNC110 - it learns that it was replaced, or Ray ends it
                    await anyio.sleep(0.2)
            verified = await run_command("verify", out, PAGEMILL_LEDGER=url)
            used, pending = await count_used(out, local, fake.url)
    assert code == 0, stderr
    assert orjson.loads((former / "run.json").read_bytes())["exit_code"] in {11, None}
    assert len(fake.calls) <= used <= 3 * PAGES + JOBS
    assert pending == 0
    assert len(results(out)) == len({line["id"] for line in results(out)}) == 3 * PAGES
    assert verified.returncode == 0, verified.stdout + verified.stderr


def is_held(workspace: Path) -> bool:
    """Return whether a run fills a workspace."""
    try:
        with share_workspace(workspace):
            return False
    except WorkspaceLockedError:
        return True
