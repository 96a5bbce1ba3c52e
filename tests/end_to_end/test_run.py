"""The whole way of a page against a scripted server: what is recorded, what is billed, how a run ends."""

import asyncio
import itertools
import os
import shutil
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image

from pipeline.batch.runner import Job, run
from pipeline.errors import InterruptedRunError, StorageError, UsageError, WorkspaceLockedError
from pipeline.records import Service, State
from pipeline.shutdown import Shutdown
from pipeline.verify.audit import audit
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.run_file import require_workspace
from tests.fakes import Call, accept, refuse, serve_fake
from tests.pages import write_page, write_pages
from tests.runs import KEY, configure, failures, results, run_here


async def test_every_page_gets_one_line_with_its_text(scans: Path, tmp_path: Path) -> None:
    """Each page is called once and its text stands in results.jsonl under its name."""
    write_pages(scans, 20)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    lines = results(tmp_path / "out")
    assert summary.exit_code == 0
    assert sorted(line["source"] for line in lines) == [f"page-{number:04}.png" for number in range(20)]
    assert all(line["text"] == f"text of {line['sha256'][:12]}" for line in lines)
    assert summary.totals[State.DONE] == 20 == summary.pages
    assert set(fake.billed.values()) == {1}


async def test_so_many_pages_are_under_way_as_there_are_jobs(scans: Path, tmp_path: Path) -> None:
    """After the lone first call, all slots are used and no more than these."""
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
    """What is done stays done."""
    write_pages(scans, 5)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 5
    assert (again.exit_code, again.settled, again.calls) == (0, 5, 0)
    assert len(results(tmp_path / "out")) == 5


async def test_moved_and_renamed_pages_are_not_sent_again(scans: Path, tmp_path: Path) -> None:
    """A page is known by its content, wherever it lies."""
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
    """The index is derived from the JSONL: without it, nothing is sent again and nothing is recorded twice."""
    write_pages(scans, 6)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        (tmp_path / "out" / "index.sqlite3").unlink()
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 6
    assert summary.totals[State.DONE] == 6
    assert len(results(tmp_path / "out")) == 6


async def test_a_duplicate_in_flight_waits_for_its_original(scans: Path, tmp_path: Path) -> None:
    """Copies that arrive while the original is on the wire are not sent; each gets its own line."""
    original = write_page(scans / "a.png", 1)
    for name in ("b.png", "c.png", "d.png"):
        shutil.copy(original, scans / name)
    release = asyncio.Event()

    async def hold(call: Call) -> web.Response:
        await release.wait()
        return accept(call)

    async with serve_fake(hold) as fake, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, run={"jobs": 1}))
        await fake.arrived.wait()
        release.set()
        summary = await task
        assert len(fake.calls) == 1
    assert summary.run == {State.DONE: 1, State.DUPLICATE: 3}
    lines = {line["source"]: line for line in results(tmp_path / "out")}
    assert [lines[name]["duplicate_of"] for name in ("a.png", "b.png", "c.png", "d.png")] == [None, *["a.png"] * 3]
    assert len({line["text"] for line in lines.values()}) == 1


async def test_a_duplicate_of_a_failed_original_fails_the_same_way_uncalled(scans: Path, tmp_path: Path) -> None:
    """A copy of a page that the API rejects is not sent to be rejected again."""
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
    """`--no-dedup` pays for copies, but a second run still does not."""
    shutil.copy(write_page(scans / "a.png", 1), scans / "b.png")
    async with serve_fake() as fake:
        for _ in range(2):
            await run_here(scans, tmp_path / "out", fake.url, prepare={"dedup": False})
        assert len(fake.calls) == 2


