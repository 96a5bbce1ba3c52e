"""People and tools replace results.jsonl while a run goes on."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.errors import StorageError
from pipeline.verify.audit import audit
from pipeline.workspace.reader import read_records
from pipeline.workspace.run_file import require_workspace
from tests.fakes import Call, accept, serve_fake
from tests.pages import write_pages
from tests.runs import results, run_here
from tests.workspace.test_replacement import copy_and_truncate, move, remove, replace_like_sed, rotate

PAGES = 12


def strip_newline(path: Path) -> None:
    """Remove the last newline, as some editors do; the run's next line then follows on the same one."""
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("interfere", "repeated"),
    [
        pytest.param(replace_like_sed, 0, id="sed"),
        pytest.param(move, 0, id="mv"),
        pytest.param(remove, 0, id="rm"),
        pytest.param(rotate, 0, id="logrotate"),
        pytest.param(copy_and_truncate, 5, id="copytruncate"),
    ],
)
async def test_a_replaced_results_file_stops_the_run_and_loses_no_paid_text(
    scans: Path, tmp_path: Path, interfere: Callable[[Path], object], repeated: int
) -> None:
    """The next run puts the lines back. copytruncate alone takes them to a file that no run knows: the run stops."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"

    def answer(call: Call) -> web.StreamResponse:
        if call.number == 6:
            interfere(out / "results.jsonl")
        return accept(call)

    async with serve_fake(answer) as fake:
        first = await run_here(scans, out, fake.url, run={"jobs": 1})
        calls = len(fake.calls)
        if repeated:
            with pytest.raises(StorageError, match=f" {repeated} texts"):
                await run_here(scans, out, fake.url, run={"jobs": 1})
        second = await run_here(scans, out, fake.url, run={"jobs": 1}, pay_again=repeated > 0)
    assert (first.exit_code, calls) == (1, 6)
    assert "while the run appended to it" in (first.reason or "")
    assert ("earlier lines are gone" in (first.reason or "")) == (repeated > 0)
    assert second.exit_code == 0
    assert len({line["id"] for line in results(out)}) == PAGES
    assert sum(fake.billed.values()) == PAGES + repeated
    assert list(audit(out, require_workspace(out))) == []


async def test_a_newline_that_is_removed_during_a_run_costs_no_call(scans: Path, tmp_path: Path) -> None:
    """The run stops; its next line follows on the same one, and the next run reads both."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"

    def answer(call: Call) -> web.StreamResponse:
        if call.number == 6:
            strip_newline(out / "results.jsonl")
        return accept(call)

    async with serve_fake(answer) as fake:
        assert (await run_here(scans, out, fake.url, run={"jobs": 1})).exit_code == 1
        assert (await run_here(scans, out, fake.url, run={"jobs": 1})).exit_code == 0
    assert sum(fake.billed.values()) == len({record.id for record in read_records(out)}) == PAGES


async def test_an_edit_during_a_run_that_keeps_the_size_stops_the_next_run(scans: Path, tmp_path: Path) -> None:
    """The index has read the lines as they were before the edit."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"

    def answer(call: Call) -> web.StreamResponse:
        if call.number == 6:
            path = out / "results.jsonl"
            path.with_name("new").write_bytes(path.read_bytes().replace(b"text of", b"TEXT of", 1))
            path.with_name("new").replace(path)
        return accept(call)

    async with serve_fake(answer) as fake:
        assert (await run_here(scans, out, fake.url, run={"jobs": 1})).exit_code == 1
        with pytest.raises(StorageError, match="1 lines were edited"):
            await run_here(scans, out, fake.url, run={"jobs": 1})
        assert len(fake.calls) == 6


async def test_a_folder_that_is_moved_during_a_run_takes_all_paid_texts_with_it(scans: Path, tmp_path: Path) -> None:
    """The reply to each call in flight at the move is in the moved file; one was lost, and its page paid twice."""
    write_pages(scans, PAGES)
    out, moved, both = tmp_path / "out", tmp_path / "moved", asyncio.Event()
    waiting = 0

    async def answer(call: Call) -> web.StreamResponse:
        nonlocal waiting
        if call.number in (6, 7):
            waiting += 1
            if waiting == 2:
                out.rename(moved)
                both.set()
            await both.wait()
        return accept(call)

    async with serve_fake(answer) as fake:
        assert (await run_here(scans, out, fake.url, run={"jobs": 2})).exit_code == 1
        assert (await run_here(scans, moved, fake.url, run={"jobs": 2})).exit_code == 0
    assert sum(fake.billed.values()) == len({record.id for record in read_records(moved)}) == PAGES
