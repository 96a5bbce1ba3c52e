"""The sink on real files: what is appended is on disk, whole and synced, before anybody is told so."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.files import replace_file
from pipeline.records import Failure, PageId, Record, Reply, Span
from pipeline.rules.resume import parse_record
from pipeline.sink import FAILURES, RESULTS, JsonlFile, open_sink, repair_tail
from tests.runs import ROOT


def make_record(number: int, text: str = "text") -> Record:
    """Return a record of its own content."""
    return Record(
        id=PageId(f"sha256:{number:064x}#1"),
        source=f"page-{number}.png",
        page=1,
        sha256=f"{number:064x}",
        text=text,
        duplicate_of=None,
        prep=None,
        reply=Reply("doc", 1, "host"),
        attempt=f"owner-{number:06d}",
        elapsed_ms=1,
        added="2026-01-31T12:00:00.000000Z",
    )


async def append_all(path: Path, lines: Sequence[bytes]) -> list[Span | Exception]:
    """Append lines one after another through one descriptor; return where each stands, or why not."""
    ends: list[Span | Exception] = []
    async with aiofiles.open(path, "ab", buffering=0) as raw:
        file = JsonlFile(path, raw, path.stat().st_size, fsync=True)
        for line in lines:
            try:
                ends.append(await file.append(line))
            except StorageError as exc:
                ends.append(exc)
    return ends


class TestAppending:
    """Lines and spans."""

    async def test_the_bytes_on_disk_are_the_lines(self, tmp_path: Path) -> None:
        """Records and failures land in their files, in order, and read back as they were."""
        records = [make_record(number, text="页\n" * number) for number in range(3)]
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
                found[number] = await sink.append_record(make_record(number, text="x" * (number * 37 % 5000)))

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
                span = await sink.append_record(make_record(number))
                assert f"<JsonlFile results.jsonl {span.end} bytes>" in repr(sink)
        content = (tmp_path / RESULTS).read_bytes()
        assert orjson.loads(content[span.start : span.end])["source"] == "page-1.png"
        assert len(content.splitlines()) == 2

    async def test_a_workspace_that_cannot_be_written_is_a_storage_error(self, tmp_path: Path) -> None:
        """A directory in the file's place is named in an error of ours."""
        (tmp_path / RESULTS).mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl"):
            async with open_sink(tmp_path):
                pass


class TestFaults:
    """Disks that fail."""

    @pytest.mark.parametrize("code", [pytest.param(errno.EIO, id="eio"), pytest.param(errno.ENOSPC, id="disk-full")])
    async def test_after_a_failed_sync_nothing_is_appended_any_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """The sync's error reaches the page, and all later pages, although later syncs would report success."""
        path = tmp_path / RESULTS
        path.touch()
        synced: list[int] = []

        def fail_second(descriptor: int) -> None:
            synced.append(descriptor)
            if len(synced) == 2:
                raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fdatasync", fail_second)
        ends = await append_all(path, [b"1\n", b"2\n", b"3\n", b"4\n"])
        assert ends[0] == Span(0, 2)
        assert [type(end) for end in ends[1:]] == [StorageError] * 3
        assert os.strerror(code) in str(ends[1])
        assert path.read_bytes() == b"1\n2\n"
        assert len(synced) == 2

    async def test_short_writes_are_completed(self, tmp_path: Path) -> None:
        """A file system that takes three bytes a time still gets whole lines, with spans to match."""
        path = tmp_path / RESULTS
        async with aiofiles.open(path, "ab", buffering=0) as raw:
            file = JsonlFile(path, Stingy(raw, 3), 0, fsync=True)  # type: ignore[arg-type]
            spans = [await file.append(line) for line in (b"first line\n", b"2\n", b"third\n")]
        assert path.read_bytes() == b"first line\n2\nthird\n"
        assert spans == [Span(0, 11), Span(11, 13), Span(13, 19)]

    async def test_a_disk_that_fills_up_in_a_line_ends_the_appending(self, tmp_path: Path) -> None:
        """After half a line nothing follows it: the next opening finds a torn tail, not a broken line in the middle."""
        path = tmp_path / RESULTS
        async with aiofiles.open(path, "ab", buffering=0) as raw:
            file = JsonlFile(path, Stingy(raw, 4, room=14), 0, fsync=True)  # type: ignore[arg-type]
            await file.append(b"1234567\n")
            for line in (b"abcdefgh\n", b"next\n"):
                with pytest.raises(StorageError):
                    await file.append(line)
        assert path.read_bytes() == b"1234567\nabcdef"
        torn = repair_tail(path)
        assert path.read_bytes() == b"1234567\n"
        assert torn is not None
        assert torn.read_bytes() == b"abcdef"


