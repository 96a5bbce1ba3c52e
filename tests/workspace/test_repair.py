"""What earlier runs left in a JSONL file is put right, whenever a crash cuts that off: nothing is lost or doubled."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageError
from pipeline.workspace.lines import seal
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.repair import mend, name_rescue, repair_tail, take_in, waiting_rescues

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

    def test_a_whole_file_is_synced_before_it_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines that a killed run did not sync are made durable before they count as proof."""
        path = tmp_path / RESULTS
        path.write_bytes(b"whole\n")
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        mend(path)
        assert synced == [path.stat().st_ino]


def make_line(number: int) -> bytes:
    """Return a whole line of its own."""
    return seal(b'{"number":%d}' % number)


def list_aside(workspace: Path) -> list[bytes]:
    """Return what stands in the files with evidence, oldest first."""
    return [path.read_bytes() for path in sorted(workspace.glob("*.broken-*"))]


TRUSTED = b"".join(make_line(number) for number in range(3))
RESCUED = [make_line(number) for number in range(3, 7)]
STRANGE = [make_line(number) for number in range(7, 9)]


class TestRescuedLines:
    """Lines that a failing disk drove into another file."""

    @pytest.mark.parametrize(
        "tail",
        [
            pytest.param(b"", id="nothing-was-written"),
            pytest.param(b"".join(RESCUED)[:20], id="half-a-line"),
            pytest.param(RESCUED[0] + RESCUED[1][:7], id="a-line-and-a-half"),
            pytest.param(b"".join(RESCUED), id="all-of-it"),
        ],
    )
    def test_they_take_the_place_of_what_was_never_synced(self, tmp_path: Path, tail: bytes) -> None:
        """Behind the trusted part stand the rescued lines, each once, and their file is gone."""
        path, rescued = leave(tmp_path, tail)
        assert waiting_rescues(tmp_path) == [rescued]
        mend(path)
        assert path.read_bytes() == TRUSTED + b"".join(RESCUED)
        assert list(tmp_path.iterdir()) == [path]

    def test_what_was_never_synced_is_written_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Although it reads as it should: the page cache shows what the disk may not have."""
        path, rescued = leave(tmp_path, b"".join(RESCUED))
        cut: list[int] = []
        truncate = os.ftruncate

        def note(descriptor: int, size_bytes: int) -> None:
            cut.append(size_bytes)
            truncate(descriptor, size_bytes)

        monkeypatch.setattr(os, "ftruncate", note)
        take_in(path, rescued)
        assert cut == [len(TRUSTED)]
        assert path.read_bytes() == TRUSTED + b"".join(RESCUED)

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
    def test_of_anything_else_whole_lines_are_kept_and_all_of_it_is_evidence(
        self, tmp_path: Path, tail: bytes, kept: bytes
    ) -> None:
        """No line is lost, none stands there twice, and no byte is thrown away."""
        path, _ = leave(tmp_path, tail)
        mend(path)
        assert path.read_bytes() == TRUSTED + kept + b"".join(RESCUED)
        assert list_aside(tmp_path) == [tail]
        assert waiting_rescues(tmp_path) == []

    def test_a_torn_rescue_gives_its_whole_lines(self, tmp_path: Path) -> None:
        """A crash while lines were rescued leaves half a line, which is kept as evidence."""
        path, rescued = leave(tmp_path, b"")
        rescued.write_bytes(RESCUED[0] + RESCUED[1][:5])
        mend(path)
        assert path.read_bytes() == TRUSTED + RESCUED[0]
        assert list_aside(tmp_path) == [RESCUED[1][:5]]

    def test_a_file_that_is_shorter_than_its_trusted_part_loses_no_line(self, tmp_path: Path) -> None:
        """Without fsync a power loss may take more than the tail: what is left stays, the rescued lines follow."""
        path, _ = leave(tmp_path, b"")
        path.write_bytes(TRUSTED[:-9])
        mend(path)
        whole = TRUSTED[: TRUSTED[:-9].rindex(b"\n") + 1]
        assert path.read_bytes() == whole + b"".join(RESCUED)
        assert list_aside(tmp_path) == [TRUSTED[len(whole) : -9]]

    def test_a_file_that_is_gone_is_made_of_what_was_rescued(self, tmp_path: Path) -> None:
        """Who deletes results.jsonl keeps the lines that waited."""
        path, _ = leave(tmp_path, b"")
        path.unlink()
        mend(path)
        assert path.read_bytes() == b"".join(RESCUED)

    def test_several_rescues_are_taken_in_by_age(self, tmp_path: Path) -> None:
        """When the new file fails too, a third is written: all of their lines get home."""
        path, first = leave(tmp_path, RESCUED[0])
        second = name_rescue(path, len(TRUSTED))
        second.write_bytes(b"".join(STRANGE))
        assert waiting_rescues(tmp_path) == [first, second]
        mend(path)
        assert path.read_bytes() == TRUSTED + b"".join(RESCUED) + b"".join(STRANGE)

    def test_other_files_do_not_wait(self, tmp_path: Path) -> None:
        """Evidence, another file's rescue and a user's copy stay where they are."""
        names = ["failures.jsonl.rescued-0-20260131T120000000000", "results.jsonl.rescued-copy"]
        names += ["results.jsonl.rescued-0-20260131T120000000000.broken-20260131T120000000000"]
        for name in names:
            (tmp_path / name).write_bytes(make_line(1))
        mend(tmp_path / RESULTS)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
        assert [path.name for path in waiting_rescues(tmp_path)] == names[:1]

    def test_a_disk_that_fails_again_keeps_the_rescue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names it; the next try finds all that it needs."""
        path, rescued = leave(tmp_path, RESCUED[0])
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail_with(errno.EIO))
            with pytest.raises(StorageError, match=re.escape(rescued.name)):
                mend(path)
        assert rescued.read_bytes() == b"".join(RESCUED)
        mend(path)
        assert path.read_bytes() == TRUSTED + b"".join(RESCUED)


