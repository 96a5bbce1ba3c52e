"""The sink on real files: an append returns once its line is whole and synced, on failing and full disks, too."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import orjson
import pytest

from pipeline.errors import StorageError
from pipeline.records import Failure
from pipeline.workspace.ballast import Ballast, hold_ballast
from pipeline.workspace.jsonl_file import JsonlFile, RescueFile, SyncedFile
from pipeline.workspace.paths import BALLAST, FAILURES, RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.repair import find_rescues, repair_file
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.sink import open_sink
from tests.factories import make_failure, make_record
from tests.runs import ROOT

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

JOBS = 8
"""Replies in flight by default."""


async def append_all(
    path: Path, lines: Sequence[bytes], disk: "SmallDisk | None" = None, ballast: Ballast | None = None
) -> list[Span | Exception]:
    """Append lines one after another through one descriptor; return each line's place, or its error."""
    ends: list[Span | Exception] = []
    with path.open("ab", buffering=0) as raw:
        file = SyncedFile(raw.fileno()) if disk is None else FileOnSmallDisk(raw.fileno(), disk)
        jsonl = JsonlFile(path, file, path.stat().st_size, ballast=ballast)
        for line in lines:
            try:
                ends.append(await jsonl.append(line))
            except StorageError as exc:
                ends.append(exc)
    return ends


class TestAppending:
    async def test_the_bytes_on_disk_are_the_lines(self, tmp_path: Path) -> None:
        records = [make_record(f"page-{number}.png", number, text="页\n" * number) for number in range(3)]
        failure = Failure(None, "bad.png", 1, "empty", "zero bytes", 0, retryable=False, added="2026")
        async with open_sink(tmp_path) as sink:
            spans = [await sink.append_record(record) for record in records]
            await sink.append_failure(failure)
        content = (tmp_path / RESULTS).read_bytes()
        assert [parse_record(content[span.start : span.end].rstrip(b"\n")) for span in spans] == records
        assert [span.end for span in spans] == [*(span.start for span in spans[1:]), len(content)]
        assert orjson.loads((tmp_path / FAILURES).read_bytes())["class"] == "empty"

    async def test_concurrent_appends_land_whole_and_where_their_spans_say(self, tmp_path: Path) -> None:
        found: dict[int, Span] = {}
        async with open_sink(tmp_path) as sink:

            async def append(number: int) -> None:
                record = make_record(f"page-{number}.png", number, text="x" * (number * 37 % 5000))
                found[number] = await sink.append_record(record)

            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(append, number)
        content = (tmp_path / RESULTS).read_bytes()
        lines = content.splitlines(keepends=True)
        assert len(lines) == 200
        for number, span in found.items():
            assert orjson.loads(content[span.start : span.end])["source"] == f"page-{number}.png"
        spans = sorted(found.values(), key=lambda span: span.start)
        assert spans[0].start == 0
        assert all(first.end == second.start for first, second in pairwise(spans))

    async def test_spans_count_from_the_beginning_of_a_file_that_has_lines(self, tmp_path: Path) -> None:
        for number in range(2):
            async with open_sink(tmp_path) as sink:
                span = await sink.append_record(make_record(f"page-{number}.png", number))
                assert f"<JsonlFile results.jsonl {span.end} bytes>" in repr(sink)
        content = (tmp_path / RESULTS).read_bytes()
        assert orjson.loads(content[span.start : span.end])["source"] == "page-1.png"
        assert len(content.splitlines()) == 2

    async def test_its_threads_end_with_it(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        async with open_sink(tmp_path) as sink:
            await sink.append_record(make_record("page-1.png", 1))
            writers = [thread for thread in threading.enumerate() if thread.name.startswith(RESULTS)]
        assert len(set(writers) - before) == 1
        writers[0].join(10)
        assert not writers[0].is_alive()

    async def test_a_workspace_that_cannot_be_written_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / RESULTS).mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl"):
            async with open_sink(tmp_path):
                pass