class Stingy:
    """A file that takes a few bytes a time, until there is no room left."""

    def __init__(self, raw: Any, bite: int, *, room: int = 1 << 30) -> None:
        self._raw = raw
        self._bite = bite
        self._room = room

    def fileno(self) -> int:
        """Return the real descriptor."""
        return int(self._raw.fileno())

    async def write(self, data: memoryview) -> int:
        """Take what fits in one bite."""
        taken = min(self._bite, self._room, len(data))
        if taken == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= taken
        return int(await self._raw.write(data[:taken]))


LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=6)


class TestTornTails:
    """What a crash leaves after the last newline."""

    @given(LINES, st.integers(0, 300))
    def test_complete_lines_stay_and_the_tail_is_kept_apart(self, lines: list[bytes], cut: int) -> None:
        """Wherever the file is cut: all complete lines stay, the rest moves to another file byte for byte."""
        content = b"".join(lines)[:cut]
        whole, tail = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / RESULTS
            path.write_bytes(content)
            torn = repair_tail(path)
            assert path.read_bytes() == whole
            assert (torn.read_bytes() if torn is not None else b"") == tail
            assert repair_tail(path) is None
            assert len(list(Path(directory).iterdir())) == 1 + bool(tail)

    @pytest.mark.parametrize(
        "size_bytes", [pytest.param((1 << 20) + extra, id=f"1-MiB-{extra:+}") for extra in (-1, 0, 1)]
    )
    def test_a_tail_longer_than_a_block_is_found(self, tmp_path: Path, size_bytes: int) -> None:
        """The search for the last newline goes on before the block that it reads first."""
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\n" + b"x" * size_bytes)
        torn = repair_tail(path)
        assert path.read_bytes() == b"whole\n"
        assert torn is not None
        assert torn.stat().st_size == size_bytes
        assert re.fullmatch(r"results\.jsonl\.broken-\d{8}T\d{12}", torn.name)

    @pytest.mark.parametrize("content", [pytest.param(None, id="missing"), pytest.param(b"", id="empty")])
    def test_without_content_there_is_nothing_to_repair(self, tmp_path: Path, content: bytes | None) -> None:
        """A file that is missing or empty stays so."""
        path = tmp_path / RESULTS
        if content is not None:
            path.write_bytes(content)
        assert repair_tail(path) is None
        assert path.exists() is (content is not None)

    def test_a_file_that_cannot_be_read_is_a_storage_error(self, tmp_path: Path) -> None:
        """A directory in the file's place is named in an error of ours."""
        (tmp_path / RESULTS).mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl"):
            repair_tail(tmp_path / RESULTS)

    @pytest.mark.parametrize("good_syncs", [pytest.param(0, id="copy"), pytest.param(1, id="its-directory")])
    def test_the_tail_is_safe_before_it_is_cut(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_syncs: int
    ) -> None:
        """When the copy, or the directory that names it, cannot be synced, the file keeps its tail."""
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\ntorn")
        synced: list[int] = []

        def fail(descriptor: int) -> None:
            synced.append(descriptor)
            if len(synced) > good_syncs:
                raise OSError(errno.EIO, "I/O error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            repair_tail(path)
        assert path.read_bytes() == b"whole\ntorn"


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


APPENDER = """
import sys
from pathlib import Path
import anyio
from pipeline.sink import open_sink
from tests.test_sink import make_record

async def main(workspace, fsync):
    async with open_sink(workspace, fsync=fsync) as sink:
        for number in range(3):
            await sink.append_record(make_record(number))
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
        name, file, told = match.groups()
        if told:
            yield "told"
        elif file.endswith(RESULTS):
            yield name
