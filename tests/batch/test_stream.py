"""Records and events of a run reach the program when they are on disk, and whatever it does, no paid reply is lost."""

import asyncio
import gc
import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Self

import anyio
import pytest
from aiohttp import web

from pipeline import Event, Failure, Job, Pause, Record, Service, Start, State, StopError, Summary, events, stream
from pipeline.batch.events import CAPACITY
from pipeline.batch.observers import Observer
from pipeline.batch.stream import Stream
from pipeline.errors import UsageError, WorkspaceLockedError
from pipeline.workspace.lock import lock_workspace
from tests.corrections import correct
from tests.fakes import Call, FakeOcr, Reply, Script, accept, accept_when, answer_error, serve_fake
from tests.faults.accounts import list_faults
from tests.pages import write_page, write_pages
from tests.runs import KEY, ROOT, configure, environment, results, run_here


def make_job(scans: Path, directory: Path, fake: FakeOcr, *, jobs: int = 4) -> Job:
    """Return a job whose workspace is `out` in a directory."""
    service = Service(fake.url, KEY, "127.0.0.1")
    return Job(scans, directory / "out", service=service, config=configure(directory / "out", run={"jobs": jobs}))


def recorded(directory: Path) -> set[str]:
    """Return the sources in results.jsonl."""
    return {line["source"] for line in results(directory / "out")}


async def check_resumable(scans: Path, directory: Path, fake: FakeOcr, pages: int) -> None:
    """Check that every call that was answered has its line, and that a further run sends the others only."""
    await fake.wait_until_quiet()
    assert sum(fake.billed.values()) == len(recorded(directory))
    assert list_faults(directory / "out") == []
    summary = await run_here(scans, directory / "out", fake.url)
    assert (summary.exit_code, summary.totals[State.DONE]) == (0, pages)
    assert set(fake.billed.values()) == {1}


async def test_corrections_of_an_earlier_time_are_not_yielded(scans: Path, tmp_path: Path) -> None:
    """A later copy of a corrected page is new, and has its text."""
    first, second = write_pages(scans, 2)
    async with serve_fake() as fake:
        async with stream(make_job(scans, tmp_path, fake)) as records:
            assert {record.source async for record in records} == {first.name, second.name}
        await anyio.to_thread.run_sync(correct, tmp_path / "out", {"source": first.name, "page": 1, "text": "by hand"})
        async with stream(make_job(scans, tmp_path, fake)) as records:
            assert [record async for record in records] == []
        (scans / "z-copy.png").write_bytes(first.read_bytes())
        async with stream(make_job(scans, tmp_path, fake)) as records:
            [copy] = [record async for record in records]
        assert (copy.source, copy.text, copy.is_corrected, len(fake.calls)) == ("z-copy.png", "by hand", True, 2)
    assert list_faults(tmp_path / "out") == []


async def test_each_record_is_yielded_when_its_line_is_on_disk(scans: Path, tmp_path: Path) -> None:
    names = {path.name for path in write_pages(scans, 30)}
    seen = set()
    async with serve_fake() as fake:
        async for record in stream(make_job(scans, tmp_path, fake)):
            assert record.source in recorded(tmp_path)
            seen.add(record.source)
    assert seen == names


async def test_the_summary_is_there_after_the_iteration(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 3)
    (scans / "bad.png").write_bytes(b"")
    async with serve_fake() as fake, stream(make_job(scans, tmp_path, fake)) as records:
        with pytest.raises(RuntimeError, match="not ended"):
            _ = records.summary
        assert len([record async for record in records]) == 3
        assert records.summary.run == {State.DONE: 3, State.FAILED: 1}
        with pytest.raises(StopAsyncIteration):
            await anext(records)


async def test_duplicates_and_skipped_pages_are_records_and_earlier_pages_are_not_yielded_again(
    scans: Path, tmp_path: Path
) -> None:
    write_page(scans / "first.png", seed=1)
    async with serve_fake() as fake:
        assert [record.source async for record in stream(make_job(scans, tmp_path, fake))] == ["first.png"]
        write_page(scans / "again.png", seed=1)
        found = [record async for record in stream(make_job(scans, tmp_path, fake))]
        assert [(record.source, record.duplicate_of) for record in found] == [("again.png", "first.png")]
        assert [record async for record in stream(make_job(scans, tmp_path, fake))] == []


