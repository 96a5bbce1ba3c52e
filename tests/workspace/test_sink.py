"""The sink on real files: what is appended is on disk, whole and synced, before anybody is told so."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest

from pipeline.errors import StorageError
from pipeline.records import Failure, Span
from pipeline.storage.files import replace_file
from pipeline.workspace.ballast import Ballast, hold_ballast
from pipeline.workspace.lines import parse_record
from pipeline.workspace.paths import BALLAST, FAILURES, RESULTS
from pipeline.workspace.repair import waiting_rescues
from pipeline.workspace.sink import JsonlFile, SyncedFile, open_sink
from tests.factories import make_record
from tests.runs import ROOT

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


async def append_all(
    path: Path, lines: Sequence[bytes], disk: "Stingy | None" = None, reserve: Ballast | None = None
) -> list[Span | Exception]:
    """Append lines one after another through one descriptor; return where each stands, or why not."""
    ends: list[Span | Exception] = []
    with path.open("ab", buffering=0) as raw:
        file = SyncedFile(raw.fileno(), fsync=True) if disk is None else StingyFile(raw.fileno(), disk)
        jsonl = JsonlFile(path, file, path.stat().st_size, ballast=reserve)
        for line in lines:
            try:
                ends.append(await jsonl.append(line))
            except StorageError as exc:
                ends.append(exc)
    return ends


class TestAppending:
    """Lines and spans."""

    async def test_the_bytes_on_disk_are_the_lines(self, tmp_path: Path) -> None:
        """Records and failures land in their files, in order, and read back as they were."""
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
        """Two hundred appends at once, long and short, do not mix, and each span holds its line."""
        found: dict[int, Span] = {}
        async with open_sink(tmp_path) as sink:

            async def append(number: int) -> None:
                found[number] = await sink.append_record(
                    make_record(f"page-{number}.png", number, text="x" * (number * 37 % 5000))
                )

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

    async def test_spans_go_on_where_an_earlier_run_ended(self, tmp_path: Path) -> None:
        """A file that has lines already is appended to, and the spans count from its beginning."""
        for number in range(2):
            async with open_sink(tmp_path) as sink:
                span = await sink.append_record(make_record(f"page-{number}.png", number))
                assert f"<JsonlFile results.jsonl {span.end} bytes>" in repr(sink)
        content = (tmp_path / RESULTS).read_bytes()
        assert orjson.loads(content[span.start : span.end])["source"] == "page-1.png"
        assert len(content.splitlines()) == 2

    async def test_its_threads_end_with_it(self, tmp_path: Path) -> None:
        """A process need not wait for a thread that nobody gives work to any more."""
        before = set(threading.enumerate())
        async with open_sink(tmp_path) as sink:
            await sink.append_record(make_record("page-1.png", 1))
            writers = [thread for thread in threading.enumerate() if thread.name.startswith(RESULTS)]
        assert len(set(writers) - before) == 1
        writers[0].join(10)
        assert not writers[0].is_alive()

    async def test_a_workspace_that_cannot_be_written_is_a_storage_error(self, tmp_path: Path) -> None:
        """A directory in the file's place is named in an error of ours."""
        (tmp_path / RESULTS).mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl"):
            async with open_sink(tmp_path):
                pass


