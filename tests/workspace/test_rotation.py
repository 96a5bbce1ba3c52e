"""The sink closes, compresses and joins segments while it appends."""

import errno
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from pipeline.config import OutputConfig
from pipeline.errors import StorageError, UsageError
from pipeline.storage import zstd_frames
from pipeline.workspace import compression
from pipeline.workspace.line_stream import LineStream
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.read_position import Span, read_lines
from pipeline.workspace.repair import find_rescues, repair_file
from pipeline.workspace.result_lines import encode_record, parse_record
from pipeline.workspace.sink import open_sink
from tests.factories import make_record
from tests.workspace.segments import close_file, compress, names, put_segments

LINE_BYTES = len(encode_record(make_record("page-0000.png", 0)))
"""Some lines have a byte less or more, as their checksums have fewer digits or more."""
THREE_LINES = 3 * LINE_BYTES - LINE_BYTES // 2
PLAIN = OutputConfig(rotate_bytes=THREE_LINES)
ZSTD = OutputConfig(compression="zstd", rotate_bytes=THREE_LINES)
JOINED = OutputConfig(compression="zstd")


async def append(workspace: Path, numbers: Sequence[int], output: OutputConfig) -> list[Span]:
    """Append records one after another; return their places."""
    repair_file(workspace / RESULTS)
    async with open_sink(workspace, output=output) as sink:
        return [await sink.append_record(make_record(f"page-{number:04}.png", 0)) for number in numbers]


def sources(workspace: Path) -> list[str]:
    """Return the sources of all records, in order."""
    return [parse_record(line.line.removesuffix(b"\n")).source for line in read_lines(workspace / RESULTS)]


def pages(count: int) -> list[str]:
    return [f"page-{number:04}.png" for number in range(count)]


async def test_a_file_is_closed_when_it_has_its_size_and_places_count_on(tmp_path: Path) -> None:
    spans = await append(tmp_path, range(8), PLAIN)
    assert names(tmp_path) == ["results-000001.jsonl", "results-000002.jsonl", RESULTS]
    assert [line.span for line in read_lines(tmp_path / RESULTS)] == spans
    assert sources(tmp_path) == pages(8)


async def test_compressed_the_last_file_is_closed_at_the_end_of_the_run(tmp_path: Path) -> None:
    await append(tmp_path, range(8), ZSTD)
    assert names(tmp_path) == [*(f"results-00000{number}.jsonl.zst" for number in (1, 2, 3)), RESULTS]
    assert (tmp_path / RESULTS).stat().st_size == 0
    assert sources(tmp_path) == pages(8)


async def test_small_segments_of_many_runs_become_one(tmp_path: Path) -> None:
    spans = [(await append(tmp_path, [night], JOINED))[0] for night in range(6)]
    assert [line.span for line in read_lines(tmp_path / RESULTS)] == spans
    assert names(tmp_path) == ["results-000001-000006.jsonl.zst", RESULTS]
    assert sources(tmp_path) == pages(6)
    await append(tmp_path, [], JOINED)
    assert names(tmp_path) == ["results-000001-000006.jsonl.zst", RESULTS]


async def test_segments_are_joined_up_to_the_size_of_one(tmp_path: Path) -> None:
    output = OutputConfig(compression="zstd", rotate_bytes=3 * LINE_BYTES + LINE_BYTES // 2)
    for night in range(7):
        await append(tmp_path, [night], output)
    assert names(tmp_path) == [
        *(f"results-00000{n}-00000{n + 2}.jsonl.zst" for n in (1, 4)),
        "results-000007.jsonl.zst",
        RESULTS,
    ]
    assert sources(tmp_path) == pages(7)


async def test_the_setting_may_change_between_runs(tmp_path: Path) -> None:
    await append(tmp_path, range(8), PLAIN)
    await append(tmp_path, range(8, 10), OutputConfig())
    assert names(tmp_path) == ["results-000001.jsonl", "results-000002.jsonl", RESULTS]
    await append(tmp_path, range(10, 11), ZSTD)
    await append(tmp_path, range(11, 12), OutputConfig())
    assert len((tmp_path / RESULTS).read_bytes().splitlines()) == 1
    assert [name for name in names(tmp_path) if not name.endswith(".zst")] == [RESULTS]
    assert sources(tmp_path) == pages(12)


async def test_concurrent_appends_land_where_their_places_say(tmp_path: Path) -> None:
    found: dict[int, Span] = {}
    async with open_sink(tmp_path, output=ZSTD) as sink:

        async def add(number: int) -> None:
            found[number] = await sink.append_record(make_record(f"page-{number:04}.png", 0, text="x" * (number % 50)))

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(add, number)
    with closing(LineStream(tmp_path / RESULTS)) as stream:
        for number, span in found.items():
            line = stream.pread(span.end - span.start, span.start)
            assert parse_record(line.removesuffix(b"\n")).source == f"page-{number:04}.png"


async def test_a_new_file_has_the_permissions_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / RESULTS).touch()
    (tmp_path / RESULTS).chmod(0o640)
    await append(tmp_path, range(4), ZSTD)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)} == {0o640}


