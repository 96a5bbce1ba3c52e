"""Whole runs against a scripted server: which pages are sent, under which names, and what is recorded."""

import asyncio
import shutil
from pathlib import Path

from aiohttp import web
from PIL import Image

from pipeline.records import State
from tests.fakes import Call, accept, accept_when, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import KEY, failures, results, run_here


async def test_every_page_gets_one_line_with_its_text(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 20)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    lines = results(tmp_path / "out")
    assert summary.exit_code == 0
    assert sorted(line["source"] for line in lines) == [f"page-{number:04}.png" for number in range(20)]
    assert all(line["text"] == f"text of {line['sha256'][:12]}" for line in lines)
    assert summary.totals[State.DONE] == 20 == summary.pages
    assert set(fake.billed.values()) == {1}


async def test_as_many_calls_are_in_flight_as_there_are_jobs(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 20)
    full = asyncio.Event()

    async with serve_fake() as fake:

        async def hold(call: Call) -> web.Response:
            if call.number > 1:
                if fake.in_flight == 5:
                    full.set()
                await full.wait()
            return accept(call)

        fake.script = hold
        await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 5})
    assert fake.most_in_flight == 5


async def test_a_second_run_calls_nothing(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 5)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 5
    assert (again.exit_code, again.settled, again.calls) == (0, 5, 0)
    assert len(results(tmp_path / "out")) == 5


async def test_moved_and_renamed_pages_are_not_sent_again(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 4)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        (scans / "moved").mkdir()
        for page in scans.glob("*.png"):
            page.rename(scans / "moved" / f"renamed-{page.name}")
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 4
    assert summary.run == {State.DUPLICATE: 4}
    assert len({line["text"] for line in results(tmp_path / "out")}) == 4


async def test_a_lost_index_costs_no_call(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 6)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        (tmp_path / "out" / "index.sqlite3").unlink()
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 6
    assert summary.totals[State.DONE] == 6
    assert len(results(tmp_path / "out")) == 6


async def test_a_duplicate_in_flight_waits_for_its_original(scans: Path, tmp_path: Path) -> None:
    original = write_page(scans / "a.png", 1)
    for name in ("b.png", "c.png", "d.png"):
        shutil.copy(original, scans / name)
    release = asyncio.Event()

    async with serve_fake(accept_when(release)) as fake, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1}))
        await fake.arrived.wait()
        release.set()
        summary = await task
        assert len(fake.calls) == 1
    assert summary.run == {State.DONE: 1, State.DUPLICATE: 3}
    lines = {line["source"]: line for line in results(tmp_path / "out")}
    assert [lines[name]["duplicate_of"] for name in ("a.png", "b.png", "c.png", "d.png")] == [None, *["a.png"] * 3]
    assert len({line["text"] for line in lines.values()}) == 1


async def test_a_duplicate_of_a_failed_original_fails_the_same_way_without_a_call(scans: Path, tmp_path: Path) -> None:
    shutil.copy(write_page(scans / "a.png", 1), scans / "b.png")
    release = asyncio.Event()

    async def reject(call: Call) -> web.StreamResponse:
        await release.wait()
        return web.json_response({"statusText": "bad image"}, status=400)

    async with serve_fake(reject) as fake, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url))
        await fake.arrived.wait()
        release.set()
        summary = await task
        assert len(fake.calls) == 1
    assert summary.exit_code == 3
    assert sorted((line["source"], line["class"]) for line in failures(tmp_path / "out")) == [
        ("a.png", "rejected"),
        ("b.png", "rejected"),
    ]


async def test_without_dedup_each_copy_is_sent_once(scans: Path, tmp_path: Path) -> None:
    """`--dedup off` sends copies, but a second run sends nothing."""
    shutil.copy(write_page(scans / "a.png", 1), scans / "b.png")
    async with serve_fake() as fake:
        for _ in range(2):
            await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": "off"})
        assert len(fake.calls) == 2


async def test_frames_of_a_tiff_are_pages(scans: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (120, 120), shade) for shade in (10, 90, 200)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 3
    assert [(line["page"], line["id"][-2:]) for line in results(tmp_path / "out")] == [(1, "#1"), (2, "#2"), (3, "#3")]
    assert again.settled == 3


