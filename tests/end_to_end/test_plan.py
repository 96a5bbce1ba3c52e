"""`pagemill plan`: its calls are those of the run that follows, and nothing is sent or written."""

import asyncio
import hashlib
import io
import os
import random
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from pipeline.batch.planning.count import PlanJob
from pipeline.batch.planning.plan import Plan, make_plan
from pipeline.records import State
from pipeline.service import Service
from tests.fakes import accept_when, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import KEY, configure, run_command, run_here

URL = "http://127.0.0.1:9"


async def plan_here(inputs: Path, workspace: Path | None, *, exact: bool = False, **sections: Any) -> Plan:
    """Plan in this process with the test key."""
    service = Service(URL, KEY, "127.0.0.1")
    config = configure(workspace or inputs / "none", **sections)
    return await make_plan(PlanJob([str(inputs)], workspace, service, config, exact=exact))


def save_frames(path: Path, number: int, first_seed: int) -> None:
    """Write a TIFF or GIF of several pages of noise."""
    frames = [
        Image.frombytes("L", (120, 120), random.Random(seed).randbytes(120 * 120))
        for seed in range(first_seed, first_seed + number)
    ]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def write_archive(scans: Path) -> None:
    """Write a folder of pages of many kinds: 30 pages that need a call, once each."""
    write_pages(scans / "a", 12)
    write_page(scans / "b" / "photo.jpg", 100)
    write_page(scans / "b" / "scan.bmp", 101)
    write_page(scans / "b" / "wide.webp", 102)
    write_page(scans / "b" / "stamp.png", 103, size_px=(60, 60))
    write_page(scans / "b" / "large.png", 104, size_px=(4100, 900))
    save_frames(scans / "c.tif", 9, 200)
    save_frames(scans / "d.gif", 4, 300)
    (scans / "empty.jpg").write_bytes(b"")
    (scans / "text.png").write_bytes(b"not an image")
    write_page(scans / "tiny.png", 105, size_px=(4, 4))
    (scans / "book.djvu").write_bytes(b"AT&TFORM")
    (scans / "notes.txt").write_text("buy milk\n")
    write_page(scans / "page.png", 106).rename(scans / "page")


