"""An archive of odd files through a whole run: each page ends in the state that its manifest says."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from pipeline.records import State
from tests.benchmarks.odd_archive import ALLOWED_MB, run_archive
from tests.end_to_end.test_plan import plan_here
from tests.engine_server import EngineServer
from tests.fakes import Call, accept, serve_fake
from tests.faults.accounts import list_faults
from tests.odd_files import odd_files
from tests.pixels.tiffs import grey_pages, tiff
from tests.runs import failures, results, run_here

SENT = {"png", "jpeg", "gif", "webp"}


@pytest.mark.parametrize("has_suffixes", [True, False], ids=["named", "without-suffixes"])
async def test_each_page_of_an_archive_of_odd_files_ends_in_its_state(
    scans: Path,
    tmp_path: Path,
    has_suffixes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Without suffixes, what is no image is no page."""
    expected: dict[tuple[str, int], str] = {}
    no_pages = 0
    for name, odd in odd_files().items():
        source = name if has_suffixes else name.replace(".", " ")
        (scans / source).write_bytes(odd.data)
        if not has_suffixes and odd.pages[0] in {"not-an-image", "empty"}:
            no_pages += 1
        else:
            expected |= {(source, number): state for number, state in enumerate(odd.pages, 1)}
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": "off"})
        calls = len(fake.calls)
        again = await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": "off"})
        assert len(fake.calls) == calls
    ended = {(line["source"], line["page"]): line["prep"]["format"] for line in results(tmp_path / "out")}
    ended |= {(line["source"], line["page"]): line["class"] for line in failures(tmp_path / "out")}
    assert ended == expected
    assert summary.totals[State.DONE] == calls == sum(state in SENT for state in expected.values())
    assert (summary.exit_code, again.exit_code) == (3, 3)
    assert sum(summary.ignored.values()) == no_pages
    assert list_faults(tmp_path / "out") == []


def test_all_processes_of_a_run_take_little_memory_together(tmp_path: Path) -> None:
    """Also of odd PDFs, and with `-j 8`; each page ends in the state that its manifest says."""
    peak_mb, code, expected, ended = run_archive(tmp_path, has_engine=False)
    assert (code, ended) == (3, expected)
    assert 100 < peak_mb < ALLOWED_MB


@pytest.mark.deep
@pytest.mark.engine
def test_each_page_ends_in_its_state_against_the_real_server(tmp_path: Path) -> None:
    _, code, expected, ended = run_archive(tmp_path, has_engine=True)
    assert (code, ended) == (3, expected)


@pytest.mark.engine
async def test_a_few_odd_pages_end_in_their_state_against_the_real_server(
    scans: Path, tmp_path: Path, engine_server: EngineServer
) -> None:
    expected: dict[tuple[str, int], str] = {}
    for name in ("pages-of-many-sizes.tif", "turned-6.jpg", "still.gif", "page.heic", "cut-off.png", "line.tif"):
        odd = odd_files()[name]
        (scans / name).write_bytes(odd.data)
        expected |= {(name, number): state for number, state in enumerate(odd.pages, 1)}
    server = engine_server
    summary = await run_here(scans, tmp_path / "out", server.base_url, key=server.key, prepare={"dedup": "off"})
    ended = {(line["source"], line["page"]): line["prep"]["format"] for line in results(tmp_path / "out")}
    ended |= {(line["source"], line["page"]): line["class"] for line in failures(tmp_path / "out")}
    assert (ended, summary.exit_code) == (expected, 3)


async def test_the_pages_of_one_tiff_are_in_flight_together(scans: Path, tmp_path: Path) -> None:
    """The service answers nothing before four of them have arrived."""
    (scans / "book.tif").write_bytes(tiff(*grey_pages(12)))
    four = asyncio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if call.number >= 5:  # the first goes alone
            four.set()
        if call.number > 1:
            await four.wait()
        return accept(call)

    async with serve_fake(answer) as fake:
        with anyio.fail_after(60):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 4})
        assert len(fake.calls) == 12
    assert (summary.exit_code, summary.totals[State.DONE]) == (0, 12)
    assert sorted(line["page"] for line in results(tmp_path / "out")) == [*range(1, 13)]
    assert list_faults(tmp_path / "out") == []


async def test_a_stop_in_the_middle_of_a_tiff_leaves_the_other_pages_pending(scans: Path, tmp_path: Path) -> None:
    (scans / "book.tif").write_bytes(tiff(*grey_pages(12)))
    async with serve_fake() as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 4, "max_calls": 5})
        assert (first.exit_code, first.totals[State.DONE], first.totals[State.PENDING]) == (10, 5, 7)
        rest = await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 4})
        assert len(fake.calls) == 12
    assert (rest.exit_code, rest.totals[State.DONE], rest.totals[State.PENDING]) == (0, 12, 0)
    assert list_faults(tmp_path / "out") == []


@pytest.mark.parametrize("done", [0, 25])
@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param({}, id="default"),
        pytest.param({"skip_blank": True}, id="blank"),
        pytest.param({"dedup": "pixels"}, id="pixels"),
        pytest.param({"skip_blank": True, "dedup": "pixels", "skip_smaller_px": 125}, id="all"),
    ],
)
async def test_an_exact_plan_of_odd_files_equals_the_run(
    scans: Path, tmp_path: Path, prepare: dict[str, Any], done: int
) -> None:
    """With a part of it done already; by headers, the calls are at least as many."""
    out = tmp_path / "out"
    for name, odd in odd_files().items():
        (scans / name).write_bytes(odd.data)
    async with serve_fake() as fake:
        if done:
            await run_here(scans, out, fake.url, prepare=prepare, run={"max_calls": done})
        before = len(fake.calls)
        exact = await plan_here(scans, out, exact=True, prepare=prepare)
        by_headers = await plan_here(scans, out, prepare=prepare)
        summary = await run_here(scans, out, fake.url, prepare=prepare)
        assert exact.counts.calls == len(fake.calls) - before <= by_headers.counts.calls
        assert exact.counts.pages[State.SKIPPED] == summary.totals[State.SKIPPED]
        assert exact.counts.pages.total() == summary.pages
    assert list_faults(out) == []