async def test_frames_of_a_tiff_are_pages(scans: Path, tmp_path: Path) -> None:
    """Each frame is a page with a number of its own, and none is lost."""
    frames = [Image.new("L", (120, 120), shade) for shade in (10, 90, 200)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        again = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 3
    assert [(line["page"], line["id"][-2:]) for line in results(tmp_path / "out")] == [(1, "#1"), (2, "#2"), (3, "#3")]
    assert again.settled == 3


async def test_a_bad_first_page_does_not_take_the_others_along(scans: Path, tmp_path: Path) -> None:
    """A thumbnail in front of a scanned book fails by itself."""
    frames = [Image.new("L", (4, 4)), Image.new("L", (120, 120), 90), Image.new("L", (120, 120), 200)]
    frames[0].save(scans / "book.tif", save_all=True, append_images=frames[1:])
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert summary.totals[State.FAILED] == 1
    assert [line["page"] for line in results(tmp_path / "out")] == [2, 3]


async def test_a_file_has_one_name_whatever_the_inputs(tmp_path: Path) -> None:
    """Names stay relative to the first run's root: same-named files of two folders are two pages, one file is one."""
    write_page(tmp_path / "vol1" / "p.png", 1)
    write_page(tmp_path / "vol2" / "p.png", 2)
    async with serve_fake() as fake:
        await run_here(tmp_path / "vol1", tmp_path / "out", fake.url)
        await run_here(tmp_path / "vol2", tmp_path / "out", fake.url)
        summary = await run_here([tmp_path / "vol1", tmp_path / "vol2"], tmp_path / "out", fake.url)
        assert len(fake.calls) == 2
    assert [line["source"] for line in results(tmp_path / "out")] == ["p.png", str(tmp_path / "vol2" / "p.png")]
    assert (summary.settled, summary.pages, summary.totals[State.DONE]) == (2, 2, 2)


async def test_a_root_that_moved_away_takes_its_names_along(tmp_path: Path) -> None:
    """When the whole folder lies elsewhere, its pages keep their names and nothing is recorded twice."""
    write_pages(tmp_path / "old", 3)
    async with serve_fake() as fake:
        await run_here(tmp_path / "old", tmp_path / "out", fake.url)
        (tmp_path / "old").rename(tmp_path / "new")
        summary = await run_here(tmp_path / "new", tmp_path / "out", fake.url)
        assert len(fake.calls) == 3
    assert (summary.pages, len(results(tmp_path / "out"))) == (3, 3)


async def test_what_the_quota_leaves_over_is_pending(scans: Path, tmp_path: Path) -> None:
    """When the budget ends, the rest of the input is counted, so that the archive knows what is left."""
    write_pages(scans, 40)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 5})
    assert (summary.totals[State.DONE], summary.totals[State.PENDING], summary.pages) == (5, 35, 40)


async def test_a_changed_file_is_recognised_anew(scans: Path, tmp_path: Path) -> None:
    """New content under an old name is a new page; the old text stays in the file."""
    write_page(scans / "a.png", 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        write_page(scans / "a.png", 2, size_px=(130, 130))
        summary = await run_here(scans, tmp_path / "out", fake.url)
    assert summary.totals[State.DONE] == 1 == summary.pages
    assert len(results(tmp_path / "out")) == 2


async def test_a_manifests_extra_fields_reach_the_record(scans: Path, tmp_path: Path) -> None:
    """What the manifest knows of a page stands in its line as `meta`."""
    write_page(scans / "a.png", 1)
    (scans / "list.csv").write_text("path,shelf\na.png,7b\nmissing.png,8\n")
    async with serve_fake() as fake:
        summary = await run_here(scans / "list.csv", tmp_path / "out", fake.url)
    assert summary.exit_code == 3
    assert results(tmp_path / "out")[0]["meta"] == {"shelf": "7b"}
    assert [(line["source"], line["class"], line["meta"]) for line in failures(tmp_path / "out")] == [
        ("missing.png", "missing", {"shelf": "8"})
    ]


async def test_a_url_is_sent_as_it_is(tmp_path: Path) -> None:
    """A page given as a URL is not downloaded, and known by its URL."""
    async with serve_fake() as fake:
        for _ in range(2):
            await run_here(["https://archive.example/scan.jpg"], tmp_path / "out", fake.url)
        assert [call.media_type for call in fake.calls] == ["https://archive.example/scan.jpg"]
    line = results(tmp_path / "out")[0]
    assert (line["source"], line["sha256"], line["prep"]) == ("https://archive.example/scan.jpg", None, None)


async def test_a_429_pauses_all_pages_and_loses_none(scans: Path, tmp_path: Path) -> None:
    """The refusal belongs to the account: no page loses an attempt, no call goes out inside Retry-After."""
    write_pages(scans, 12)
    waited: list[float] = []

    def limit(call: Call) -> web.StreamResponse:
        if call.number == 4:
            waited.append(call.at_s)
            return web.json_response({"statusText": "slow down"}, status=429, headers={"retry-after-ms": "300"})
        return accept(call)

    async with serve_fake(limit) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 0, "jobs": 2})
        late = [call.at_s - waited[0] for call in fake.calls if call.at_s > waited[0]]
    assert summary.exit_code == 0
    assert summary.totals[State.DONE] == 12
    assert sum(1 for seconds in late if seconds < 0.3) <= 1, "only the call that was on the wire already"


