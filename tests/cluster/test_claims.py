"""Claims: a content that several shards have is paid once, and no claim keeps a page from its text for ever."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.batch.summary import Summary
from pipeline.errors import UsageError
from pipeline.records import State
from pipeline.service import Service
from pipeline.workspace.inventory import FileState
from tests.cluster.test_merge import merge, verify
from tests.end_to_end.test_shards import number_of
from tests.fakes import Call, FakeOcr, accept, accept_when, serve_fake
from tests.pages import write_page
from tests.postgres import PostgresServer
from tests.runs import configure, failures, read_lines, results, run_command, run_here, start_command, wait_for_end

OF = 2


def write_copies(scans: Path, contents: int) -> dict[int, list[Path]]:
    """Write each content once for each shard; return the files by shard."""
    files: dict[int, list[Path]] = {1: [], 2: []}
    for seed in range(contents):
        for shard, written in files.items():
            name = next(f"{seed}-{n}.png" for n in range(99) if number_of(f"{seed}-{n}.png", OF) == shard)
            written.append(write_page(scans / name, seed))
    return files


async def run_shard(scans: Path, parts: Path, fake: FakeOcr, number: int, **sections: Any) -> Summary:
    """Run one of two shards."""
    chosen = {"shard": f"{number}/{OF}", **sections.pop("input", {})}
    budget = {"ledger": str(parts.parent / "ledger")}
    return await run_here(scans, parts / str(number), fake.url, input=chosen, budget=budget, **sections)


async def kill_in_call(scans: Path, parts: Path, fake: FakeOcr) -> None:
    """Kill a run of the first shard while its first call is under way."""
    never = asyncio.Event()
    fake.script = accept_when(never)
    async with start_command("run", scans, *flags(parts, 1, fake.url)) as process:
        await fake.wait_for_calls(1)
        process.kill()
        await wait_for_end(process)
    never.set()
    fake.script = accept


async def merge_all(parts: Path) -> Path:
    whole = parts.parent / "whole"
    await merge([parts / "1", parts / "2"], whole)
    return whole


def flags(parts: Path, number: int, url: str, ledger: str | Path | None = None) -> Sequence[str | Path]:
    ledger = ledger or parts.parent / "ledger"
    return ("-o", parts / str(number), "--ledger", ledger, "--api-url", url, "--shard", f"{number}/{OF}")


async def test_a_content_of_two_shards_is_paid_once(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 6)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        first = await run_shard(scans, parts, fake, 1)
        assert (first.exit_code, first.run, first.left_to_shards) == (0, {State.DONE: 6}, 0)
        second = await run_shard(scans, parts, fake, 2)
        assert (second.exit_code, second.run, second.pending, second.left_to_shards) == (0, {}, 6, 6)
        assert len(fake.calls) == 6
        lines = read_lines(parts / "2" / "deferred.jsonl")
        assert [line["shard"] for line in lines] == ["1/2"] * 6
        status = await run_command("status", parts / "2", "--json")
        assert orjson.loads(status.stdout)["left_to_shards"] == 6
        assert await verify(parts / "2") == ""
        again = await run_shard(scans, parts, fake, 2)
        assert (again.exit_code, again.left_to_shards, again.files[FileState.UNMODIFIED]) == (0, 6, 6)
        assert len(read_lines(parts / "2" / "deferred.jsonl")) == 6
        whole = await merge_all(parts)
        assert await verify(whole) == ""
        assert len(results(whole)) == 12
        assert sum(line["duplicate_of"] is not None for line in results(whole)) == 6
        (parts / "2" / "index.sqlite3").unlink()
        assert await verify(parts / "2") == ""
        assert (await run_shard(scans, parts, fake, 2)).left_to_shards == 6
        summary = await run_here(scans, whole, fake.url)
        assert (summary.exit_code, summary.run, len(fake.calls)) == (0, {}, 6)


async def test_shards_side_by_side_pay_once(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 20)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        async with start_command("run", scans, *flags(parts, 1, fake.url)) as one:
            two = await run_command("run", scans, *flags(parts, 2, fake.url))
            assert ((await wait_for_end(one))[0], two.returncode) == (0, 0)
        assert sum(fake.billed.values()) == len(fake.billed) == 20
        whole = await merge_all(parts)
        assert (await verify(whole), len(results(whole))) == ("", 40)


async def test_shards_with_a_ledger_in_postgresql_pay_once(
    scans: Path,
    tmp_path: Path,
    postgres_server: PostgresServer,
) -> None:
    """Side by side as the real command; what one has not done, the other does."""
    write_copies(scans, 10)
    parts, url = tmp_path / "parts", postgres_server.url("postgres")

    def arguments(number: int, *more: str) -> Sequence[str | Path]:
        return ("run", scans, *flags(parts, number, fake.url, url), *more)

    async with serve_fake() as fake:
        cut = await run_command(*arguments(1, "--max-calls", "3"))
        assert cut.returncode == 10, cut.stderr.decode()
        async with start_command(*arguments(1)) as one:
            two = await run_command(*arguments(2))
            assert ((await wait_for_end(one))[0], two.returncode) == (0, 0), two.stderr.decode()
        assert sum(fake.billed.values()) == len(fake.billed) == 10
        whole = await merge_all(parts)
        assert sorted(line["source"] for line in results(whole)) == sorted(path.name for path in scans.iterdir())
        assert (await run_command("verify", whole, PAGEMILL_LEDGER=url)).stdout == b""
        again = await run_command("run", scans, "-o", whole, "--ledger", url, "--api-url", fake.url)
        assert (again.returncode, len(fake.calls)) == (0, 10), again.stderr.decode()


async def test_a_page_fails_as_its_content_has_failed_in_its_shard(scans: Path, tmp_path: Path) -> None:
    """And gets its text once the shard has it."""
    write_copies(scans, 2)
    parts = tmp_path / "parts"

    def reject(_: Call) -> web.Response:
        return web.json_response({"statusText": "bad"}, status=422)

    async with serve_fake(reject) as fake:
        assert (await run_shard(scans, parts, fake, 1)).exit_code == 3
        assert (await run_shard(scans, parts, fake, 2)).exit_code == 0
        assert len(fake.calls) == 2
        whole = await merge_all(parts)
        assert sorted(line["class"] for line in failures(whole)) == ["rejected"] * 4
        assert sorted({line["source"] for line in failures(whole)}) == sorted(path.name for path in scans.iterdir())
        assert await verify(whole) == ""
        fake.script = accept
        retried = await run_command("retry", parts / "1", "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        assert retried.returncode == 0, retried.stderr.decode()
        await merge_all(parts)
        assert (await verify(whole), len(results(whole)), len(fake.calls)) == ("", 4, 4)
        status = orjson.loads((await run_command("status", whole, "--json")).stdout)
        assert (status["done"], status["duplicate"], status["failed"], status["pending"]) == (2, 2, 0, 0)


async def test_what_a_run_has_claimed_and_not_done_is_released_at_its_end(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 6)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        assert (await run_shard(scans, parts, fake, 1, run={"max_calls": 2})).exit_code == 10
        second = await run_shard(scans, parts, fake, 2)
        assert (second.exit_code, second.run, second.left_to_shards) == (0, {State.DONE: 4}, 2)
        first = await run_shard(scans, parts, fake, 1)
        assert (first.exit_code, first.left_to_shards, len(fake.calls)) == (0, 4, 6)
        whole = await merge_all(parts)
        assert (await verify(whole), len(results(whole))) == ("", 12)


async def test_what_is_sent_again_stays_with_its_shard(scans: Path, tmp_path: Path) -> None:
    """Also when the run stops before: its text is there, and the other shard does not pay for it."""
    write_copies(scans, 3)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        for number in (1, 2):
            await run_shard(scans, parts, fake, number)
        assert (await run_shard(scans, parts, fake, 1, again="*", run={"max_calls": 1})).exit_code == 10
        second = await run_shard(scans, parts, fake, 2)
        assert (second.run, second.left_to_shards, len(fake.calls)) == ({}, 3, 4)


async def test_the_claims_of_a_killed_run_are_its_own_until_it_runs_again(scans: Path, tmp_path: Path) -> None:
    """Or until another workspace takes its place."""
    write_copies(scans, 1)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        await kill_in_call(scans, parts, fake)
        assert (await run_shard(scans, parts, fake, 2)).left_to_shards == 1
        whole = tmp_path / "whole"
        line = await merge([parts / "1", parts / "2"], whole)
        assert "1 left to shards that have not recognised them yet" in line
        shutil.rmtree(parts / "1")
        for path in scans.iterdir():
            if number_of(path.name, OF) == 1:
                path.unlink()
        assert (await run_shard(scans, parts, fake, 1)).exit_code == 0
        second = await run_shard(scans, parts, fake, 2)
        assert (second.exit_code, second.run, second.left_to_shards) == (0, {State.DONE: 1}, 0)
        assert await verify(parts / "2") == ""


async def test_a_run_that_was_replaced_claims_nothing_more(scans: Path, tmp_path: Path) -> None:
    """As on a machine that was thought dead: nobody would release what it claims. What it has paid is kept."""
    write_copies(scans, 3)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        answered = asyncio.Event()
        fake.script = accept_when(answered)
        async with start_command("run", scans, *flags(parts, 1, fake.url), "--jobs", "1") as process:
            await fake.wait_for_calls(1)
            parts.rename(tmp_path / "hidden")
            assert (await run_shard(scans, parts, fake, 1, run={"max_calls": 0})).exit_code == 10
            shutil.rmtree(parts)
            (tmp_path / "hidden").rename(parts)
            answered.set()
            code, stderr = await wait_for_end(process)
            assert (code, "another workspace is shard 1 of the job now" in stderr) == (1, True), stderr
        assert (len(results(parts / "1")), len(fake.calls)) == (1, 1)
        assert (await run_shard(scans, parts, fake, 1)).run == {State.DONE: 2}
        assert await verify(parts / "1") == ""


async def test_a_killed_run_goes_on_with_its_claims(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 1)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        await kill_in_call(scans, parts, fake)
        assert (await run_shard(scans, parts, fake, 2)).left_to_shards == 1
        assert (await run_shard(scans, parts, fake, 1)).run == {State.DONE: 1}
        whole = await merge_all(parts)
        assert (await verify(whole), len(results(whole))) == ("", 2)


async def test_another_job_does_not_meet_these_claims(scans: Path, tmp_path: Path) -> None:
    """A job is all OUTs in one directory, or those with one name."""
    write_copies(scans, 2)
    async with serve_fake() as fake:
        for parts in (tmp_path / "parts", tmp_path / "others"):
            assert (await run_shard(scans, parts, fake, 1)).run == {State.DONE: 2}
            assert (await run_shard(scans, parts, fake, 2)).left_to_shards == 2
        named = {"shard_job": "again"}
        assert (await run_shard(scans, tmp_path / "x", fake, 1, input=named)).run == {State.DONE: 2}
        assert (await run_shard(scans, tmp_path / "y", fake, 2, input=named)).left_to_shards == 2
        assert len(fake.calls) == 6


async def test_other_inputs_in_the_same_place_are_another_job(scans: Path, tmp_path: Path) -> None:
    """As on two machines, each with a disk of its own at the same path; also where the path is not UTF-8."""
    write_copies(scans, 1)
    shutil.copytree(scans, tmp_path / "others")
    parts = tmp_path / os.fsdecode(b"p\xe4rts")
    async with serve_fake() as fake:
        assert (await run_shard(scans, parts, fake, 1)).run == {State.DONE: 1}
        parts.rename(tmp_path / "of another machine")
        assert (await run_shard(tmp_path / "others", parts, fake, 2)).run == {State.DONE: 1}
        (tmp_path / "of another machine" / "1").rename(parts / "1")
        assert (await run_shard(scans, parts, fake, 1)).run == {}
        assert await verify(parts / "2") == ""


async def test_two_workspaces_are_not_the_same_shard_of_a_job(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 1)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        await run_shard(scans, parts, fake, 1)
        shutil.copytree(parts / "1", tmp_path / "copy")
        ledger = {"ledger": str(tmp_path / "ledger")}
        with pytest.raises(UsageError, match="parts/1 is this shard of the job already"):
            await run_here(scans, parts / "7", fake.url, input={"shard": "1/2"}, budget=ledger)
        with pytest.raises(UsageError, match="parts/1 is this shard of the job already"):
            await run_here(scans, tmp_path / "copy", fake.url, input={"shard": "1/2"}, budget=ledger)
        (parts / "1").rename(tmp_path / "moved")
        assert (await run_here(scans, tmp_path / "moved", fake.url, input={"shard": "1/2"}, budget=ledger)).run == {}
        assert len(fake.calls) == 1


async def test_without_deduplication_nothing_is_left(scans: Path, tmp_path: Path) -> None:
    write_copies(scans, 2)
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        for number in (1, 2):
            summary = await run_shard(scans, parts, fake, number, prepare={"dedup": "off"})
            assert summary.run == {State.DONE: 2}
        whole = await merge_all(parts)
        assert (await verify(whole), len(results(whole))) == ("", 4)


async def test_copies_in_one_shard_are_left_together(scans: Path, tmp_path: Path) -> None:
    """Also those that wait for the first one."""
    files = write_copies(scans, 1)
    for n in range(40):
        if number_of(f"copy-{n}.png", OF) == 2:
            shutil.copy(files[2][0], scans / f"copy-{n}.png")
    copies = sum(number_of(path.name, OF) == 2 for path in scans.iterdir())
    parts = tmp_path / "parts"
    async with serve_fake() as fake:
        await run_shard(scans, parts, fake, 1)
        assert (await run_shard(scans, parts, fake, 2)).left_to_shards == copies > 10
        whole = await merge_all(parts)
        assert (await verify(whole), len(results(whole)), len(fake.calls)) == (
            "",
            copies + len(results(parts / "1")),
            1,
        )


async def test_shards_of_the_embedded_engine_claim_in_a_ledger(scans: Path, tmp_path: Path) -> None:
    """Calls are free, so a quota does not limit them; runs of whole INPUTs keep none."""
    write_copies(scans, 3)
    async with serve_fake() as fake:
        for number, done in ((1, 3), (2, 0)):
            sections: dict[str, dict[str, Any]] = {"input": {"shard": f"{number}/2"}, "budget": {"quota": 1}}
            job = Job(
                [scans],
                tmp_path / "parts" / str(number),
                service=Service(fake.url, None, "embedded"),
                config=configure(tmp_path / "out", **sections),
            )
            summary = await run(job)
            assert (summary.exit_code, summary.run.get(State.DONE, 0)) == (0, done)
            assert await verify(tmp_path / "parts" / str(number)) == ""
        assert len(fake.calls) == 3
        whole = await merge_all(tmp_path / "parts")
        assert (await verify(whole), len(results(whole))) == ("", 6)
        assert len(list((tmp_path / "ledger").glob("*.sqlite3"))) == 1
