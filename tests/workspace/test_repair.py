"""Repairs of JSONL files: no whole line is lost or doubled, wherever a crash cuts a repair off."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.workspace.checksums import append_checksum
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.repair import find_rescues, merge_rescue, new_rescue_path, remove_torn_tail, repair_file

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=6)


class TestTornTails:
    """Bytes after the last newline."""

    @given(LINES, st.integers(0, 300))
    def test_whole_lines_stay_and_the_torn_tail_moves_to_an_evidence_file(self, lines: list[bytes], cut: int) -> None:
        content = b"".join(lines)[:cut]
        whole, tail = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / RESULTS
            path.write_bytes(content)
            evidence = remove_torn_tail(path)
            assert path.read_bytes() == whole
            assert (evidence.read_bytes() if evidence is not None else b"") == tail
            assert remove_torn_tail(path) is None
            assert len(list(Path(directory).iterdir())) == 1 + bool(tail)

    @pytest.mark.parametrize(
        "size_bytes", [pytest.param((1 << 20) + extra, id=f"1-MiB-{extra:+}") for extra in (-1, 0, 1)]
    )
    def test_a_torn_tail_longer_than_a_block_is_found(self, tmp_path: Path, size_bytes: int) -> None:
        """The search for the last newline reads blocks of 1 MiB."""
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\n" + b"x" * size_bytes)
        evidence = remove_torn_tail(path)
        assert path.read_bytes() == b"whole\n"
        assert evidence is not None
        assert evidence.stat().st_size == size_bytes
        assert re.fullmatch(r"results\.jsonl\.broken-\d{8}T\d{12}", evidence.name)

    @pytest.mark.parametrize("content", [pytest.param(None, id="missing"), pytest.param(b"", id="empty")])
    def test_without_content_there_is_nothing_to_repair(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / RESULTS
        if content is not None:
            path.write_bytes(content)
        assert remove_torn_tail(path) is None
        assert path.exists() is (content is not None)

    def test_a_file_that_cannot_be_read_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / RESULTS).mkdir()
        with pytest.raises(StorageError, match=r"results\.jsonl"):
            remove_torn_tail(tmp_path / RESULTS)

    @pytest.mark.parametrize("good_syncs", [pytest.param(0, id="copy"), pytest.param(1, id="its-directory")])
    def test_a_torn_tail_is_cut_only_after_its_evidence_file_and_directory_are_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_syncs: int
    ) -> None:
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\ntorn")
        synced: list[int] = []

        def fail(descriptor: int) -> None:
            synced.append(descriptor)
            if len(synced) > good_syncs:
                raise OSError(errno.EIO, "I/O error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            remove_torn_tail(path)
        assert path.read_bytes() == b"whole\ntorn"

    def test_a_whole_file_is_synced_before_it_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines that a killed run did not sync must be durable before they count as proof of a call."""
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\n")
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        repair_file(path)
        assert synced == [path.stat().st_ino]


def make_line(number: int) -> bytes:
    """Return a whole line of its own."""
    return append_checksum(b'{"number":%d}' % number)


def read_evidence(workspace: Path) -> list[bytes]:
    """Return the contents of the evidence files, oldest first."""
    return [path.read_bytes() for path in sorted(workspace.glob("*.broken-*"))]


DURABLE = b"".join(make_line(number) for number in range(3))
RESCUED = [make_line(number) for number in range(3, 7)]
STRANGE = [make_line(number) for number in range(7, 9)]