@pytest.mark.parametrize(
    ("script", "exit_code", "calls"),
    [
        pytest.param(refuse(401, "Unauthorized"), 7, 1, id="a-bad-key-costs-one-call"),
        pytest.param(refuse(403, "not allowed"), 7, 1, id="no-permission"),
        pytest.param(refuse(403, "Insufficient quota"), 8, 1, id="quota-by-403"),
        pytest.param(refuse(429, "monthly quota exceeded"), 8, 1, id="quota-by-429"),
        pytest.param(refuse(429, Retry_After="7200"), 8, 1, id="two-hours-means-quota"),
        pytest.param(refuse(404, "nothing here"), 2, 1, id="wrong-url"),
    ],
)
async def test_replies_that_end_the_run(
    scans: Path, tmp_path: Path, script: object, exit_code: int, calls: int
) -> None:
    """One call finds out; every page stays pending."""
    write_pages(scans, 9)
    async with serve_fake(script) as fake:  # type: ignore[arg-type]
        summary = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == calls
    assert summary.exit_code == exit_code
    assert summary.totals[State.DONE] == summary.totals[State.FAILED] == 0
    assert summary.calls == 0


async def test_the_plans_month_is_never_overrun(scans: Path, tmp_path: Path) -> None:
    """The ledger ends the run at the quota; the next run with a larger one finishes it."""
    write_pages(scans, 10)
    async with serve_fake() as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
        assert len(fake.calls) == 4
        second = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
        assert len(fake.calls) == 4
        third = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 30})
    assert [run_.exit_code for run_ in (first, second, third)] == [8, 8, 0]
    assert third.totals[State.DONE] == 10
    assert set(fake.billed.values()) == {1}


async def test_max_calls_ends_the_run(scans: Path, tmp_path: Path) -> None:
    """`--max-calls` is a limit of one run."""
    write_pages(scans, 6)
    async with serve_fake() as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_calls": 2})
        assert len(fake.calls) == 2
    assert (summary.exit_code, summary.totals[State.DONE]) == (8, 2)


async def test_a_passing_error_is_retried_and_then_fails_the_page_until_the_next_run(
    scans: Path, tmp_path: Path
) -> None:
    """500s use up the page's attempts, all charged; the next run tries again by itself."""
    write_page(scans / "a.png", 1)
    async with serve_fake(refuse(500, "oops")) as fake:
        first = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 1})
        assert len(fake.calls) == 2
        fake.script = accept
        second = await run_here(scans, tmp_path / "out", fake.url)
    assert (first.exit_code, first.calls) == (3, 2)
    assert [(line["class"], line["attempts"], line["retryable"]) for line in failures(tmp_path / "out")] == [
        ("attempts-exhausted", 2, True)
    ]
    assert (second.exit_code, second.totals[State.DONE], second.totals[State.FAILED]) == (0, 1, 0)


async def test_a_rejected_page_is_not_sent_again_by_the_next_run(scans: Path, tmp_path: Path) -> None:
    """400 speaks of the page itself: only `retry` would send it again."""
    write_page(scans / "a.png", 1)
    async with serve_fake(refuse(400, "bad image")) as fake:
        first = await run_here(scans, tmp_path / "out", fake.url)
        second = await run_here(scans, tmp_path / "out", fake.url)
        assert len(fake.calls) == 1
    assert (first.exit_code, second.exit_code) == (3, 3)
    assert len(failures(tmp_path / "out")) == 1


async def test_at_most_once_does_not_send_again_what_may_have_been_billed(scans: Path, tmp_path: Path) -> None:
    """A 500 may have been billed: the page is uncertain, is named, and stays so."""
    write_page(scans / "a.png", 1)
    async with serve_fake(refuse(500, "oops")) as fake:
        for _ in range(2):
            summary = await run_here(scans, tmp_path / "out", fake.url, run={"at_most_once": True})
        assert len(fake.calls) == 1
    assert summary.totals[State.UNCERTAIN] == 1
    assert failures(tmp_path / "out")[0]["class"] == "uncertain"


async def test_an_unreachable_api_is_temporary(scans: Path, tmp_path: Path) -> None:
    """A refused connection is no fault of the pages and costs nothing."""
    write_pages(scans, 3)
    async with serve_fake() as fake:
        url = fake.url
    summary = await run_here(scans, tmp_path / "out", url, run={"retries": 0})
    assert (summary.exit_code, summary.calls, summary.totals[State.PENDING]) == (5, 0, 3)