TAILS = st.lists(st.sampled_from([*RESCUED, *STRANGE, b"\0" * 9, b"junk\n"]), max_size=4, unique=True).map(b"".join)


class TestCrashesInRepairs:
    """A repair that is cut off is done again."""

    @given(st.one_of(TAILS, st.integers(0, 200).map(lambda cut: b"".join(RESCUED)[:cut])), st.integers(0, 60))
    def test_a_crash_at_any_step_is_harmless(self, tail: bytes, cut: int) -> None:
        """Two crashes, at any step: then each whole line stands there once, and every byte somewhere."""
        with tempfile.TemporaryDirectory() as directory:
            path, _ = leave(Path(directory), tail)
            for step in (cut % 31, cut % 7):
                with crash_at(step), suppress(CrashError):
                    mend(path)
            mend(path)
            lines = path.read_bytes().splitlines(keepends=True)
            strange = [line for line in tail.splitlines(keepends=True) if line in STRANGE]
            assert lines == [*TRUSTED.splitlines(keepends=True), *strange, *RESCUED]
            assert waiting_rescues(path.parent) == []
            evidence = b"".join(list_aside(path.parent))
            assert b"".join(RESCUED).startswith(tail) or tail in evidence

    def test_the_crashes_reach_every_step(self, tmp_path: Path) -> None:
        """Negative control of the simulation: a crash does cut off the repair, at each of its steps."""
        seen: set[tuple[bytes, ...]] = set()
        for step in range(40):
            workspace = tmp_path / str(step)
            workspace.mkdir()
            path, _ = leave(workspace, STRANGE[0])
            with crash_at(step), suppress(CrashError):
                mend(path)
            seen.add(tuple(file.read_bytes() for file in sorted(workspace.iterdir())))
        assert len(seen) >= 6
        assert (TRUSTED,) in {files[:1] for files in seen}, "cut, and not yet written"


class CrashError(BaseException):
    """The process is gone."""


@contextmanager
def crash_at(step: int) -> Iterator[None]:
    """End whatever runs at the step-th system call that writes, before it is made."""
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


def leave(workspace: Path, tail: bytes, rescued: Sequence[bytes] = RESCUED) -> tuple[Path, Path]:
    """Leave a file whose trusted part a tail follows, and rescued lines; return both names."""
    path = workspace / RESULTS
    path.write_bytes(TRUSTED + tail)
    other = name_rescue(path, len(TRUSTED))
    other.write_bytes(b"".join(rescued))
    return path, other


def fail_with(code: int) -> Callable[[int], None]:
    """Return a sync that fails."""

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    return fail