def add_hidden_costs(scans: Path) -> None:
    """Add what only reading or decoding tells: copies, and a page whose end is missing."""
    shutil.copy(scans / "a" / "page-0003.png", scans / "a" / "z-copy.png")
    shutil.copy(scans / "c.tif", scans / "z-copy.tif")
    content = (scans / "b" / "photo.jpg").read_bytes()
    (scans / "b" / "cut.jpg").write_bytes(content[: len(content) // 2])


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash and time of each file of a folder."""
    return {
        str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("done", [0, 1, 7, 14, 17, 25])
@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "copies-and-damage"])
async def test_its_calls_are_those_of_the_next_run(scans: Path, tmp_path: Path, done: int, *, hidden: bool) -> None:
    """With part of the tree done, also when the part ends within a file of several pages."""
    out = tmp_path / "out"
    write_archive(scans)
    if hidden:
        add_hidden_costs(scans)
    async with serve_fake() as fake:
        if done:
            await run_here(scans, out, fake.url, run={"max_calls": done, "jobs": 1})
        calls = len(fake.calls)
        before = fingerprint(tmp_path)
        exact = await plan_here(scans, out, exact=True)
        by_headers = await plan_here(scans, out)
        assert fingerprint(tmp_path) == before
        summary = await run_here(scans, out, fake.url)
        made = len(fake.calls) - calls
    assert exact.counts.calls == made
    assert by_headers.counts.calls >= made
    if not hidden:
        assert by_headers.counts.calls == made
        assert by_headers.counts.pages.total() == summary.pages
    assert exact.counts.pages.total() == summary.pages
    assert exact.counts.ignored == by_headers.counts.ignored == summary.ignored == {".djvu": 1, ".txt": 1}
    after = await plan_here(scans, out)
    assert (after.counts.calls, after.counts.pages[State.FAILED]) == (0, summary.totals[State.FAILED])


async def test_without_dedup_each_copy_is_a_call(scans: Path, tmp_path: Path) -> None:
    write_archive(scans)
    add_hidden_costs(scans)
    async with serve_fake() as fake:
        plan = await plan_here(scans, tmp_path / "out", exact=True, prepare={"dedup": "off"})
        await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": "off"})
        assert plan.counts.calls == len(fake.calls)


async def test_pages_that_are_left_out_are_no_calls(scans: Path, tmp_path: Path) -> None:
    """Of a TIFF whose first page is sure to fail, and of a PDF; headers must not take the failure for another page."""
    small, *others = (Image.frombytes("L", (n, n), random.Random(n).randbytes(n * n)) for n in (4, 120, 130, 140))
    small.save(scans / "a.tif", save_all=True, append_images=others)
    others[0].save(scans / "b.pdf", save_all=True, append_images=others[1:])
    async with serve_fake() as fake:
        plans = [
            await plan_here(scans, tmp_path / "out", exact=exact, input={"pages": "2-"}) for exact in (False, True)
        ]
        await run_here(scans, tmp_path / "out", fake.url, input={"pages": "2-"})
        assert [plan.counts.calls for plan in plans] == [5, 5] == [len(fake.calls)] * 2


async def test_changed_and_touched_files(scans: Path, tmp_path: Path) -> None:
    """A file that was only touched needs no call, which reading it tells."""
    out = tmp_path / "out"
    pages = write_pages(scans, 4)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        write_page(pages[0], 77)
        os.utime(pages[0], (1, 1))
        os.utime(pages[1], (2, 2))
        write_pages(scans, 1, first_seed=50)
        exact, by_headers = await plan_here(scans, out, exact=True), await plan_here(scans, out)
        calls = len(fake.calls)
        await run_here(scans, out, fake.url)
        assert len(fake.calls) - calls == exact.counts.calls == 2
    assert by_headers.counts.calls == 3
    assert dict(by_headers.counts.files) == {"new": 1, "changed": 2, "unmodified": 2}


async def test_rows_that_name_a_page_twice_are_one_call(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)
    table = scans / "list.csv"
    table.write_text("path,box\npage-0000.png,1\npage-0000.png,2\npage-0001.png,1\ngone.png,1\nhttps://h/a.png,1\n")
    async with serve_fake() as fake:
        plans = [await plan_here(table, tmp_path / "out", exact=exact) for exact in (False, True)]
        await run_here(table, tmp_path / "out", fake.url)
        assert [plan.counts.calls for plan in plans] == [3, 3] == [len(fake.calls)] * 2
    assert plans[0].counts.unreadable == {"missing": 1}


async def test_a_lost_index_needs_no_second_call(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pages(scans, 5)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
    (out / "index.sqlite3").unlink()
    plan = await plan_here(scans, out)
    assert (plan.counts.calls, plan.counts.by_name) == (0, 5)
    assert not (out / "index.sqlite3").exists()


async def test_the_ledger_says_what_is_left(scans: Path, tmp_path: Path) -> None:
    """Also without a key: the workspace names its ledger."""
    out = tmp_path / "out"
    write_pages(scans, 12)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, run={"max_calls": 10})
    for key in (KEY, None):
        done = await run_command(
            "plan", scans, "-o", out, "--ledger", tmp_path / "ledger", "--tier", "free", "--json", key=key
        )
        fields = orjson.loads(done.stdout)
        assert (done.returncode, fields["used"] if key is None else None) == (0, 10 if key is None else None)
        assert fields["calls"] == 2
    assert fields["months"]["free"]["left"] == 20
    assert fields["run"] == {"calls": 2, "stop": None}
    assert fields["calls_per_s"] > 0
    assert fields["results_bytes"] > 0


async def test_the_table_fits_a_terminal(scans: Path, tmp_path: Path) -> None:
    write_archive(scans)
    done = await run_command("plan", scans, "--tier", "basic", "--max-calls", "7", key=None)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    for line in (
        "pages       31 to send, 3 failed",
        "ignored     1 .djvu, 1 .txt",
        "calls       31 at most; --exact reads the files",
        "next run    7 calls, then --max-calls 7 is reached (exit 10)",
    ):
        assert line in lines


async def test_a_dry_run_sends_and_writes_nothing(scans: Path, tmp_path: Path) -> None:
    """Without a key; `--limit` counts the files that the run would take."""
    write_archive(scans)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 12, "jobs": 1})
        before = fingerprint(tmp_path)
        for name in ("--dry-run", "-n"):
            done = await run_command("run", scans, "-o", tmp_path / "out", name, "--limit", "6", "--json", key=None)
            assert (done.returncode, done.stderr) == (0, b"")
            fields = orjson.loads(done.stdout)
            assert (fields["calls"], fields["run"]["calls"]) == (19, 3)
            assert fields["run"]["stop"] == "--limit 6 is reached (exit 10)"
        assert fingerprint(tmp_path) == before
        assert len(fake.calls) == 12
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"limit": 6})
        assert (len(fake.calls), summary.exit_code) == (15, 10)
    new = await run_command("run", scans, "-o", tmp_path / "new", "-n", key=None)
    assert new.returncode == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("flags", "name"), [(["--local"], "embedded"), ([], "vendor")], ids=["engine", "vendor"])
async def test_another_service_than_before_is_named(scans: Path, tmp_path: Path, flags: list[str], name: str) -> None:
    """A run would end with exit 2 before its first call; the pages are counted all the same."""
    out = tmp_path / "out"
    write_pages(scans, 3)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, run={"max_calls": 1})
    for command in (["plan"], ["run", "-n"]):
        fields = orjson.loads((await run_command(*command, scans, "-o", out, "--json", *flags)).stdout)
        assert fields["calls"] == 2
        stop = f"'127.0.0.1' filled OUT, not '{name}' (exit 2)"
        assert fields["run"] == {"calls": 0, "stop": stop}
        table = (await run_command(*command, scans, "-o", out, *flags)).stdout.decode().splitlines()
        assert f"next run    no call: {stop}" in table
    switched = await run_command("run", "-n", scans, "-o", out, "--switch-service", "--json", *flags)
    assert orjson.loads(switched.stdout)["run"] == {"calls": 2, "stop": None}


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["table", "json"])
async def test_exit_codes(scans: Path, flags: list[str]) -> None:
    """9 for INPUTs without a page, 2 for one that does not exist."""
    (scans / "book.djvu").write_bytes(b"AT&TFORM")
    empty = await run_command("plan", scans, *flags, key=None)
    assert empty.returncode == 9
    assert b"is a disk not mounted?" in empty.stderr
    assert b".djvu" in empty.stdout
    missing = await run_command("plan", scans / "nowhere", *flags, key=None)
    assert missing.returncode == 2
    if flags:
        assert (orjson.loads(empty.stdout)["exit_code"], orjson.loads(missing.stdout)["exit_code"]) == (9, 2)


async def test_a_run_may_hold_the_workspace(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 6)
    release = asyncio.Event()
    async with serve_fake(accept_when(release, from_call=4)) as fake:
        run = asyncio.create_task(run_here(scans, tmp_path / "out", fake.url, run={"jobs": 2}))
        await fake.wait_for_calls(5)
        plan = await plan_here(scans, tmp_path / "out")
        release.set()
        await run
    assert plan.counts.calls in {2, 3}


async def test_paths_come_from_stdin(scans: Path) -> None:
    pages = write_pages(scans, 3)
    job = PlanJob(
        ["-"],
        None,
        Service("", None, "embedded"),
        configure(scans / "out"),
        stdin=io.BytesIO(b"\n".join(os.fsencode(page) for page in [*pages, pages[0]])),
    )
    plan = await make_plan(job)
    assert plan.counts.calls == 3