def describe(event: Event) -> str:
    match event:
        case Start():
            return "start"
        case Record(source=source):
            return f"record {source}"
        case Failure(source=source, error=error):
            return f"failure {source} {error}"
        case Pause(wait_s=wait_s):
            return f"pause {wait_s}"
        case Summary(exit_code=code):
            return f"end {code}"


async def test_events_tell_of_the_begin_each_page_and_the_end(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", seed=1)
    (scans / "b.png").write_bytes(b"")
    async with serve_fake() as fake:
        found = [describe(event) async for event in events(make_job(scans, tmp_path, fake))]
    assert (found[0], sorted(found[1:-1]), found[-1]) == ("start", ["failure b.png empty", "record a.png"], "end 3")


async def test_a_refused_call_is_a_pause(scans: Path, tmp_path: Path) -> None:
    write_page(scans / "a.png", seed=1)

    async def refuse_first(call: Call) -> web.StreamResponse:
        if call.number == 1:
            return web.json_response({}, status=429, headers={"Retry-After": "1"})
        return accept(call)

    async with serve_fake(refuse_first) as fake:
        found = [describe(event) async for event in events(make_job(scans, tmp_path, fake))]
    assert [text for text in found if text.startswith("pause")] == ["pause 1.0"]


async def test_an_error_of_the_run_is_raised_as_it_is(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    (tmp_path / "out").mkdir()
    async with serve_fake() as fake:
        with lock_workspace(tmp_path / "out"), pytest.raises(WorkspaceLockedError):
            await anext(stream(make_job(scans, tmp_path, fake)))
        missing = stream(make_job(tmp_path / "missing", tmp_path, fake))
        with pytest.raises(UsageError):
            _ = [record async for record in missing]
        with pytest.raises(StopError):
            _ = missing.summary
        assert [record async for record in missing] == []


async def test_an_error_comes_after_the_records_before_it(scans: Path, tmp_path: Path) -> None:
    """The run ends early for a reason of its own: as `run` does, the iteration ends, and the summary says why."""
    write_pages(scans, 10)

    def reject_later(call: Call) -> Reply:
        return accept(call) if call.number <= 4 else answer_error(401, "Unauthorized")(call)

    async with serve_fake(reject_later) as fake, stream(make_job(scans, tmp_path, fake, jobs=1)) as records:
        assert len([record async for record in records]) == 4
        assert records.summary.exit_code == 7


async def test_a_reader_that_is_behind_holds_up_new_pages_and_no_reply(scans: Path, tmp_path: Path) -> None:
    """Memory is flat: what waits is bounded, whatever the number of pages; calls in flight are written."""
    pages, jobs = 3 * CAPACITY, 4
    write_pages(scans, pages)
    async with serve_fake() as fake, stream(make_job(scans, tmp_path, fake, jobs=jobs)) as records:
        first = await anext(records)
        most = CAPACITY + jobs
        await wait_until(lambda: len(fake.calls) >= CAPACITY)
        await wait_until_steady(lambda: len(fake.calls))
        assert CAPACITY <= len(fake.calls) <= most + 1
        assert len(recorded(tmp_path)) == len(fake.calls)
        rest = [record async for record in records]
    assert Counter(record.source for record in (first, *rest)).most_common(1)[0][1] == 1
    assert len(rest) == pages - 1


async def wait_until_steady(count: Callable[[], int]) -> None:
    """Return when a number has not changed for a quarter of a second."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < 0.25:
        await asyncio.sleep(0.01)
        if count() != last:
            last, since = count(), time.monotonic()


async def test_a_program_that_blocks_its_event_loop_holds_up_no_reply(scans: Path, tmp_path: Path) -> None:
    """The server has a thread of its own here; the body of the loop waits, without an await, for replies on disk."""
    write_pages(scans, 8)
    with ServerThread() as server:
        count = 0
        async for _ in stream(make_job(scans, tmp_path, server.fake, jobs=2)):
            count += 1
            if count == 1:
                while len(recorded(tmp_path)) < 8:
                    time.sleep(0.01)  # noqa: ASYNC251 - the program blocks on purpose
    assert count == 8


class ServerThread:
    """The scripted server in a thread and an event loop of its own."""

    def __init__(self, script: Script = accept) -> None:
        self._script = script
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.fake: FakeOcr

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with serve_fake(self._script) as self.fake:
            self._ready.set()
            await self._done.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()


class ConsumerError(Exception):
    """A program's own error."""


async def leave_by_break(records: Stream[Record], fake: FakeOcr) -> None:
    async with records:
        async for _ in records:
            await fake.wait_for_calls(5)
            break


async def leave_by_error(records: Stream[Record], fake: FakeOcr) -> None:
    with suppress(ConsumerError):
        async with records:
            async for _ in records:
                await fake.wait_for_calls(5)
                raise ConsumerError


async def leave_by_aclose(records: Stream[Record], fake: FakeOcr) -> None:
    await anext(records)
    await fake.wait_for_calls(5)
    await records.aclose()


async def consume(records: Stream[Record]) -> None:
    async with records:
        async for _ in records:
            pass


async def leave_by_cancellation(records: Stream[Record], fake: FakeOcr) -> None:
    task = asyncio.create_task(consume(records))
    await fake.wait_for_calls(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_scope(records: Stream[Record], fake: FakeOcr) -> None:
    with anyio.CancelScope() as scope:
        async with records:
            async for _ in records:
                await fake.wait_for_calls(5)
                scope.cancel()
    assert scope.cancelled_caught


async def leave_by_task_group(records: Stream[Record], fake: FakeOcr) -> None:
    """A sibling of the consumer fails: the trap of generators that hold a task group."""

    async def fail() -> None:
        await fake.wait_for_calls(5)
        raise ConsumerError

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(records))
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert caught.group_contains(ConsumerError)


LEAVING = [
    pytest.param(leave_by_break, id="break"),
    pytest.param(leave_by_error, id="the-body-raises"),
    pytest.param(leave_by_aclose, id="aclose"),
    pytest.param(leave_by_cancellation, id="the-task-is-cancelled"),
    pytest.param(leave_by_scope, id="its-cancel-scope-is-cancelled"),
    pytest.param(leave_by_task_group, id="a-sibling-task-fails"),
]


@pytest.mark.parametrize("leave", LEAVING)
async def test_a_consumer_that_leaves_ends_the_run_in_order(
    leave: Callable[[Stream[Record], FakeOcr], Awaitable[None]], scans: Path, tmp_path: Path
) -> None:
    """Calls in flight are recorded, nothing else is sent, and the workspace is free and can be resumed."""
    write_pages(scans, 20)
    released = asyncio.Event()

    async def leave_and_lock(records: Stream[Record], fake: FakeOcr) -> None:
        await leave(records, fake)
        with lock_workspace(tmp_path / "out"):
            pass

    async with serve_fake(accept_when(released, from_call=2)) as fake, asyncio.TaskGroup() as tasks:
        records = stream(make_job(scans, tmp_path, fake))
        leaving = tasks.create_task(leave_and_lock(records, fake))
        await fake.wait_for_calls(5)
        await wait_until(lambda: is_stopping(records))
        assert not leaving.done()
        released.set()
        await leaving
        assert len(fake.calls) == 5
        summary = records.summary
        assert (summary.exit_code, summary.reason, summary.calls) == (10, "ended by the program", 5)
        await check_resumable(scans, tmp_path, fake, 20)


def is_stopping(records: Stream[Record]) -> bool:
    return records._thread._shutdown.reason is not None


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Return once a fact of another thread holds."""
    while not is_true():  # noqa: ASYNC110 - no event of this loop tells
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("ending", ["break", "raise", "return"])
async def test_a_bare_loop_that_is_left_ends_the_run_when_nothing_holds_it(
    ending: str, scans: Path, tmp_path: Path
) -> None:
    write_pages(scans, 20)

    async def iterate(fake: FakeOcr) -> None:
        async for _ in stream(make_job(scans, tmp_path, fake)):
            await fake.wait_for_calls(5)
            if ending == "break":
                break
            if ending == "raise":
                raise ConsumerError
            return

    released = asyncio.Event()
    async with serve_fake(accept_when(released, from_call=2)) as fake:
        with suppress(ConsumerError):
            await iterate(fake)
        gc.collect()
        released.set()
        await wait_until(lambda: is_free(tmp_path / "out"))
        assert len(recorded(tmp_path)) < 20
        await check_resumable(scans, tmp_path, fake, 20)


def is_free(workspace: Path) -> bool:
    """Return whether no run holds the workspace."""
    try:
        with lock_workspace(workspace):
            return True
    except WorkspaceLockedError:
        return False


@pytest.mark.parametrize("holder", ["nobody", "a-variable", "a-task"])
def test_the_end_of_the_event_loop_waits_for_the_calls_in_flight(holder: str, scans: Path, tmp_path: Path) -> None:
    """`asyncio.run` cancels all tasks and closes all generators: neither may cost a paid reply."""
    write_pages(scans, 20)
    kept: list[object] = []

    async def slowly(call: Call) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return accept(call)

    async def iterate(records: Stream[Record], reached: asyncio.Event) -> None:
        async for _ in records:
            reached.set()
            if holder != "a-task":
                break

    async def main(fake: FakeOcr) -> None:
        reached = asyncio.Event()
        records = stream(make_job(scans, tmp_path, fake))
        if holder == "a-variable":
            kept.append(records)
        task = asyncio.create_task(iterate(records, reached))
        await reached.wait()
        if holder != "a-task":
            await task

    with ServerThread(slowly) as server:
        asyncio.run(main(server.fake))
        with lock_workspace(tmp_path / "out"):
            assert sum(server.fake.billed.values()) == len(recorded(tmp_path)) < 20
    assert list_faults(tmp_path / "out") == []


async def test_a_stream_that_is_never_iterated_runs_nothing(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 1)
    async with serve_fake() as fake:
        await stream(make_job(scans, tmp_path, fake)).aclose()
        assert fake.calls == []
    assert not (tmp_path / "out").exists()


async def test_a_cancelled_next_loses_no_record(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 6)
    released = asyncio.Event()
    async with serve_fake(accept_when(released)) as fake, stream(make_job(scans, tmp_path, fake)) as records:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(records), 0.02)
        released.set()
        assert len({record.source async for record in records}) == 6


async def test_stop_yields_what_is_in_flight_and_ends(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 40)
    released = asyncio.Event()
    async with (
        serve_fake(accept_when(released, from_call=6)) as fake,
        stream(make_job(scans, tmp_path, fake)) as records,
    ):
        await fake.wait_for_calls(9)
        records.stop()
        await wait_until(lambda: is_stopping(records))
        released.set()
        assert len([record async for record in records]) == 9
        assert records.summary.exit_code == 10


async def test_several_tasks_share_a_stream(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 50)
    seen: Counter[str] = Counter()

    async def work(records: Stream[Record]) -> None:
        async for record in records:
            seen[record.source] += 1
            await asyncio.sleep(0)

    async with serve_fake() as fake, stream(make_job(scans, tmp_path, fake)) as records:
        await asyncio.gather(*(work(records) for _ in range(5)))
    assert (len(seen), set(seen.values())) == (50, {1})


async def test_other_tasks_of_the_program_run_beside_a_fast_stream(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, CAPACITY)
    turns = itertools.count()

    async def tick() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    async with serve_fake() as fake, stream(make_job(scans, tmp_path, fake)) as records:
        await anext(records)
        await wait_until(lambda: len(recorded(tmp_path)) == CAPACITY)
        ticking = asyncio.create_task(tick())
        before = next(turns)
        for _ in range(CAPACITY - 1):  # all are there already
            await anext(records)
        assert next(turns) - before >= CAPACITY - 1
        ticking.cancel()


CONTEXT: ContextVar[str] = ContextVar("CONTEXT", default="none")


class Witness(Observer):
    """Notes the program's context variable."""

    name = "witness"
    seen = ""

    async def begin(self, start: Start) -> None:
        del start
        Witness.seen = CONTEXT.get()


def test_a_stream_works_under_anyio_run_and_has_the_context_variables(scans: Path, tmp_path: Path) -> None:
    write_pages(scans, 2)

    async def main(fake: FakeOcr) -> int:
        CONTEXT.set("program")
        job = replace(make_job(scans, tmp_path, fake), observers=[Witness()])
        return len([record async for record in stream(job)])

    with ServerThread() as server:
        assert anyio.run(main, server.fake) == 2
    assert Witness.seen == "program"


def test_a_program_that_ends_while_a_stream_is_open_does_not_hang(scans: Path, tmp_path: Path) -> None:
    """Its event loop is neither closed nor run any more; what is on disk stays there, as after a kill."""
    write_pages(scans, 200)
    script = (
        "import asyncio, sys\n"
        "from pipeline import Job, stream\n"
        "loop = asyncio.new_event_loop()\n"
        "records = stream(Job(sys.argv[1], 'out'))\n"
        "loop.run_until_complete(anext(records))\n"
        "loop.close()\n"
        "print('end')\n"
    )
    with ServerThread() as server:
        environ = environment(
            KEY, PAGEMILL_API_URL=server.fake.url, PAGEMILL_STATE_DIR=str(tmp_path), PYTHONPATH=str(ROOT)
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(scans)],
            cwd=tmp_path,
            env=environ | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert recorded(tmp_path)
