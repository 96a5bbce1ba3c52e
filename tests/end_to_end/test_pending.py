"""Pages that a run has not finished are counted, whether it has reached them or not."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch import listing
from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.errors import InterruptedRunError, PlannedStopError, StopError
from pipeline.inputs.source import NameBatch
from pipeline.records import State
from pipeline.service import Service
from pipeline.shutdown import Shutdown
from tests.fakes import Call, accept, accept_when, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import (
    COMMAND,
    KEY,
    SABOTAGE,
    configure,
    run_arguments,
    run_command,
    run_here,
    start_command,
    wait_for_end,
)

PAGES = 300


async def status_of(workspace: Path) -> dict[str, object]:
    """Return what `status --json` prints."""
    done = await run_command("status", workspace, "--json")
    assert done.returncode == 0, done.stderr
    fields: dict[str, object] = orjson.loads(done.stdout)
    return fields


@pytest.mark.parametrize("sabotage", [None, "list-nothing"], ids=["guarantee", "negative-control"])
async def test_ctrl_c_counts_the_pages_that_were_not_reached(scans: Path, tmp_path: Path, sabotage: str | None) -> None:
    """SIGINT at 51 of 2,543 pages said that none was pending. The control does not list the INPUTs."""
    write_pages(scans, PAGES)
    release = asyncio.Event()
    command = COMMAND if sabotage is None else (*SABOTAGE, sabotage)
    async with (
        serve_fake(accept_when(release, from_call=11)) as fake,
        start_command(*run_arguments(scans, tmp_path, fake.url, "-j", "4"), command=command) as process,
    ):
        await fake.wait_for_calls(14)
        process.send_signal(signal.SIGINT)
        release.set()
        code, stderr = await wait_for_end(process)
    fields = await status_of(tmp_path / "out")
    assert code == 130
    done = fields["done"]
    assert isinstance(done, int)
    assert 10 <= done <= 14
    if sabotage is None:
        assert (fields["pending"], fields["pending_is_at_least"]) == (PAGES - done, False)
        assert f"{done} new; {done} done, {PAGES - done} pending in all" in stderr
        assert list_faults(tmp_path / "out") == []
    else:
        assert fields["pending"] != PAGES - done
        assert fields["pending_is_at_least"]
        assert "at least" in stderr


async def test_status_counts_the_pages_that_a_run_has_not_reached(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, PAGES)
    (scans / "notes.txt").touch()
    release = asyncio.Event()
    async with (
        serve_fake(accept_when(release, from_call=6)) as fake,
        start_command(*run_arguments(scans, tmp_path, fake.url, "-j", "2")) as process,
    ):
        await fake.wait_for_calls(7)
        fields = await status_of(tmp_path / "out")
        while fields["pending_is_at_least"]:
            fields = await status_of(tmp_path / "out")
        assert (fields["done"], fields["pending"], fields["pages"]) == (5, PAGES - 5, PAGES)
        assert (fields["ignored"], fields["finished"]) == ({".txt": 1}, None)
        process.kill()
        await process.wait()
    fields = await status_of(tmp_path / "out")
    assert (fields["done"], fields["pending"], fields["pending_is_at_least"]) == (5, PAGES - 5, False)


@pytest.mark.parametrize(
    ("settings", "exit_code"),
    [
        pytest.param({"run": {"limit": 3}}, 10, id="limit"),
        pytest.param({"run": {"limit": 0}}, 10, id="limit-of-none"),
        pytest.param({"run": {"max_calls": 3}}, 10, id="max-calls"),
        pytest.param({"budget": {"quota": 3}}, 8, id="quota"),
        pytest.param({"run": {"max_duration": 0.2}}, 10, id="max-duration"),
    ],
)
async def test_every_early_end_counts_what_is_left(
    scans: Path, tmp_path: Path, settings: dict[str, Any], exit_code: int
) -> None:
    write_pages(scans, PAGES)

    async def slow(call: Call) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return accept(call)

    async with serve_fake(slow) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, **settings)
    assert summary.exit_code == exit_code
    assert summary.totals[State.DONE] < PAGES
    assert (summary.pending, summary.pending_is_at_least) == (PAGES - summary.totals[State.DONE], False)
    assert list_faults(tmp_path / "out") == []


@pytest.mark.parametrize(("status", "exit_code"), [(401, 7), (404, 2)])
async def test_a_run_that_the_service_ends_counts_what_is_left(
    scans: Path, tmp_path: Path, status: int, exit_code: int
) -> None:
    write_pages(scans, PAGES)
    async with serve_fake(answer_error(status, "no")) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.pending, summary.pending_is_at_least) == (exit_code, PAGES, False)


async def test_too_many_failures_leave_the_rest_pending(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 50)
    for number in range(10):
        (scans / f"bad-{number}.png").write_bytes(b"")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_failures": 2, "jobs": 1})
    assert summary.exit_code == 12
    assert summary.totals[State.FAILED] + summary.totals[State.DONE] + summary.pending == 60


async def test_reached_limits_without_a_page_left_are_no_early_end(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    async with serve_fake() as fake:
        for number, settings in enumerate([{"limit": 3}, {"max_calls": 3}]):
            summary = await run_here(scans, tmp_path / f"out{number}", fake.url, run=settings)
            assert (summary.exit_code, summary.reason, summary.pending) == (0, None, 0)


async def test_a_duration_that_ends_with_the_last_page_is_no_early_end(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    release, shutdown = asyncio.Event(), Shutdown()
    async with serve_fake(accept_when(release)) as fake, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown))
        await fake.arrived.wait()
        shutdown.request(PlannedStopError("--max-duration 1 s is over"))
        release.set()
        summary = await task
    assert (summary.exit_code, summary.reason, summary.totals[State.DONE]) == (0, None, 1)


async def test_pages_of_a_book_that_were_not_reached_are_pending(scans: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (120, 120), shade) for shade in (10, 60, 110, 160, 210)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 2})
        assert (summary.totals[State.DONE], summary.pending) == (2, 3)
        done = await run_here(scans, tmp_path / "out", fake.url)
    assert (done.totals[State.DONE], done.pending, len(fake.calls)) == (5, 0, 5)


async def test_a_listing_that_a_signal_cuts_off_says_at_least(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network mount that has stopped to answer; `status` says it, too."""
    write_pages(scans, 20)
    release, shutdown = asyncio.Event(), Shutdown()

    async def list_and_hang(*_: object) -> AsyncGenerator[NameBatch, None]:
        yield NameBatch([f"page-{number:04}.png" for number in range(15)])
        await anyio.sleep(3600)

    monkeypatch.setattr(listing, "list_names", list_and_hang)
    async with serve_fake(accept_when(release)) as fake, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown, run={"jobs": 1}))
        await fake.arrived.wait()
        shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
        release.set()
        summary = await task
    assert (summary.totals[State.DONE], summary.pending_is_at_least) == (1, True)
    assert summary.pending >= 14
    fields = await status_of(tmp_path / "out")
    assert (fields["pending"], fields["pending_is_at_least"]) == (summary.pending, True)
    assert f"pending    at least {summary.pending}\n".encode() in (await run_command("status", tmp_path / "out")).stdout