async def test_too_many_failures_end_the_run(scans: Path, tmp_path: Path) -> None:
    """`--max-failures` stops a run that goes wrong."""
    write_pages(scans, 30)
    async with serve_fake(refuse(400, "no")) as fake:
        summary = await run_here(scans, tmp_path / "out", fake.url, run={"max_failures": 3, "jobs": 1})
    assert (summary.exit_code, summary.totals[State.FAILED]) == (12, 4)


async def test_the_end_of_the_allowed_time_drains_the_run(scans: Path, tmp_path: Path) -> None:
    """`--max-duration` ends the run; the call on the wire still lands."""
    write_pages(scans, 3)
    release = asyncio.Event()

    async def hold(call: Call) -> web.Response:
        await release.wait()
        return accept(call)

    async with serve_fake(hold) as fake, asyncio.TaskGroup() as tasks:
        shutdown = Shutdown()
        task = tasks.create_task(
            run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown, run={"max_duration": 0.05, "jobs": 1})
        )
        await fake.arrived.wait()
        await shutdown.requested.wait()
        release.set()
        summary = await task
    assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (10, 1, 1)


async def test_a_drain_lets_calls_land_and_voids_the_unsent(scans: Path, tmp_path: Path) -> None:
    """After the first signal no call goes out, what is on the wire is recorded, the ledger settles."""
    write_pages(scans, 20)
    release = asyncio.Event()

    async def hold(call: Call) -> web.Response:
        if call.number > 1:
            await release.wait()
        return accept(call)

    async with serve_fake(hold) as fake, asyncio.TaskGroup() as tasks:
        shutdown = Shutdown()
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown, run={"jobs": 4}))
        while len(fake.calls) < 5:
            fake.arrived.clear()
            await fake.arrived.wait()
        shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
        release.set()
        summary = await task
        assert len(fake.calls) == 5
    assert (summary.exit_code, summary.calls, summary.totals[State.DONE]) == (130, 5, 5)
    assert len(results(tmp_path / "out")) == 5


@pytest.mark.parametrize("at_sync", [1, 3])
async def test_a_timeout_around_a_run_loses_nothing_that_is_being_written(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_sync: int
) -> None:
    """Cancelled while a text is synced: that text is on disk, all files are closed, and the next run goes on."""
    write_pages(scans, 12)
    loop, sync, may_sync = asyncio.get_running_loop(), os.fdatasync, threading.Event()
    syncs = itertools.count(1)
    limit = asyncio.timeout(None)

    async def end() -> None:
        limit.reschedule(loop.time())
        for _ in range(200):  # rounds of the event loop, in which a run that does not wait would be gone
            await asyncio.sleep(0)
        assert limit.expired()
        may_sync.set()

    def hold(descriptor: int) -> None:
        if next(syncs) == at_sync:
            asyncio.run_coroutine_threadsafe(end(), loop)
            assert may_sync.wait(30)
        sync(descriptor)

    async with serve_fake() as fake:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", hold)
            with pytest.raises(TimeoutError):
                async with limit:
                    await run_here(scans, tmp_path / "out", fake.url, run={"jobs": 2})
        recorded = {line["sha256"] for line in results(tmp_path / "out")}
        assert list_open_files(tmp_path / "out") == []
        sent = len(fake.calls)
        assert len(recorded) >= at_sync
        done = await run_here(scans, tmp_path / "out", fake.url)
        assert [call.filename for call in fake.calls[sent:] if call.digest in recorded] == []
    assert (done.exit_code, done.totals[State.DONE]) == (0, 12)
    assert list(audit(tmp_path / "out", require_workspace(tmp_path / "out"))) == []


def list_open_files(directory: Path) -> list[str]:
    """Return the files of a directory that this process has open."""
    targets = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return [target for target in targets if target.startswith(str(directory))]


