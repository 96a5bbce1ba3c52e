"""The index may be deleted at any time: no page is lost or paid for again, and reports stay correct."""

from pathlib import Path

import pytest

from pipeline.cli.verify import verify_workspace
from pipeline.records import State
from pipeline.verify.audit import count_pages
from pipeline.workspace.paths import INDEX
from tests.fakes import FakeOcr, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import results, run_here


async def run_without_index(inputs: Path, out: Path, fake: FakeOcr) -> None:
    """Delete the index, verify, run again, and verify."""
    (out / INDEX).unlink()
    assert verify_workspace(out) == 0
    await run_here(inputs, out, fake.url)
    assert verify_workspace(out) == 0


async def test_a_changed_page_that_was_pending_is_sent_after_the_index_was_lost(scans: Path, tmp_path: Path) -> None:
    """Without the index it counts as done, by its old line; the next run reads the file nevertheless."""
    out = tmp_path / "out"
    changed, *_ = write_pages(scans, 3)
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url)
        write_page(changed, 9)
        await run_here(scans, out, fake.url, run={"max_calls": 0})
        assert count_pages(out).totals[State.PENDING] == 1
        await run_without_index(scans, out, fake)
    assert set(fake.billed.values()) == {1}
    assert len(fake.billed) == 4
    assert count_pages(out).totals[State.DONE] == 3


async def test_a_page_whose_first_content_is_back_has_its_first_text_without_the_index(
    scans: Path, tmp_path: Path
) -> None:
    """The last line of a page in results.jsonl is its text, also for a program that reads only this file."""
    out = tmp_path / "out"
    page = write_page(scans / "page.png", 1)
    first = page.read_bytes()
    async with serve_fake() as fake:
        for content in (first, write_page(page, 2).read_bytes(), first):
            page.write_bytes(content)
            await run_here(scans, out, fake.url)
        await run_without_index(scans, out, fake)
    lines = results(out)
    assert [line["duplicate_of"] for line in lines] == [None, None, "page.png"]
    assert lines[2]["text"] == lines[0]["text"] != lines[1]["text"]
    assert set(fake.billed.values()) == {1}
    assert count_pages(out).totals == dict.fromkeys(State, 0) | {State.DONE: 1}


@pytest.mark.parametrize("lost", [pytest.param(True, id="index-lost"), pytest.param(False, id="index-kept")])
async def test_a_missing_file_that_is_back_is_done_without_a_call(scans: Path, tmp_path: Path, *, lost: bool) -> None:
    out, listed = tmp_path / "out", scans / "list.txt"
    page = write_page(scans / "page.png", 1)
    write_page(scans / "other.png", 2)
    listed.write_text("page.png\nother.png\n")
    async with serve_fake() as fake:
        await run_here(listed, out, fake.url)
        away = page.rename(tmp_path / "away.png")
        await run_here(listed, out, fake.url)
        assert count_pages(out).totals[State.FAILED] == 1
        away.rename(page)
        await run_here(listed, out, fake.url)
        if lost:
            await run_without_index(listed, out, fake)
    assert count_pages(out).totals == dict.fromkeys(State, 0) | {State.DONE: 2}
    assert len(fake.calls) == 2
