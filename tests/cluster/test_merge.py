"""Merging workspaces: the records of all in the order of their sources, and accounts that close."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from pipeline.errors import StorageError
from pipeline.ledger.sqlite.schema import RECOUNT
from pipeline.records import State
from tests.end_to_end.test_shards import write_mixed
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import failures, read_lines, result_lines, results, run_command, run_here, start_command, wait_for_end


async def run_shards(scans: Path, directory: Path, url: str, of: int) -> list[Path]:
    """Run all shards, one after the other, and return their workspaces."""
    outs = [directory / str(number) for number in range(1, of + 1)]
    for number, out in enumerate(outs, 1):
        ledger = {"ledger": str(directory.parent / "ledger")}
        await run_here(scans, out, url, input={"shard": f"{number}/{of}"}, budget=ledger)
    return outs


async def merge(outs: Sequence[Path], target: Path) -> str:
    """Merge, and return the last line of stderr."""
    ended = await run_command("merge", *outs, "-o", target)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stderr.decode().splitlines()[-1]


async def verify(out: Path) -> str:
    """Return what `verify` finds."""
    return (await run_command("verify", out)).stdout.decode()


def texts(out: Path) -> list[tuple[str, str, int, str]]:
    """Return id, source, page and text of each line, in the order of the lines."""
    return [(line["id"], line["source"], line["page"], line["text"]) for line in results(out)]


async def test_one_three_and_seven_shards_give_the_same(scans: Path, tmp_path: Path) -> None:
    """Also with copies in other folders, archives and files of several pages."""
    write_mixed(scans)
    for name in ("page-0001.png", "page-0002.png"):
        shutil.copy(scans / name, scans / "letters" / f"copy of {name}")
        shutil.copy(scans / name, scans / f"zz {name}")
    shutil.copy(scans / "box.zip", scans / "letters" / "another.zip")
    found = []
    async with serve_fake() as fake:
        for of in (1, 3, 7):
            outs = await run_shards(scans, tmp_path / f"parts-{of}", fake.url, of)
            whole = tmp_path / f"whole-{of}"
            await merge(outs, whole)
            assert await verify(whole) == ""
            found.append(texts(whole))
            calls = len(fake.calls)
            summary = await run_here(scans, whole, fake.url)
            assert (summary.exit_code, summary.run, len(fake.calls)) == (0, {}, calls)
    assert found[0] == found[1] == found[2]
    assert [(line[1].encode(), line[2]) for line in found[0]] == sorted(
        (line[1].encode(), line[2]) for line in found[0]
    )
    assert len(found[0]) == 25


async def test_merging_again_adds_what_is_new(scans: Path, tmp_path: Path) -> None:
    write_mixed(scans)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    async with serve_fake() as fake:
        one, two, three = await run_shards(scans, parts, fake.url, 3)
        assert "shards that are missing: 2/3, 3/3" in await merge([one], whole)
        first = result_lines(whole)
        assert "at least 0 pending; shards that are missing: 2/3" in await merge([three], whole)
        status = orjson.loads((await run_command("status", whole, "--json")).stdout)
        assert (status["pending"], status["pending_is_at_least"]) == (0, True)
        assert "pending" not in await merge([two], whole)
        assert await merge([one, two, three], whole)
        again = result_lines(whole)
        assert set(first) < set(again)
        await merge([one, two, three, one], whole)
        assert result_lines(whole) == again
        assert await verify(whole) == ""
        write_pages(scans, 9)
        await run_shards(scans, parts, fake.url, 3)
        await merge([one, two, three], whole)
        assert len(result_lines(whole)) == len(again) + 3
        assert await verify(whole) == ""


async def test_shards_of_two_numbers_are_told(scans: Path, tmp_path: Path) -> None:
    """Files may be in neither, unless one number is complete."""
    write_pages(scans, 6)
    async with serve_fake() as fake:
        halves = await run_shards(scans, tmp_path / "halves", fake.url, 2)
        thirds = await run_shards(scans, tmp_path / "thirds", fake.url, 3)
    line = await merge([halves[0], thirds[2]], tmp_path / "whole")
    assert line.endswith("at least 0 pending; shards that are missing: 2/2, 1/3, 2/3")
    assert "missing" not in await merge([halves[1]], tmp_path / "whole")


async def test_shards_that_go_on_do_not_disturb_the_merged_workspace(scans: Path, tmp_path: Path) -> None:
    """Its calls are those until the merge."""
    write_mixed(scans)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    async with serve_fake() as fake:
        outs = await run_shards(scans, parts, fake.url, 2)
        await merge(outs, whole)
        write_pages(scans, 12)
        await run_shards(scans, parts, fake.url, 2)
        assert await verify(whole) == ""
        write_page(scans / "new.png", 99)
        summary = await run_here(scans, whole, fake.url)
        assert (summary.exit_code, summary.run) == (0, {State.DONE: 7})
        assert await verify(whole) == ""


async def test_failures_tiles_and_kept_replies_come_along(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "long.png", 3, size_px=(300, 9000))
    write_pages(scans, 6)

    def script(call: Call) -> web.Response:
        if call.filename == "page-0001.png":
            return web.json_response({"statusText": "bad"}, status=422)
        if call.filename == "page-0002.png":
            return web.Response(body=b"garbage", content_type="text/plain")
        return accept(call)

    whole = tmp_path / "whole"
    async with serve_fake(script) as fake:
        outs = await run_shards(scans, tmp_path / "parts", fake.url, 3)
        await merge(outs, whole)
    lines = [line for out in outs for line in failures(out)]
    assert sorted(line["source"] for line in failures(whole)) == sorted(line["source"] for line in lines)
    assert {line["class"] for line in failures(whole)} == {"rejected", "attempts-exhausted"}
    parts = sum(len(read_lines(out / "parts.jsonl")) for out in outs)
    assert len(read_lines(whole / "parts.jsonl")) == parts > 1
    kept = sorted(path.name for out in outs for path in (out / "replies").glob("*"))
    assert sorted(path.name for path in (whole / "replies").iterdir()) == kept != []
    assert await verify(whole) == ""
    status = orjson.loads((await run_command("status", whole, "--json")).stdout)
    assert (status["done"], status["failed"], status["pending"]) == (5, 2, 0)


async def test_a_page_of_two_workspaces_is_told_and_the_last_record_counts(scans: Path, tmp_path: Path) -> None:
    """Both calls were paid, and both stay in the accounts."""
    write_pages(scans, 2)
    answers = iter("abcd")
    one, two, whole = tmp_path / "one", tmp_path / "two", tmp_path / "whole"

    def script(call: Call) -> web.Response:
        return web.json_response({"id": "1", "content": next(answers), "timestamp": 1})

    async with serve_fake(script) as fake:
        await run_here(scans, one, fake.url, run={"jobs": 1})
        await run_here(scans, two, fake.url, run={"jobs": 1})
        ended = await run_command("merge", two, one, "-o", whole)
        assert b"2 pages were sent, or have other contents, in several workspaces" in ended.stderr
        assert [line["text"] for line in results(whole)] == ["a", "c", "b", "d"]
        assert [line.get("again", False) for line in results(whole)] == [False, True, False, True]
        assert await verify(whole) == ""
        before = result_lines(whole)
        await merge([one, two], whole)
        assert result_lines(whole) == before
        assert (await run_here(scans, whole, fake.url)).run == {}


async def correct(out: Path, source: str, text: str) -> None:
    file = out.parent / "corrections.jsonl"
    base = next(line["added"] for line in reversed(results(out)) if line["source"] == source)
    file.write_bytes(
        orjson.dumps({"source": source, "page": 1, "text": text, "at": "2026-01-01T00:00:00Z", "base": base})
    )
    ended = await run_command("correct", out, file)
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()


def last_texts(out: Path) -> dict[str, str]:
    return {line["source"]: line["text"] for line in results(out)}


async def test_a_correction_survives_a_later_call_of_another_workspace(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    one, two, whole = tmp_path / "one", tmp_path / "two", tmp_path / "whole"
    async with serve_fake() as fake:
        await run_here(scans, one, fake.url)
        await correct(one, "page-0001.png", "as it is written")
        await run_here(scans, two, fake.url)
        await merge([one, two], whole)
        assert last_texts(whole)["page-0001.png"] == "as it is written"
        assert await verify(whole) == ""
        before = result_lines(whole)
        await merge([two, one], whole)
        assert result_lines(whole) == before
        await correct(whole, "page-0000.png", "corrected here")
        await run_here(scans, two, fake.url, again="*")
        await merge([two, one], whole)
        assert last_texts(whole) == {"page-0000.png": "corrected here", "page-0001.png": "as it is written"}
        assert await verify(whole) == ""


async def test_what_a_person_has_sent_again_stays(scans: Path, tmp_path: Path) -> None:
    """`--again-reviewed` replaced the review in its own workspace."""
    write_page(scans / "a.png", 1)
    one, whole = tmp_path / "one", tmp_path / "whole"
    async with serve_fake() as fake:
        flags = ("-o", one, "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        await run_command("run", scans, *flags)
        await correct(one, "a.png", "wrong")
        await merge([one], whole)
        assert last_texts(whole) == {"a.png": "wrong"}
        assert (await run_command("run", scans, *flags, "--again", "--again-reviewed")).returncode == 0
        await merge([one], whole)
        assert last_texts(whole) == last_texts(one)
        assert last_texts(one)["a.png"].startswith("text of")


async def test_compressed_workspaces_merge(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 8)
    output = {"compression": "zstd", "rotate_bytes": 900}
    whole = tmp_path / "whole"
    async with serve_fake() as fake:
        for number in (1, 2):
            await run_here(scans, tmp_path / f"{number}", fake.url, input={"shard": f"{number}/2"}, output=output)
        outs = [tmp_path / "1", tmp_path / "2"]
        await merge(outs, whole)
        plain = result_lines(whole)
        assert not list(whole.glob("*.zst"))
        for _ in range(2):
            ended = await run_command("merge", *outs, "-o", whole, PAGEMILL_OUTPUT_COMPRESSION="zstd")
            assert ended.returncode == 0, ended.stderr.decode()
            assert result_lines(whole) == plain
            assert [path.name for path in whole.glob("*.zst")] == ["results-000001.jsonl.zst"]
        assert await verify(whole) == ""


@pytest.mark.parametrize("name", ["service", "root", "operation", "self", "shard", "nothing"])
async def test_what_does_not_fit_together_is_refused(scans: Path, tmp_path: Path, name: str) -> None:
    write_pages(scans, 2)
    one, two = tmp_path / "one", tmp_path / "two"
    arguments: list[Path] = [one, two, Path("-o"), tmp_path / "whole"]
    async with serve_fake() as fake:
        await run_here(scans, one, fake.url, input={"shard": "1/2"})
        match name:
            case "root":
                write_page(tmp_path / "other" / "a.png", 9)
                await run_here(tmp_path / "other", two, fake.url)
                message = "not the same input root"
            case "operation":
                await run_here(scans, two, fake.url, run={"positions": True})
                message = "not the same operation: text-recognition and advanced-recognition"
            case "self":
                arguments, message = [one, Path("-o"), one], "it is OUT itself"
            case "shard":
                await run_here(scans, two, fake.url, input={"shard": "2/2"})
                arguments, message = [one, Path("-o"), two], "it is shard 2/2"
            case "nothing":
                message = "not a workspace"
            case _:
                await run_here(scans, two, fake.url)
                run_file = orjson.loads((two / "run.json").read_bytes())
                (two / "run.json").write_bytes(orjson.dumps({**run_file, "service": "vendor"}))
                message = "not the same service: 127.0.0.1 and vendor"
    ended = await run_command("merge", *arguments)
    assert (ended.returncode, message in ended.stderr.decode()) == (2, True), ended.stderr.decode()
    assert not (tmp_path / "whole").exists()


async def test_a_shard_that_still_runs_is_refused(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    whole = tmp_path / "whole"

    async def never(_: Call) -> web.StreamResponse:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})

    async with serve_fake(never) as fake:
        flags = ("-o", tmp_path / "out", "--ledger", tmp_path / "ledger", "--api-url", fake.url)
        async with start_command("run", scans, *flags, "--shard", "1/1") as process:
            await fake.wait_for_calls(1)
            ended = await run_command("merge", tmp_path / "out", "-o", whole)
            assert (ended.returncode, whole.exists()) == (11, False)
            process.kill()
            await wait_for_end(process)
        assert "at least 2 pending" in await merge([tmp_path / "out"], whole)
        fake.script = accept
        assert (await run_here(scans, tmp_path / "out", fake.url, input={"shard": "1/1"})).exit_code == 0
        await merge([tmp_path / "out"], whole)
        assert (await verify(whole), len(results(whole))) == ("", 2)


async def test_pages_that_a_shard_has_not_finished_stay_pending(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 12)
    async with serve_fake() as fake:
        out = tmp_path / "1"
        summary = await run_here(scans, out, fake.url, input={"shard": "1/2"}, run={"max_calls": 2})
        await merge([out], tmp_path / "whole")
        status = orjson.loads((await run_command("status", tmp_path / "whole", "--json")).stdout)
        assert (status["done"], status["pending"]) == (2, summary.pending)


async def test_edited_and_damaged_lines_are_told(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    out, whole = tmp_path / "out", tmp_path / "whole"
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join([lines[0].replace(b"text of", b"test of"), *lines[1:]]))
    ended = await run_command("merge", out, "-o", whole)
    assert (ended.returncode, b"correct" in ended.stderr, whole.exists()) == (1, True, True)
    assert results(whole) == []
    (out / "results.jsonl").write_bytes(b"".join([lines[0][:40] + b"\n", *lines[1:]]))
    ended = await run_command("merge", out, "-o", whole, "--json")
    assert (ended.returncode, len(results(whole)), orjson.loads(ended.stdout)["damaged_lines"]) == (0, 2, 1)
    assert b"1 damaged lines are left out (results.jsonl:1:" in ended.stderr


async def test_a_closed_month_leaves_the_accounts_in_order(scans: Path, tmp_path: Path) -> None:
    """The ledger keeps a number per workspace then: those of calls after the merge are not missed."""
    write_pages(scans, 8)
    whole, ledger = tmp_path / "whole", tmp_path / "ledger"
    async with serve_fake() as fake:
        outs = await run_shards(scans, tmp_path / "parts", fake.url, 2)
        await merge(outs, whole)
        write_pages(scans, 12)
        await run_shards(scans, tmp_path / "parts", fake.url, 2)
        (path,) = ledger.glob("*.sqlite3")
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE attempt SET month = '2020-01', until = '2020-01'")
            for statement in RECOUNT:
                db.execute(statement)
        assert (await run_here(scans, whole, fake.url, run={"max_calls": 0})).exit_code == 10
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM attempt").fetchone() == (0,)
        (whole / "results.jsonl").write_bytes(
            b"".join((whole / "results.jsonl").read_bytes().splitlines(keepends=True)[1:])
        )
        with pytest.raises(StorageError, match="1 texts that were paid for have no readable line"):
            await run_here(scans, whole, fake.url)