@pytest.mark.parametrize("call", ["open", "rename", "fsync"])
async def test_a_disk_that_refuses_to_close_a_segment_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    async with open_sink(tmp_path, output=PLAIN) as sink:
        for number in range(2):
            await sink.append_record(make_record(f"page-{number:04}.png", 0))
        refuse_once(monkeypatch, call)
        for number in range(2, 9):
            await sink.append_record(make_record(f"page-{number:04}.png", 0))
    assert [record.message for record in caplog.records if "grows on" in record.message] == [
        "results.jsonl: it grows on, not closed as a segment: No space left on device"
    ]
    assert names(tmp_path) == [RESULTS]
    assert sources(tmp_path) == pages(9)
    [span] = await append(tmp_path, [9], PLAIN)
    assert names(tmp_path) == ["results-000001.jsonl", RESULTS]
    assert span == [line.span for line in read_lines(tmp_path / RESULTS)][-1]


def refuse_once(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Let the next such call on a name or directory fail."""
    original, is_over = getattr(os, call), list[bool]()

    def refuse(path: Any, *rest: Any, **options: Any) -> Any:
        if not is_over and (isinstance(path, Path) or call == "fsync"):
            is_over.append(True)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, *rest, **options)

    monkeypatch.setattr(os, call, refuse)


async def test_a_disk_too_full_to_compress_leaves_the_plain_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compression, "_SPARE_BYTES", 1 << 60)
    await append(tmp_path, range(4), ZSTD)
    assert "not compressed: the disk has less than" in caplog.text
    assert names(tmp_path) == ["results-000001.jsonl", "results-000002.jsonl", RESULTS]
    assert sources(tmp_path) == pages(4)


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_failure_to_compress_leaves_the_plain_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    put_segments(tmp_path, [b"1\n", b"2\n"])
    with monkeypatch.context() as patched:
        refuse_once(patched, call)
        compress(tmp_path)
    assert "segments are left uncompressed: No space left on device" in caplog.text
    assert names(tmp_path) == ["results-000001.jsonl", RESULTS]
    compress(tmp_path)
    assert names(tmp_path) == ["results-000001.jsonl.zst", RESULTS]


async def test_lines_that_compress_to_others_are_kept_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine with damaged memory: each frame is decompressed before the plain segment is removed."""
    monkeypatch.setattr(zstd_frames.FrameReader, "decompress", lambda *_: b"other")
    await append(tmp_path, range(1), ZSTD)
    assert "the compressed lines differ" in caplog.text
    assert names(tmp_path) == ["results-000001.jsonl", RESULTS]


async def test_a_file_that_another_program_put_there_is_not_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's last lines would be in a file without a name: they are where they were."""
    async with open_sink(tmp_path, output=ZSTD) as sink:
        await sink.append_record(make_record("page-0000.png", 0))
        (tmp_path / "copy").write_bytes((tmp_path / RESULTS).read_bytes())
        (tmp_path / "copy").replace(tmp_path / RESULTS)
    assert "another program has replaced it" in caplog.text
    assert names(tmp_path) == [RESULTS]


async def test_a_replaced_file_stops_the_run_after_a_rotation_too(tmp_path: Path) -> None:
    async with open_sink(tmp_path, output=PLAIN) as sink:
        for number in range(4):
            await sink.append_record(make_record(f"page-{number:04}.png", 0))
        (tmp_path / RESULTS).unlink()
        with pytest.raises(StorageError, match="it was removed while the run appended to it; its lines are saved in"):
            await sink.append_record(make_record("page-0004.png", 0))
    assert len(find_rescues(tmp_path)) == 1
    await append(tmp_path, [5], ZSTD)
    assert sorted(sources(tmp_path)) == pages(6)


async def test_a_segment_closed_by_a_killed_run_is_followed_by_the_next_number(tmp_path: Path) -> None:
    await append(tmp_path, range(2), OutputConfig())
    close_file(tmp_path)
    (tmp_path / RESULTS).unlink()
    (tmp_path / ".results.jsonl.next").touch()
    await append(tmp_path, range(2, 6), PLAIN)
    assert names(tmp_path) == ["results-000001.jsonl", "results-000002.jsonl", RESULTS]
    assert sources(tmp_path) == pages(6)


def test_without_the_package_a_compressed_workspace_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_segments(tmp_path, [b"1\n", b"2\n"], compressed=True)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        UsageError, match=r"results-000001\.jsonl\.zst: needs the extra zstd: pip install 'pagemill\[zstd\]'"
    ):
        LineStream(tmp_path / RESULTS)


async def test_a_reader_beside_a_run_sees_all_records_so_far(tmp_path: Path) -> None:
    """Each opening sees the records that were on disk before it, without a gap or a repetition, in whatever file."""
    written, is_over, counts = [0], threading.Event(), list[int]()

    def read_again_and_again() -> None:
        while not is_over.is_set():
            least = written[0]
            found = sources(tmp_path)
            assert found == pages(len(found))
            assert len(found) >= least
            counts.append(len(found))

    output = OutputConfig(compression="zstd", rotate_bytes=20 * LINE_BYTES)
    async with anyio.create_task_group() as tasks, open_sink(tmp_path, output=output) as sink:
        tasks.start_soon(anyio.to_thread.run_sync, read_again_and_again)
        for number in range(300):
            await sink.append_record(make_record(f"page-{number:04}.png", 0))
            written[0] = number + 1
        is_over.set()
    assert len(set(counts)) > 2
    assert len(names(tmp_path)) > 10