async def test_names_that_have_arrived_on_a_pipe_are_counted(scans: Path, tmp_path: Path) -> None:
    """`find | pagemill run -` with a bound on calls; what has not arrived cannot be counted."""
    pages = write_pages(scans, 40)
    reader, writer = os.pipe()
    os.write(writer, "".join(f"{page}\n" for page in pages).encode())
    async with serve_fake() as fake:
        service, config = Service(fake.url, KEY, "127.0.0.1"), configure(tmp_path / "out", run={"max_calls": 3})
        with os.fdopen(reader, "rb") as stdin:
            summary = await run(Job(["-"], tmp_path / "out", service, config, stdin=stdin))
        assert (summary.totals[State.DONE], summary.pending, summary.pending_is_at_least) == (3, 37, True)
        os.close(writer)
        again = configure(tmp_path / "out", run={"max_calls": 4})
        listed = tmp_path / "listed"
        listed.write_text("".join(f"{page}\n" for page in pages))
        with listed.open("rb") as stdin:
            summary = await run(Job(["-"], tmp_path / "out", service, again, stdin=stdin))
    assert (summary.totals[State.DONE], summary.pending, summary.pending_is_at_least) == (7, 33, False)


async def test_pending_pages_whose_files_are_gone_are_forgotten_by_a_complete_run(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 10)
    async with serve_fake() as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, run={"limit": 2})
        assert (first.totals[State.DONE], first.pending) == (2, 8)
        (scans / "moved").mkdir()
        for page in sorted(scans.glob("*.png"))[5:]:
            page.rename(scans / "moved" / page.name)
        second = await run_here(scans, tmp_path / "out", fake.url)
    assert (second.totals[State.DONE], second.pending, second.exit_code) == (10, 0, 0)


async def test_pending_pages_of_other_inputs_stay_pending(tmp_path: Path) -> None:
    for volume in ("vol1", "vol2"):
        write_pages(tmp_path / "scans" / volume, 4, first_seed=0 if volume == "vol1" else 100)
    volumes = [tmp_path / "scans" / "vol1", tmp_path / "scans" / "vol2"]
    async with serve_fake() as fake:
        await run_here(volumes, tmp_path / "out", fake.url, run={"limit": 1})
        summary = await run_here(volumes[1], tmp_path / "out", fake.url)
    assert (summary.exit_code, summary.totals[State.DONE], summary.pending) == (0, 5, 3)


async def test_a_run_that_ends_before_it_begins_counts_nothing(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    shutdown = Shutdown()
    shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
    with suppress(StopError):
        await run_here(scans, tmp_path / "out", "http://127.0.0.1:9", shutdown=shutdown)
    assert not (tmp_path / "out" / "results.jsonl").exists()


async def test_pages_without_a_suffix_are_counted_too(scans: Path, tmp_path: Path) -> None:
    for seed in range(6):
        write_page(scans / f"{seed}.png", seed).rename(scans / f"{seed}")
    (scans / "README").write_text("no page\n")
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"limit": 2})
    assert (summary.totals[State.DONE], summary.pending, summary.ignored) == (2, 4, {"no suffix": 1})