class TestFailedSyncs:
    """After an error a descriptor may report success for lines that the kernel has dropped: it is not used again."""

    async def test_what_comes_in_after_a_failed_sync_goes_to_a_new_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error reaches its pages and all later ones and names both files, although later syncs would succeed."""
        path = tmp_path / RESULTS
        path.touch()
        synced = fail_syncs(monkeypatch, "fdatasync", {2})
        ends = await append_all(path, [b"1\n", b"2\n", b"3\n", b"4\n"])
        assert ends[0] == Span(0, 2)
        assert [type(end) for end in ends[1:]] == [StorageError] * 3
        assert len(synced) == 2
        assert path.read_bytes() == b"1\n2\n"
        [rescued] = waiting_rescues(tmp_path)
        assert rescued.read_bytes() == b"2\n3\n4\n"
        assert rescued.name.startswith("results.jsonl.rescued-2-")
        assert all(f"{path}: Input/output error" in str(end) and str(rescued) in str(end) for end in ends[1:])

    async def test_a_failed_write_is_like_a_failed_sync(self, tmp_path: Path) -> None:
        """Half a line and an error: the whole line stands in the new file, and nothing follows the half."""
        path = tmp_path / RESULTS
        stingy = Stingy(4, room=14, code=errno.EIO)
        ends = await append_all(path, [b"1234567\n", b"abcdefgh\n", b"next\n"], stingy)
        assert [type(end) for end in ends] == [Span, StorageError, StorageError]
        assert path.read_bytes() == b"1234567\nabcdef"
        [rescued] = waiting_rescues(tmp_path)
        assert rescued.read_bytes() == b"abcdefgh\nnext\n"

    async def test_where_no_other_file_can_be_written_the_error_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The line may be lost and its call is counted; the next line tries one more file."""
        path = tmp_path / RESULTS
        fail_syncs(monkeypatch, "fdatasync", {1})
        fail_syncs(monkeypatch, "fsync", {1})
        ends = await append_all(path, [b"1\n", b"2\n"])
        assert re.search(r"Input/output error; no other file .*: 1 lines may be lost, the ledger counts", str(ends[0]))
        files = waiting_rescues(tmp_path)
        assert str(files[1]) in str(ends[1])
        assert [file.read_bytes() for file in files] == [b"1\n", b"2\n"]

    async def test_the_other_file_of_a_workspace_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What failed is a descriptor: texts still land where they belong when failures cannot be written."""
        fail_syncs(monkeypatch, "fdatasync", {1})
        async with open_sink(tmp_path) as sink:
            with pytest.raises(StorageError, match=r"failures\.jsonl\.rescued-0-"):
                await sink.append_failure(Failure(None, "a", 1, "empty", "", 0, retryable=False, added="2026"))
            assert (await sink.append_record(make_record("page-1.png", 1))).start == 0
        assert len((tmp_path / RESULTS).read_bytes().splitlines()) == 1


class TestFullDisks:
    """The reserve gives way, and what is in flight lands."""

    async def test_short_writes_are_completed(self, tmp_path: Path) -> None:
        """A file system that takes three bytes a time still gets whole lines, with spans to match."""
        spans = await append_all(tmp_path / RESULTS, [b"first line\n", b"2\n", b"third\n"], Stingy(3))
        assert (tmp_path / RESULTS).read_bytes() == b"first line\n2\nthird\n"
        assert spans == [Span(0, 11), Span(11, 13), Span(13, 19)]

    async def test_on_a_full_disk_the_reserve_makes_room_and_the_run_is_told_once(self, tmp_path: Path) -> None:
        """In the middle of a line the room ends: the line is completed, so are later ones, and the run must end."""
        message: list[StorageError] = []
        lines = [b"1234567\n", b"abcdefgh\n", b"next\n"]
        disk = Stingy(4, room=14)
        reserve = RoomyReserve(tmp_path, message.append, disk, slice_bytes=6)
        spans = await append_all(tmp_path / RESULTS, lines, disk, reserve)
        assert (tmp_path / RESULTS).read_bytes() == b"".join(lines)
        assert spans == [Span(0, 8), Span(8, 17), Span(17, 22)]
        assert [str(error) for error in message] == [
            f"{tmp_path}: disk full (No space left on device); make room and run again to resume"
        ]

    async def test_where_the_reserve_does_not_help_whole_lines_stay(self, tmp_path: Path) -> None:
        """Half a line is cut off again; the line that found no room goes where all goes that cannot be written."""
        path = tmp_path / RESULTS
        with hold_ballast(tmp_path, 1, lambda _: None) as reserve:
            ends = await append_all(path, [b"1234567\n", b"abcdefgh\n"], Stingy(4, room=14), reserve)
            assert "0 bytes left" in repr(reserve)
        assert path.read_bytes() == b"1234567\n"
        [rescued] = waiting_rescues(tmp_path)
        assert rescued.read_bytes() == b"abcdefgh\n"
        assert str(rescued) in str(ends[1])

    async def test_a_sync_that_finds_no_room_is_a_failed_sync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where room is looked for when the data go out, what was written may be dropped: it is written anew."""
        path = tmp_path / RESULTS
        fail_syncs(monkeypatch, "fdatasync", {2}, errno.ENOSPC)
        ends = await append_all(path, [b"1\n", b"2\n"])
        assert path.read_bytes() == b"1\n"
        [rescued] = waiting_rescues(tmp_path)
        assert rescued.read_bytes() == b"2\n"
        assert str(rescued) in str(ends[1])


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