class TestRescueFiles:
    """Files that hold lines saved from a failed disk."""

    @pytest.mark.parametrize(
        "tail",
        [
            pytest.param(b"", id="nothing-was-written"),
            pytest.param(b"".join(RESCUED)[:20], id="half-a-line"),
            pytest.param(RESCUED[0] + RESCUED[1][:7], id="a-line-and-a-half"),
            pytest.param(b"".join(RESCUED), id="all-of-it"),
        ],
    )
    def test_rescued_lines_replace_bytes_that_were_never_synced(self, tmp_path: Path, tail: bytes) -> None:
        path, rescue = make_files(tmp_path, tail)
        assert find_rescues(tmp_path) == [rescue]
        repair_file(path)
        assert path.read_bytes() == DURABLE + b"".join(RESCUED)
        assert list(tmp_path.iterdir()) == [path]

    def test_bytes_that_were_never_synced_are_written_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even when they are right: the page cache may show bytes that are not on disk."""
        path, rescue = make_files(tmp_path, b"".join(RESCUED))
        cut: list[int] = []
        truncate = os.ftruncate

        def note(descriptor: int, size_bytes: int) -> None:
            cut.append(size_bytes)
            truncate(descriptor, size_bytes)

        monkeypatch.setattr(os, "ftruncate", note)
        merge_rescue(path, rescue)
        assert cut == [len(DURABLE)]
        assert path.read_bytes() == DURABLE + b"".join(RESCUED)

    @pytest.mark.parametrize(
        ("tail", "kept"),
        [
            pytest.param(b"\0" * 40, b"", id="zeros"),
            pytest.param(STRANGE[0], STRANGE[0], id="another-line"),
            pytest.param(RESCUED[0] + STRANGE[0] + STRANGE[1][:9], STRANGE[0], id="a-known-a-new-and-half-a-line"),
            pytest.param(b"".join(RESCUED) + STRANGE[0], STRANGE[0], id="more-than-was-rescued"),
            pytest.param(b"no line of ours\n", b"", id="no-checksum"),
        ],
    )
    def test_other_bytes_that_were_never_synced_are_evidence_and_their_intact_lines_are_kept(
        self, tmp_path: Path, tail: bytes, kept: bytes
    ) -> None:
        path, _ = make_files(tmp_path, tail)
        repair_file(path)
        assert path.read_bytes() == DURABLE + kept + b"".join(RESCUED)
        assert read_evidence(tmp_path) == [tail]
        assert find_rescues(tmp_path) == []

    def test_of_a_torn_rescue_file_the_whole_lines_are_merged(self, tmp_path: Path) -> None:
        path, rescue = make_files(tmp_path, b"")
        rescue.write_bytes(RESCUED[0] + RESCUED[1][:5])
        repair_file(path)
        assert path.read_bytes() == DURABLE + RESCUED[0]
        assert read_evidence(tmp_path) == [RESCUED[1][:5]]

    def test_rescued_lines_follow_the_last_whole_line_of_a_file_that_is_shorter_than_its_durable_part(
        self, tmp_path: Path
    ) -> None:
        """A disk that lied about a sync may lose lines that counted as durable."""
        path, _ = make_files(tmp_path, b"")
        path.write_bytes(DURABLE[:-9])
        repair_file(path)
        whole = DURABLE[: DURABLE[:-9].rindex(b"\n") + 1]
        assert path.read_bytes() == whole + b"".join(RESCUED)
        assert read_evidence(tmp_path) == [DURABLE[len(whole) : -9]]

    def test_a_deleted_file_is_created_from_the_rescued_lines(self, tmp_path: Path) -> None:
        path, _ = make_files(tmp_path, b"")
        path.unlink()
        repair_file(path)
        assert path.read_bytes() == b"".join(RESCUED)

    def test_several_rescue_files_are_merged_oldest_first(self, tmp_path: Path) -> None:
        """A rescue file that fails, too, is followed by another one."""
        path, first = make_files(tmp_path, RESCUED[0])
        second = new_rescue_path(path, len(DURABLE))
        second.write_bytes(b"".join(STRANGE))
        assert find_rescues(tmp_path) == [first, second]
        repair_file(path)
        assert path.read_bytes() == DURABLE + b"".join(RESCUED) + b"".join(STRANGE)

    def test_evidence_files_and_rescue_files_of_other_files_are_left_alone(self, tmp_path: Path) -> None:
        names = ["failures.jsonl.rescued-0-20260131T120000000000", "results.jsonl.rescued-copy"]
        names += ["results.jsonl.rescued-0-20260131T120000000000.broken-20260131T120000000000"]
        for name in names:
            (tmp_path / name).write_bytes(make_line(1))
        repair_file(tmp_path / RESULTS)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
        assert [path.name for path in find_rescues(tmp_path)] == names[:1]

    def test_a_merge_that_fails_keeps_the_rescue_file_for_the_next_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, rescue = make_files(tmp_path, RESCUED[0])
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail_with(errno.EIO))
            with pytest.raises(StorageError, match=re.escape(rescue.name)):
                repair_file(path)
        assert rescue.read_bytes() == b"".join(RESCUED)
        repair_file(path)
        assert path.read_bytes() == DURABLE + b"".join(RESCUED)


TAILS = st.lists(st.sampled_from([*RESCUED, *STRANGE, b"\0" * 9, b"junk\n"]), max_size=4, unique=True).map(b"".join)


class TestCrashesInRepairs:
    """A repair that a crash cut off is repeated."""

    @given(st.one_of(TAILS, st.integers(0, 200).map(lambda cut: b"".join(RESCUED)[:cut])), st.integers(0, 60))
    def test_after_two_crashes_at_any_step_each_whole_line_is_there_once(self, tail: bytes, cut: int) -> None:
        """And every other byte is in an evidence file."""
        with tempfile.TemporaryDirectory() as directory:
            path, _ = make_files(Path(directory), tail)
            for step in (cut % 31, cut % 7):
                with crash_at(step), suppress(CrashError):
                    repair_file(path)
            repair_file(path)
            lines = path.read_bytes().splitlines(keepends=True)
            strange = [line for line in tail.splitlines(keepends=True) if line in STRANGE]
            assert lines == [*DURABLE.splitlines(keepends=True), *strange, *RESCUED]
            assert find_rescues(path.parent) == []
            evidence = b"".join(read_evidence(path.parent))
            assert b"".join(RESCUED).startswith(tail) or tail in evidence

    def test_the_crashes_reach_every_step(self, tmp_path: Path) -> None:
        """Negative control of the simulation."""
        seen: set[tuple[bytes, ...]] = set()
        for step in range(40):
            workspace = tmp_path / str(step)
            workspace.mkdir()
            path, _ = make_files(workspace, STRANGE[0])
            with crash_at(step), suppress(CrashError):
                repair_file(path)
            seen.add(tuple(file.read_bytes() for file in sorted(workspace.iterdir())))
        assert len(seen) >= 6
        assert (DURABLE,) in {files[:1] for files in seen}, "cut and not written yet"


class CrashError(BaseException):
    """Stands for the end of the process."""


@contextmanager
def crash_at(step: int) -> Iterator[None]:
    """Raise CrashError instead of the system call number `step` (from 0) of those that change a file."""
    left = step

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def crash(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise CrashError
            return call(*arguments, **named)

        return crash

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "ftruncate", "pwrite", "rename", "replace", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


def make_files(workspace: Path, tail: bytes) -> tuple[Path, Path]:
    """Write a file with a durable part and a tail, and its rescue file; return both paths."""
    path = workspace / RESULTS
    path.write_bytes(DURABLE + tail)
    rescue = new_rescue_path(path, len(DURABLE))
    rescue.write_bytes(b"".join(RESCUED))
    return path, rescue


def fail_with(code: int) -> Callable[[int], None]:
    """Return an fsync that fails."""

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    return fail
