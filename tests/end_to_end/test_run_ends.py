"""Whole runs that end early or do not begin: signals, cancellation, failures, a held workspace, another service."""

import asyncio
import itertools
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.batch import runner
from pipeline.batch.job import Job
from pipeline.batch.runner import run
from pipeline.config import Config
from pipeline.errors import InterruptedRunError, StorageError, UsageError, WorkspaceLockedError
from pipeline.records import State
from pipeline.service import Service
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from tests.fakes import accept_when, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import KEY, configure, results, run_here


async def test_max_duration_ends_the_run_and_records_the_call_in_flight(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pages(scans, 3)
    release = asyncio.Event()
    end_after = runner._end_after

    async with serve_fake(accept_when(release)) as fake, asyncio.TaskGroup() as tasks:
        shutdown = Shutdown()

        async def end_after_the_first_call(duration_s: float, shutdown: Shutdown) -> None:
            await fake.arrived.wait()  # on a busy machine the time would be over before the call
            await end_after(duration_s, shutdown)

        monkeypatch.setattr(runner, "_end_after", end_after_the_first_call)
        task = tasks.create_task(
            run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown, run={"max_duration": 0.05, "jobs": 1})
        )
        await fake.arrived.wait()
        await shutdown.requested.wait()
        release.set()
        summary = await task
    assert (summary.exit_code, summary.totals[State.DONE], len(fake.calls)) == (10, 1, 1)


async def test_a_signal_ends_the_run_and_records_the_calls_in_flight(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 20)
    release = asyncio.Event()

    async with serve_fake(accept_when(release, from_call=2)) as fake, asyncio.TaskGroup() as tasks:
        shutdown = Shutdown()
        task = tasks.create_task(run_here(scans, tmp_path / "out", fake.url, shutdown=shutdown, run={"jobs": 4}))
        await fake.wait_for_calls(5)
        shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
        release.set()
        summary = await task
        assert len(fake.calls) == 5
    assert (summary.exit_code, summary.calls, summary.totals[State.DONE]) == (130, 5, 5)
    assert len(results(tmp_path / "out")) == 5


@pytest.mark.parametrize("at_sync", [1, 3])
async def test_a_cancelled_run_loses_no_text_that_is_being_written(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_sync: int
) -> None:
    """A text that is being synced when the run is cancelled is on disk, and all files are closed."""
    write_pages(scans, 12)
    loop, sync, may_sync = asyncio.get_running_loop(), os.fdatasync, threading.Event()
    syncs = itertools.count(1)
    limit = asyncio.timeout(None)

    async def end() -> None:
        limit.reschedule(loop.time())
        for _ in range(200):  # a run that does not wait would end within these rounds of the event loop
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
    assert list_faults(tmp_path / "out") == []


def list_open_files(directory: Path) -> list[str]:
    """Return the files of a directory that this process has open."""
    targets = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return [target for target in targets if target.startswith(str(directory))]


async def test_calls_in_flight_are_recorded_when_the_walk_fails(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the walk fails because the index does."""
    first, second = write_pages(scans, 2)
    release, shutdown = asyncio.Event(), Shutdown()

    def fail(*_: object, **__: object) -> None:
        raise StorageError("index.sqlite3: disk I/O error")

    reader, writer = os.pipe()
    async with serve_fake(accept_when(release)) as fake, asyncio.TaskGroup() as tasks:
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


async def test_another_service_needs_switch_service(scans: Path, tmp_path: Path) -> None:
    """A job that lost its key must not fill a paid workspace with texts of another engine."""
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


async def test_a_second_run_on_a_held_workspace_is_an_error(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    with lock_workspace(tmp_path / "out"), pytest.raises(WorkspaceLockedError):
        await run_here(scans, tmp_path / "out", "http://127.0.0.1:9")


class StartableService:
    """A service that a run starts, like the embedded engine.

    Attributes:
        started: Number of starts.
        running: Number of services that run now.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.running = self.started = 0

    @asynccontextmanager
    async def start(self, _: Config) -> AsyncGenerator[Service]:
        """Run the service while the context is open."""
        self.started += 1
        self.running += 1
        try:
            await asyncio.sleep(0)
            yield Service(self._url, "key of this run", "embedded")
        finally:
            self.running -= 1

    def job(self, scans: Path, out: Path) -> Job:
        """Return a job that starts the service."""
        return Job([str(scans)], out, Service("", None, "embedded"), configure(out), start_embedded=self.start)


async def test_a_service_is_started_only_for_pages_that_may_need_it_and_ended_with_the_run(
    scans: Path, tmp_path: Path
) -> None:
    """Starting an engine takes seconds, so a run with nothing to do starts none."""
    write_pages(scans, 2)
    async with serve_fake() as fake:
        startable = StartableService(fake.url)
        first = await run(startable.job(scans, tmp_path / "out"))
        assert (startable.started, startable.running) == (1, 0)
        second = await run(startable.job(scans, tmp_path / "out"))
        assert startable.started == 1
        write_page(scans / "new.png", 9)
        third = await run(startable.job(scans, tmp_path / "out"))
        assert {call.key for call in fake.calls} == {"key of this run"}
    assert [run_.totals[State.DONE] for run_ in (first, second, third)] == [2, 2, 3]
    assert (startable.started, startable.running) == (2, 0)


async def test_no_service_is_started_for_a_run_that_cannot_use_the_workspace(scans: Path, tmp_path: Path) -> None:
    """The workspace is held by another run, or belongs to another service."""
    write_pages(scans, 1)
    async with serve_fake() as fake:
        startable = StartableService(fake.url)
        with lock_workspace(tmp_path / "out"), pytest.raises(WorkspaceLockedError):
            await run(startable.job(scans, tmp_path / "out"))
        await run_here(scans, tmp_path / "out", fake.url)
        write_page(scans / "new.png", 9)
        with pytest.raises(UsageError, match="--switch-service"):
            await run(startable.job(scans, tmp_path / "out"))
    assert startable.started == 0


async def test_a_signal_while_the_service_starts_ends_the_run_and_the_service(scans: Path, tmp_path: Path) -> None:
    """No call is made, and the workspace does not name the service."""
    write_pages(scans, 1)
    shutdown = Shutdown()
    startable = StartableService("http://127.0.0.1:9")

    @asynccontextmanager
    async def start(config: Config) -> AsyncGenerator[Service]:
        async with startable.start(config) as service:
            shutdown.request(InterruptedRunError("ended by SIGINT", exit_code=130))
            await asyncio.Event().wait()
            yield service

    job = replace(startable.job(scans, tmp_path / "out"), start_embedded=start)
    with pytest.raises(InterruptedRunError, match="SIGINT"):
        await run(job, shutdown)
    assert (startable.started, startable.running) == (1, 0)
    assert not (tmp_path / "out" / "run.json").exists()