class TestFailedSyncs:
    """After an error a descriptor may report success for lines that the kernel has dropped: it is not used again."""

    async def test_lines_after_a_failed_sync_go_to_a_rescue_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each error names both files, although later syncs would succeed."""
        path = tmp_path / RESULTS
        path.touch()
        synced = fail_syncs(monkeypatch, "fdatasync", {2})
        ends = await append_all(path, [b"1\n", b"2\n", b"3\n", b"4\n"])
        assert ends[0] == Span(0, 2)
        assert [type(end) for end in ends[1:]] == [StorageError] * 3
        assert len(synced) == 2
        assert path.read_bytes() == b"1\n2\n"
        [rescue] = find_rescues(tmp_path)
        assert rescue.read_bytes() == b"2\n3\n4\n"
        assert rescue.name.startswith("results.jsonl.rescued-2-")
        assert all(f"{path}: Input/output error" in str(end) and str(rescue) in str(end) for end in ends[1:])

    async def test_a_line_whose_write_failed_half_way_is_whole_in_the_rescue_file(self, tmp_path: Path) -> None:
        path = tmp_path / RESULTS
        disk = SmallDisk(4, room=14, code=errno.EIO)
        ends = await append_all(path, [b"1234567\n", b"abcdefgh\n", b"next\n"], disk)
        assert [type(end) for end in ends] == [Span, StorageError, StorageError]
        assert path.read_bytes() == b"1234567\nabcdef"
        [rescue] = find_rescues(tmp_path)
        assert rescue.read_bytes() == b"abcdefgh\nnext\n"

    async def test_where_the_rescue_file_fails_too_the_error_says_that_lines_may_be_lost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next line tries another rescue file."""
        path = tmp_path / RESULTS
        fail_syncs(monkeypatch, "fdatasync", {1})
        fail_syncs(monkeypatch, "fsync", {1})
        ends = await append_all(path, [b"1\n", b"2\n"])
        assert re.search(r"Input/output error; no other file .*: 1 lines may be lost, the ledger counts", str(ends[0]))
        files = find_rescues(tmp_path)
        assert str(files[1]) in str(ends[1])
        assert [file.read_bytes() for file in files] == [b"1\n", b"2\n"]

    async def test_a_failed_sync_of_failures_does_not_stop_results(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail_syncs(monkeypatch, "fdatasync", {1})
        async with open_sink(tmp_path) as sink:
            with pytest.raises(StorageError, match=r"failures\.jsonl\.rescued-0-"):
                await sink.append_failure(make_failure("a", None))
            assert (await sink.append_record(make_record("page-1.png", 1))).start == 0
        assert len((tmp_path / RESULTS).read_bytes().splitlines()) == 1

    @pytest.mark.parametrize("failing_sync", [1, 2])
    async def test_an_eio_with_eight_replies_in_flight_loses_no_paid_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_sync: int
    ) -> None:
        """The case for rescue files: the service has billed all eight texts, and they are in memory only."""
        assert await count_lost(tmp_path, monkeypatch, failing_sync) == 0

    @pytest.mark.parametrize(
        ("failing_sync", "lost"), [pytest.param(1, 8, id="first-sync"), pytest.param(2, 7, id="second-sync")]
    )
    async def test_without_rescue_files_the_same_eio_loses_the_texts_in_flight(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_sync: int, lost: int
    ) -> None:
        """Negative control: the first sync carries one line, the second one the seven that came meanwhile."""

        def rescue_nothing(*_: object) -> NoReturn:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(RescueFile, "append", rescue_nothing)
        assert await count_lost(tmp_path, monkeypatch, failing_sync) == lost


async def count_lost(workspace: Path, monkeypatch: pytest.MonkeyPatch, failing_sync: int) -> int:
    """Append eight texts at once, one sync failing; return how many the next run does not find on disk.

    What the failed sync should have written is dropped, as Linux does.
    Source: R. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
    """
    path = workspace / RESULTS
    durable, numbers = 0, count(1)

    def sync(descriptor: int) -> None:
        nonlocal durable
        if next(numbers) == failing_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        durable = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fdatasync", sync)

    async def append(number: int) -> None:
        try:
            await sink.append_record(make_record(f"page-{number}.png", number))
        except StorageError as exc:
            errors.append(exc)

    errors: list[StorageError] = []
    async with open_sink(workspace) as sink, anyio.create_task_group() as tasks:
        for number in range(JOBS):
            tasks.start_soon(append, number)
    assert errors
    os.truncate(path, durable)
    repair_file(path)
    found = {parse_record(line).source for line in path.read_bytes().splitlines()}
    return JOBS - len(found)