class Stingy:
    """A disk that takes a few bytes a time, until there is no room left, or it breaks."""

    def __init__(self, bite: int, *, room: int = 1 << 30, code: int = errno.ENOSPC) -> None:
        self._bite = bite
        self._code = code
        self.room = room

    def take(self, size_bytes: int) -> int:
        """Return how much of a write is taken."""
        taken = min(self._bite, self.room, size_bytes)
        if taken == 0:
            raise OSError(self._code, os.strerror(self._code))
        self.room -= taken
        return taken


class StingyFile(SyncedFile):
    """A file on such a disk."""

    def __init__(self, descriptor: int, disk: Stingy) -> None:
        super().__init__(descriptor, fsync=True)
        self._disk = disk

    def write(self, data: "ReadableBuffer", /) -> int:
        """Take what fits."""
        return super().write(memoryview(data)[: self._disk.take(memoryview(data).nbytes)])


class RoomyReserve(Ballast):
    """A reserve on such a disk: what it gives back is room there, a little at a time."""

    def __init__(
        self, workspace: Path, on_full: Callable[[StorageError], object], disk: Stingy, *, slice_bytes: int
    ) -> None:
        super().__init__(workspace / BALLAST, 0, on_full)
        self._disk = disk
        self._slice_bytes = slice_bytes

    def make_room(self, needed_bytes: int) -> bool:
        """Give back a slice."""
        assert needed_bytes > 0
        self._disk.room += self._slice_bytes
        return True


class TestReplacing:
    """Files that are replaced as a whole."""

    def test_the_old_file_is_not_written_to(self, tmp_path: Path) -> None:
        """Who has the old file open goes on reading all of it: there is no moment at which it is half new."""
        path = tmp_path / "run.json"
        replace_file(path, b"old")
        with path.open("rb") as reader:
            replace_file(path, b"new")
            assert reader.read() == b"old"
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failed_replacement_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the new content cannot be synced, the old one stands."""
        path = tmp_path / "run.json"
        replace_file(path, b"old")

        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="No space left"):
            replace_file(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


APPENDER = """
import sys
from pathlib import Path
import anyio
from pipeline.workspace.sink import open_sink
from tests.factories import make_record

async def main(workspace, fsync):
    async with open_sink(workspace, fsync=fsync) as sink:
        for number in range(3):
            await sink.append_record(make_record(f"page-{number}.png", number))
            print(f"told {number}", flush=True)

anyio.run(main, Path(sys.argv[1]), sys.argv[2] == "fsync")
"""


class TestSystemCalls:
    """What the kernel is asked to do, as strace sees it."""

    def test_each_append_is_synced_before_anybody_is_told(self, tmp_path: Path) -> None:
        """The calls come in the order write, fdatasync of the same descriptor, and only then the answer."""
        assert list(_trace(tmp_path, "fsync")) == ["write", "fdatasync", "told"] * 3

    def test_without_fsync_nothing_is_synced(self, tmp_path: Path) -> None:
        """Negative control: with the guarantee turned off the same trace shows no fdatasync."""
        assert list(_trace(tmp_path, "no-fsync")) == ["write", "told"] * 3


def _trace(workspace: Path, mode: str) -> Iterator[str]:
    """Yield what a process that appends three records does: write and fdatasync of results.jsonl, and `told`."""
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
    pattern = re.compile(r"(write|fdatasync)\(\d+<([^>]*)>(?:, \"(told)?)?")
    for line in log.read_text().splitlines():
        if (match := pattern.search(line)) is None:
            continue
        name, file, message = match.groups()
        if message:
            yield "told"
        elif file.endswith(RESULTS):
            yield name
