"""The records as one stream, whatever files they are in."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.workspace import line_stream
from pipeline.workspace.line_stream import LineStream, find_missing, find_place, open_lines
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.read_position import ReadPosition, read_lines
from pipeline.workspace.segments import Segment, find_segments
from tests.workspace.segments import close_file, compress, names, put_segments

LINES = [b"%d %s\n" % (number, b"x" * (number * 37 % 200)) for number in range(90)]
CONTENTS = [b"".join(LINES[:30]), b"".join(LINES[30:60]), b"".join(LINES[60:])]
ALL = b"".join(LINES)
FIRST = "results-000001.jsonl.zst"

steps = st.lists(
    st.one_of(
        st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=8),
        st.sampled_from(["close", "compress", "join"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, reads=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), max_size=6))
def test_the_stream_is_all_lines_in_order_however_they_are_kept(
    steps: list[list[bytes] | str], reads: list[tuple[int, int]]
) -> None:
    """A stream that is open already reads the same bytes, and those appended, whatever a run does with the files."""
    with TemporaryDirectory() as directory:
        workspace, expected = Path(directory), b""
        (workspace / RESULTS).touch()
        with closing(LineStream(workspace / RESULTS)) as earlier:
            for step in steps:
                if isinstance(step, list):
                    with (workspace / RESULTS).open("ab") as file:
                        file.writelines(step)
                    expected += b"".join(step)
                elif step == "close":
                    close_file(workspace)
                else:
                    compress(workspace, 10_000 if step == "join" else 0)
                for offset, size in reads:
                    assert earlier.pread(size, offset) == expected[offset : offset + size]
            with closing(LineStream(workspace / RESULTS)) as stream:
                assert stream.size_bytes == len(expected)
                for offset, size in reads:
                    assert stream.pread(size, offset) == expected[offset : offset + size]
            with open_lines(workspace / RESULTS) as file:
                assert file.read() == expected
                for offset, _ in reads:
                    file.seek(offset)
                    assert file.readline() == expected[offset:].partition(b"\n")[0] + b"\n" * (offset < len(expected))
            spans = [line.span for line in read_lines(workspace / RESULTS)]
            assert [expected[span.start : span.end] for span in spans] == re.findall(rb".*\n", expected)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "zstd"])
def test_lines_are_numbered_in_their_files(tmp_path: Path, *, compressed: bool) -> None:
    put_segments(tmp_path, CONTENTS, compressed=compressed)
    found = list(read_lines(tmp_path / RESULTS))
    suffix = ".zst" if compressed else ""
    files = [f"results-000001.jsonl{suffix}", f"results-000002.jsonl{suffix}", RESULTS]
    assert [(line.file, line.number) for line in found] == [(file, n) for file in files for n in range(1, 31)]
    assert [line.line for line in found] == LINES
    assert find_place(tmp_path, RESULTS, found[31].span.start) == (files[1], len(LINES[30]))


def test_any_zstd_program_reads_a_compressed_segment(tmp_path: Path) -> None:
    put_segments(tmp_path, CONTENTS, compressed=True)
    assert names(tmp_path) == ["results-000001.jsonl.zst", "results-000002.jsonl.zst", RESULTS]
    unpacked = subprocess.run(["zstd", "-dc", *sorted(tmp_path.glob("*.zst"))], check=True, capture_output=True)
    assert unpacked.stdout == b"".join(CONTENTS[:2])
    subprocess.run(["zstd", "-t", *tmp_path.glob("*.zst")], check=True, capture_output=True)


def test_a_workspace_without_segments_is_its_file(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_bytes(ALL)
    status = (tmp_path / RESULTS).stat()
    with closing(LineStream(tmp_path / RESULTS)) as stream:
        assert (stream.size_bytes, stream.mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert stream.pread(1 << 20, 0) == ALL


def test_other_files_have_no_segments(tmp_path: Path) -> None:
    put_segments(tmp_path, CONTENTS)
    (tmp_path / FAILURES).write_bytes(b"one\n")
    assert [line.line for line in read_lines(tmp_path / FAILURES)] == [b"one\n"]


def test_no_file_at_all_is_an_error(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError):
            LineStream(directory / RESULTS)
    put_segments(tmp_path, CONTENTS)
    (tmp_path / RESULTS).unlink()
    with closing(LineStream(tmp_path / RESULTS)) as stream:
        assert stream.pread(1 << 20, 0) == b"".join(CONTENTS[:2])


def test_closing_and_compressing_look_like_no_edit_and_an_edit_does(tmp_path: Path) -> None:
    """So the index need not read all lines again, and does after an edit of any of the files."""
    put_segments(tmp_path, CONTENTS)

    def stamp() -> tuple[int, int]:
        position = ReadPosition(tmp_path / RESULTS)
        position.end = len(ALL)
        return position.read_mtime_ns(), position.fingerprint()

    known = stamp()
    close_file(tmp_path)
    assert stamp() == known
    compress(tmp_path)
    assert stamp() == known
    os.utime(tmp_path / FIRST)
    assert stamp() != known


class TestDamage:
    def damage(self, path: Path, place: int) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 0xFF
        path.write_bytes(content)

    def test_a_damaged_frame_loses_its_own_lines_and_moves_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.storage.zstd_frames.FRAME_BYTES", 1000)
        put_segments(tmp_path, [ALL, b"last\n"], compressed=True)
        whole = {line.span.start: line.line for line in read_lines(tmp_path / RESULTS)}
        self.damage(tmp_path / FIRST, (tmp_path / FIRST).stat().st_size // 2)
        found = list(read_lines(tmp_path / RESULTS))
        lost = [line for line in found if whole.get(line.span.start) != line.line]
        assert len(lost) == 1
        assert lost[0].line.startswith(b"(lost: a zstd frame of ")
        assert lost[0].file == FIRST
        kept = {line.span.start: line.line for line in found if line not in lost}
        gone = whole.keys() - kept.keys()
        assert 0 < len(gone) < len(LINES) // 3
        assert min(gone) == lost[0].span.start
        assert found[-1].line == b"last\n"

    @pytest.mark.parametrize("cut_bytes", [1, 9, 20, 40, 200], ids=str)
    def test_of_a_file_that_was_cut_all_whole_frames_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_bytes: int
    ) -> None:
        monkeypatch.setattr("pipeline.storage.zstd_frames.FRAME_BYTES", 1000)
        put_segments(tmp_path, [ALL, b"last\n"], compressed=True)
        os.truncate(tmp_path / FIRST, (tmp_path / FIRST).stat().st_size - cut_bytes)
        *found, last = [line.line for line in read_lines(tmp_path / RESULTS)]
        assert last == b"last\n"
        kept = [line for line in found if not line.startswith(b"(lost: ")]
        assert kept == LINES[: len(kept)]
        assert len(kept) > 60
        assert (len(kept) == len(found)) == (kept == LINES)

    def test_an_empty_file_and_one_of_another_kind_have_no_readable_lines(self, tmp_path: Path) -> None:
        put_segments(tmp_path, CONTENTS, compressed=True)
        (tmp_path / FIRST).write_bytes(b"")
        assert [line.line for line in read_lines(tmp_path / RESULTS)] == LINES[30:]
        (tmp_path / FIRST).write_bytes(b"hello\n" * 30)
        first, *others = [line.line for line in read_lines(tmp_path / RESULTS)]
        assert first.startswith(b"(lost: ")
        assert others == LINES[30:]

    @pytest.mark.parametrize("has_size", [False, True], ids=["unknown-size", "large-frame"])
    def test_a_segment_that_another_program_has_compressed_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_size: bool
    ) -> None:
        monkeypatch.setattr("pipeline.storage.zstd_frames._MAX_FRAME_BYTES", 1000)
        put_segments(tmp_path, CONTENTS, compressed=True)
        compressor = zstandard.ZstdCompressor(write_content_size=has_size)
        halves = CONTENTS[0][:1500], CONTENTS[0][1500:]
        (tmp_path / FIRST).write_bytes(b"".join(map(compressor.compress, halves)))
        assert [line.line for line in read_lines(tmp_path / RESULTS)] == LINES
        os.truncate(tmp_path / FIRST, (tmp_path / FIRST).stat().st_size - 5)
        found = [line.line for line in read_lines(tmp_path / RESULTS)]
        assert found[-60:] == LINES[30:]
        assert len(found) < len(LINES)

    def test_a_missing_segment_is_named_in_its_place(self, tmp_path: Path) -> None:
        put_segments(tmp_path, [*CONTENTS, b"last\n"])
        for number in (1, 2):
            (tmp_path / f"results-00000{number}.jsonl").unlink()
        first, *others = read_lines(tmp_path / RESULTS)
        assert first.file == "results-000001-000002.jsonl"
        assert first.line == b"(lost: results-000001-000002.jsonl is missing, with all of its lines)\n"
        assert [line.line for line in others] == [*LINES[60:], b"last\n"]
        assert find_missing(tmp_path) == ["results-000001-000002.jsonl"]


def test_what_a_crash_left_beside_a_file_with_the_same_lines_is_not_read(tmp_path: Path) -> None:
    put_segments(tmp_path, CONTENTS)
    plain = {path.name: path.read_bytes() for path in tmp_path.glob("results-*")}
    compress(tmp_path, 1 << 20)
    assert names(tmp_path) == ["results-000001-000002.jsonl.zst", RESULTS]
    for name, content in plain.items():
        (tmp_path / name).write_bytes(content)
    assert [line.line for line in read_lines(tmp_path / RESULTS)] == LINES
    compress(tmp_path)
    assert names(tmp_path) == ["results-000001-000002.jsonl.zst", RESULTS]


def test_an_empty_segment_says_that_a_missing_one_is_gone_for_good(tmp_path: Path) -> None:
    put_segments(tmp_path, CONTENTS)
    (tmp_path / "results-000001.jsonl").write_bytes(b"")
    for _ in ("plain", "compressed"):
        assert [line.line for line in read_lines(tmp_path / RESULTS)] == LINES[30:]
        compress(tmp_path)
    assert names(tmp_path) == [FIRST, "results-000002.jsonl.zst", RESULTS]


def close_and_join(workspace: Path) -> None:
    close_file(workspace)
    compress(workspace, 1 << 20)


@pytest.mark.parametrize("moment", ["before-the-listing", "after-the-listing"])
@pytest.mark.parametrize("change", [close_file, compress, close_and_join])
def test_a_stream_opened_while_the_files_change_is_the_one_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], moment: str
) -> None:
    put_segments(tmp_path, CONTENTS)
    listed = list[str]()

    def find_and_change(workspace: Path) -> list[Segment]:
        if listed:
            return find_segments(workspace)
        listed.append(moment)
        before = find_segments(workspace)
        change(workspace)
        return find_segments(workspace) if moment == "before-the-listing" else before

    monkeypatch.setattr(line_stream, "find_segments", find_and_change)
    assert [line.line for line in read_lines(tmp_path / RESULTS)] == LINES


def test_an_open_stream_goes_on_after_the_file_that_a_run_closes(tmp_path: Path) -> None:
    """As exports do, whose index knows lines that were appended after they opened the files."""
    put_segments(tmp_path, CONTENTS[:1])
    with open_lines(tmp_path / RESULTS) as file:
        assert file.readline() == LINES[0]
        close_file(tmp_path)
        (tmp_path / RESULTS).write_bytes(CONTENTS[1])
        close_file(tmp_path)
        compress(tmp_path, 1 << 20)
        (tmp_path / RESULTS).write_bytes(CONTENTS[2])
        assert file.read() == b"".join(LINES[1:])


def test_an_open_stream_ends_with_a_file_that_another_program_replaced(tmp_path: Path) -> None:
    put_segments(tmp_path, CONTENTS[:2])
    with open_lines(tmp_path / RESULTS) as file:
        other = tmp_path / "other"
        other.write_bytes(ALL)
        other.replace(tmp_path / RESULTS)
        assert file.read() == CONTENTS[0] + CONTENTS[1]
