"""The ballast holds real disk space, and frees it in slices when a write needs it."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace.ballast import Ballast, hold_ballast, is_disk_full
from pipeline.workspace.paths import BALLAST

MIB = 1 << 20


def allocated_bytes(path: Path) -> int:
    """Return how many bytes of the disk a file occupies."""
    return path.stat().st_blocks * 512


def ignore(_: StorageError) -> None:
    """Do nothing on a full disk."""


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [pytest.param(1, 4 * MIB, id="at-least-4-MiB"), pytest.param(128, 8 * MIB, id="64-KiB-per-job")],
)
def test_its_blocks_are_allocated_during_the_run_and_freed_at_its_end(tmp_path: Path, jobs: int, expected: int) -> None:
    with hold_ballast(tmp_path, jobs, ignore):
        path = tmp_path / BALLAST
        assert path.stat().st_size == expected
        assert allocated_bytes(path) >= expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [pytest.param(100, id="smaller"), pytest.param(9 * MIB, id="larger")])
def test_a_ballast_that_a_crash_left_gets_the_size_of_this_run(tmp_path: Path, left: int) -> None:
    (tmp_path / BALLAST).write_bytes(b"\1" * left)
    with hold_ballast(tmp_path, 1, ignore):
        assert (tmp_path / BALLAST).stat().st_size == 4 * MIB
        assert allocated_bytes(tmp_path / BALLAST) >= 4 * MIB


def test_a_reserve_file_that_a_crash_of_release_0_1_left_is_removed(tmp_path: Path) -> None:
    """Otherwise 4 MiB of the disk would stay occupied for ever."""
    (tmp_path / ".reserve").write_bytes(b"\1" * 4 * MIB)
    with hold_ballast(tmp_path, 1, ignore):
        assert [path.name for path in tmp_path.iterdir()] == [".ballast"]


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_zeros_are_written_where_fallocate_is_missing_or_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    def refuse(*_: int) -> None:
        assert code is not None
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    with hold_ballast(tmp_path, 1, ignore):
        assert (tmp_path / BALLAST).read_bytes() == bytes(4 * MIB)
        assert allocated_bytes(tmp_path / BALLAST) >= 4 * MIB


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(errno.ENOSPC, "disk full, 4 MiB are needed; nothing was sent", id="disk-full"),
        pytest.param(errno.EDQUOT, "disk full, 4 MiB are needed; nothing was sent", id="quota"),
        pytest.param(errno.EROFS, "Read-only file system; nothing was sent", id="read-only"),
    ],
)
def test_a_run_whose_ballast_cannot_be_allocated_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: str
) -> None:
    def fail(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(StorageError, match=expected) as raised, hold_ballast(tmp_path, 1, ignore):
        pass
    assert raised.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_space_is_freed_slice_by_slice_until_none_is_left(tmp_path: Path) -> None:
    """A slice is 256 KiB, or twice the size of the write."""
    with hold_ballast(tmp_path, 1, ignore) as ballast:
        sizes = []
        for needed in (10, MIB):
            assert ballast.make_room(needed)
            sizes.append(allocated_bytes(tmp_path / BALLAST))
        assert sizes == [4 * MIB - 256 * 1024, 2 * MIB - 256 * 1024]
        assert sum(ballast.make_room(1) for _ in range(20)) == 7
        assert repr(ballast) == "<Ballast 0 bytes left>"


def test_a_ballast_that_was_deleted_frees_nothing(tmp_path: Path) -> None:
    with hold_ballast(tmp_path, 1, ignore) as ballast:
        (tmp_path / BALLAST).unlink()
        assert not ballast.make_room(1)


def test_a_full_disk_is_reported_once_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    reports: list[StorageError] = []
    ballast = Ballast(tmp_path / BALLAST, 0, reports.append)
    for _ in range(3):
        ballast.report_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert [str(error) for error in reports] == [
        f"{tmp_path}: disk full (Disk quota exceeded); make room and run again to resume"
    ]


def test_only_enospc_and_edquot_mean_a_full_disk() -> None:
    codes = {code for code in errno.errorcode if is_disk_full(OSError(code, ""))}
    assert codes == {errno.ENOSPC, errno.EDQUOT}