async def test_a_bad_first_frame_fails_alone(scans: Path, tmp_path: Path) -> None:
    """As with a thumbnail in front of a scanned book."""
    frames = [Image.new("L", (4, 4)), Image.new("L", (120, 120), 90), Image.new("L", (120, 120), 200)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert summary.totals[State.FAILED] == 1
    assert [line["page"] for line in results(tmp_path / "out")] == [2, 3]


async def test_a_file_has_the_same_name_for_any_inputs(tmp_path: Path) -> None:
    """Names are relative to the root of the first run; files outside it keep their path."""
    write_page(tmp_path / "vol1" / "p.png", 1)
    write_page(tmp_path / "vol2" / "p.png", 2)
    async with serve_fake() as fake:
        await run_here(tmp_path / "vol1", tmp_path / "out", fake.url)
        await run_here(tmp_path / "vol2", tmp_path / "out", fake.url)
        summary = await run_here([tmp_path / "vol1", tmp_path / "vol2"], tmp_path / "out", fake.url)
        assert len(fake.calls) == 2
    assert [line["source"] for line in results(tmp_path / "out")] == ["p.png", str(tmp_path / "vol2" / "p.png")]
    assert (summary.settled, summary.pages, summary.totals[State.DONE]) == (2, 2, 2)


async def test_pages_of_a_renamed_root_keep_their_names(tmp_path: Path) -> None:
    write_pages(tmp_path / "old", 3)
    async with serve_fake() as fake:
        await run_here(tmp_path / "old", tmp_path / "out", fake.url)
        (tmp_path / "old").rename(tmp_path / "new")
        summary = await run_here(tmp_path / "new", tmp_path / "out", fake.url)
        assert len(fake.calls) == 3
    assert (summary.pages, len(results(tmp_path / "out"))) == (3, 3)


async def test_pages_beyond_the_quota_are_counted_as_pending(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 40)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 5})
    assert (summary.totals[State.DONE], summary.totals[State.PENDING], summary.pages) == (5, 35, 40)


async def test_a_changed_file_is_recognised_again(scans: Path, tmp_path: Path) -> None:
    """The old text stays in results.jsonl."""
    write_page(scans / "a.png", 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        write_page(scans / "a.png", 2, size_px=(130, 130))
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert summary.totals[State.DONE] == 1 == summary.pages
    assert len(results(tmp_path / "out")) == 2


async def test_a_manifests_further_fields_are_the_records_meta(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", 1)
    (scans / "list.csv").write_text("path,shelf\na.png,7b\nmissing.png,8\n")
    async with serve_fake() as fake:
        summary = await run_here(scans / "list.csv", tmp_path / "out", fake.url)
    assert summary.exit_code == 3
    assert results(tmp_path / "out")[0]["meta"] == {"shelf": "7b"}
    assert [(line["source"], line["class"], line["meta"]) for line in failures(tmp_path / "out")] == [
        ("missing.png", "missing", {"shelf": "8"})
    ]


async def test_a_url_is_sent_as_a_url(tmp_path: Path) -> None:
    """The page is not downloaded, and is known by its URL."""
    async with serve_fake() as fake:
        for _ in range(2):
            await run_here(["https://archive.example/scan.jpg"], tmp_path / "out", fake.url)
        assert [call.media_type for call in fake.calls] == ["https://archive.example/scan.jpg"]
    line = results(tmp_path / "out")[0]
    assert (line["source"], line["sha256"], line["prep"]) == ("https://archive.example/scan.jpg", None, None)


async def test_the_key_is_in_no_file(scans: Path, tmp_path: Path) -> None:
    """Although the service echoes it in `payload` and in errors."""
    write_pages(scans, 3)

    def echo_key(call: Call) -> web.StreamResponse:
        if call.number == 2:
            return web.json_response({"statusText": f"bad key {call.key} in URL"}, status=400)
        return accept(call)

    async with serve_fake(echo_key) as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        assert {call.key for call in fake.calls} == {KEY}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