async def test_calls_under_way_land_though_the_walk_fails(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that fails under the walk ends the run; it does not cut off the calls on the wire."""
    first, second = write_pages(scans, 2)
    release, shutdown = asyncio.Event(), Shutdown()

    async def hold(call: Call) -> web.Response:
        await release.wait()
        return accept(call)

    def fail(*_: object, **__: object) -> None:
        raise StorageError("index.sqlite3: disk I/O error")

    reader, writer = os.pipe()
    async with serve_fake(hold) as fake, asyncio.TaskGroup() as tasks:
        with os.fdopen(reader, "rb") as stdin, os.fdopen(writer, "wb", buffering=0) as listed:
            service, config = Service(fake.url, KEY, "127.0.0.1"), configure(tmp_path / "out")
            job = Job(["-"], tmp_path / "out", service, config, stdin=stdin)
            task = tasks.create_task(run(job, shutdown))
            listed.write(f"{first}\n".encode())
            await fake.arrived.wait()
            monkeypatch.setattr(Index, "settled_states", fail)
            listed.write(f"{second}\n".encode())
            await shutdown.requested.wait()
            release.set()
            listed.close()
            summary = await task
    assert (summary.exit_code, summary.reason) == (1, "index.sqlite3: disk I/O error")
    assert len(results(tmp_path / "out")) == len(fake.calls) == 1


async def test_another_service_needs_the_switch(scans: Path, tmp_path: Path) -> None:
    """A job that lost its key does not fill a paid workspace with another engine's text."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        other = Job([str(scans)], tmp_path / "out", Service(fake.url, None, "embedded"), configure(tmp_path / "out"))
        with pytest.raises(UsageError, match="--switch-service"):
            await run(other)
        switched = Job(
            [str(scans)],
            tmp_path / "out",
            Service(fake.url, None, "embedded"),
            configure(tmp_path / "out"),
            switch_service=True,
        )
        assert (await run(switched)).exit_code == 0


async def test_a_second_run_on_a_held_workspace_is_refused(scans: Path, tmp_path: Path) -> None:
    """One run at a time."""
    write_pages(scans, 1)
    with lock_workspace(tmp_path / "out"), pytest.raises(WorkspaceLockedError):
        await run_here(scans, tmp_path / "out", "http://127.0.0.1:9")


class Starter:
    """A service that is started for a run, as the embedded engine is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.running = self.started = 0

    @asynccontextmanager
    async def start(self) -> AsyncGenerator[Service]:
        """Be there for so long."""
        self.started += 1
        self.running += 1
        try:
            await asyncio.sleep(0)
            yield Service(self._url, "key of this run", "embedded")
        finally:
            self.running -= 1

    def job(self, scans: Path, out: Path) -> Job:
        """Return a job that starts it."""
        return Job([str(scans)], out, Service("", None, "embedded"), configure(out), start_service=self.start)


async def test_a_service_is_started_for_pages_that_may_need_it_and_ended_with_the_run(
    scans: Path, tmp_path: Path
) -> None:
    """An engine takes seconds to start: a second run with nothing to do starts none."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        starter = Starter(fake.url)
        first = await run(starter.job(scans, tmp_path / "out"))
        assert (starter.started, starter.running) == (1, 0)
        second = await run(starter.job(scans, tmp_path / "out"))
        assert starter.started == 1
        write_page(scans / "new.png", 9)
        third = await run(starter.job(scans, tmp_path / "out"))
        assert {call.key for call in fake.calls} == {"key of this run"}
    assert [run_.totals[State.DONE] for run_ in (first, second, third)] == [2, 2, 3]
    assert (starter.started, starter.running) == (2, 0)


async def test_no_service_is_started_for_a_run_that_cannot_have_the_workspace(scans: Path, tmp_path: Path) -> None:
    """Held by another run, or filled by another service: that is known before an engine loads its models."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        starter = Starter(fake.url)
        with lock_workspace(tmp_path / "out"), pytest.raises(WorkspaceLockedError):
            await run(starter.job(scans, tmp_path / "out"))
        await run_here(scans, tmp_path / "out", fake.url)
        write_page(scans / "new.png", 9)
        with pytest.raises(UsageError, match="--switch-service"):
            await run(starter.job(scans, tmp_path / "out"))
    assert starter.started == 0


async def test_a_drain_while_the_service_starts_ends_the_run_and_the_service(scans: Path, tmp_path: Path) -> None:
    """It is not waited for, nothing is called, and the workspace claims no service that never served it."""
    write_pages(scans, 1)
    shutdown = Shutdown()
    starter = Starter("http://127.0.0.1:9")

    @asynccontextmanager
    async def start() -> AsyncGenerator[Service]:
        async with starter.start() as service:
            shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
            await asyncio.Event().wait()
            yield service

    job = replace(starter.job(scans, tmp_path / "out"), start_service=start)
    with pytest.raises(InterruptedRunError, match="SIGINT"):
        await run(job, shutdown)
    assert (starter.started, starter.running) == (1, 0)
    assert not (tmp_path / "out" / "run.json").exists()


async def test_the_key_reaches_no_file(scans: Path, tmp_path: Path) -> None:
    """The service echoes the key in `payload` and in errors; no file holds it."""
    write_pages(scans, 3)

    def tell(call: Call) -> web.StreamResponse:
        if call.number == 2:
            return web.json_response({"statusText": f"bad key {call.key} in URL"}, status=400)
        return accept(call)

    async with serve_fake(tell) as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        assert {call.key for call in fake.calls} == {KEY}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