class TestFullDisks:
    """The ballast makes room for the lines in flight."""

    async def test_short_writes_are_completed(self, tmp_path: Path) -> None:
        """A filesystem may accept three bytes per write."""
        spans = await append_all(tmp_path / RESULTS, [b"first line\n", b"2\n", b"third\n"], SmallDisk(3))
        assert (tmp_path / RESULTS).read_bytes() == b"first line\n2\nthird\n"
        assert spans == [Span(0, 11), Span(11, 13), Span(13, 19)]

    async def test_a_line_that_fills_the_disk_is_completed_and_the_full_disk_reported_once(
        self, tmp_path: Path
    ) -> None:
        reports: list[StorageError] = []
        lines = [b"1234567\n", b"abcdefgh\n", b"next\n"]
        disk = SmallDisk(4, room=14)
        ballast = BallastOnSmallDisk(tmp_path, reports.append, disk, slice_bytes=6)
        spans = await append_all(tmp_path / RESULTS, lines, disk, ballast)
        assert (tmp_path / RESULTS).read_bytes() == b"".join(lines)
        assert spans == [Span(0, 8), Span(8, 17), Span(17, 22)]
        assert [str(error) for error in reports] == [
            f"{tmp_path}: disk full (No space left on device); make room and run again to resume"
        ]

    async def test_where_the_ballast_is_not_enough_whole_lines_stay(self, tmp_path: Path) -> None:
        """The first half of a line is cut off; the whole line is in the rescue file."""
        path = tmp_path / RESULTS
        with hold_ballast(tmp_path, 1, lambda _: None) as ballast:
            ends = await append_all(path, [b"1234567\n", b"abcdefgh\n"], SmallDisk(4, room=14), ballast)
            assert "0 bytes left" in repr(ballast)
        assert path.read_bytes() == b"1234567\n"
        [rescue] = find_rescues(tmp_path)
        assert rescue.read_bytes() == b"abcdefgh\n"
        assert str(rescue) in str(ends[1])

    async def test_a_sync_that_finds_no_space_is_a_failed_sync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A filesystem that allocates when it writes back may drop what was written; so it is written again."""
        path = tmp_path / RESULTS
        fail_syncs(monkeypatch, "fdatasync", {2}, errno.ENOSPC)
        ends = await append_all(path, [b"1\n", b"2\n"])
        assert path.read_bytes() == b"1\n"
        [rescue] = find_rescues(tmp_path)
        assert rescue.read_bytes() == b"2\n"
        assert str(rescue) in str(ends[1])


def fail_syncs(
    monkeypatch: pytest.MonkeyPatch, name: str, failing: Container[int], code: int = errno.EIO
) -> Sequence[int]:
    """Let these calls of `fsync` or `fdatasync` (from 1) fail; return the descriptors of all calls."""
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) in failing:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, sync)
    return synced


class SmallDisk:
    """A disk that accepts a few bytes per write until its room is used up; then writes fail."""

    def __init__(self, write_bytes: int, *, room: int = 1 << 30, code: int = errno.ENOSPC) -> None:
        self._write_bytes = write_bytes
        self._code = code
        self.room = room

    def take(self, size_bytes: int) -> int:
        """Return how many bytes of a write are accepted."""
        taken = min(self._write_bytes, self.room, size_bytes)
        if taken == 0:
            raise OSError(self._code, os.strerror(self._code))
        self.room -= taken
        return taken


class FileOnSmallDisk(SyncedFile):
    def __init__(self, descriptor: int, disk: SmallDisk) -> None:
        super().__init__(descriptor)
        self._disk = disk

    def write(self, data: "ReadableBuffer", /) -> int:
        return super().write(memoryview(data)[: self._disk.take(memoryview(data).nbytes)])


class BallastOnSmallDisk(Ballast):
    """A ballast that gives its bytes to the disk, one slice per call."""

    def __init__(
        self, workspace: Path, on_full: Callable[[StorageError], object], disk: SmallDisk, *, slice_bytes: int
    ) -> None:
        super().__init__(workspace / BALLAST, 0, on_full)
        self._disk = disk
        self._slice_bytes = slice_bytes

    def make_room(self, needed_bytes: int) -> bool:
        assert needed_bytes > 0
        self._disk.room += self._slice_bytes
        return True


APPENDER = """
import os, sys
from pathlib import Path
import anyio
from pipeline.workspace.sink import open_sink
from tests.factories import make_record

async def main(workspace):
    async with open_sink(workspace) as sink:
        for number in range(3):
            await sink.append_record(make_record(f"page-{number}.png", number))
            print(f"returned {number}", flush=True)

if sys.argv[2] == "no-sync":
    os.fdatasync = lambda _: None
anyio.run(main, Path(sys.argv[1]))
"""


class TestSystemCalls:
    """The system calls of a process that appends, as strace logs them."""

    def test_each_append_is_synced_before_it_returns(self, tmp_path: Path) -> None:
        assert list(trace_appends(tmp_path, "sync")) == ["write", "fdatasync", "returned"] * 3

    def test_a_missing_sync_is_missing_in_the_trace(self, tmp_path: Path) -> None:
        """Negative control of the trace."""
        assert list(trace_appends(tmp_path, "no-sync")) == ["write", "returned"] * 3


def trace_appends(workspace: Path, mode: str) -> Iterator[str]:
    """Yield the events of three appends: `write` and `fdatasync` of results.jsonl, and `returned`."""
    log = workspace / "strace.log"
    command = ["strace", "-f", "-y", "-e", "trace=fdatasync,write", "-o", str(log)]
    subprocess.run(
        [*command, sys.executable, "-c", APPENDER, str(workspace), mode],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    pattern = re.compile(r"(write|fdatasync)\(\d+<([^>]*)>(?:, \"(returned)?)?")
    for line in log.read_text().splitlines():
        if (match := pattern.search(line)) is None:
            continue
        name, file, message = match.groups()
        if message:
            yield "returned"
        elif file.endswith(RESULTS):
            yield name
