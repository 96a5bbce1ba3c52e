"""The reserve is room that is really there, and is given back when it is needed."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.workspace.ballast import Ballast, hold_ballast, is_disk_full
from pipeline.workspace.paths import BALLAST

MIB = 1 << 20


def allocated_bytes(path: Path) -> int:
    """Return how many bytes of the disk a file holds."""
    return path.stat().st_blocks * 512


def ignore(_: StorageError) -> None:
    """Be told, and do nothing."""


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [pytest.param(1, 4 * MIB, id="at-least-4-MiB"), pytest.param(128, 8 * MIB, id="64-KiB-a-job")],
)
def test_the_room_is_held_while_the_run_lasts(tmp_path: Path, jobs: int, expected: int) -> None:
    """The blocks are allocated, not only promised; afterwards nothing is left of it."""
    with hold_ballast(tmp_path, jobs, ignore):
        path = tmp_path / BALLAST
        assert path.stat().st_size == expected
        assert allocated_bytes(path) >= expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [pytest.param(100, id="smaller"), pytest.param(9 * MIB, id="larger")])
def test_what_a_crash_left_is_taken_over(tmp_path: Path, left: int) -> None:
    """A reserve of another size becomes one of this run's size."""
    (tmp_path / BALLAST).write_bytes(b"\1" * left)
    with hold_ballast(tmp_path, 1, ignore):
        assert (tmp_path / BALLAST).stat().st_size == 4 * MIB
        assert allocated_bytes(tmp_path / BALLAST) >= 4 * MIB


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_where_nothing_can_be_allocated_zeros_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    """On file systems, and on systems, that know no allocation."""

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
def test_without_room_no_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: str) -> None:
    """The error says how much is needed, and nothing is left behind."""

    def fail(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(StorageError, match=expected) as raised, hold_ballast(tmp_path, 1, ignore):
        pass
    assert raised.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_room_is_given_back_slice_by_slice_until_nothing_is_left(tmp_path: Path) -> None:
    """Each time a little more than what is needed; then the answer is no."""
    with hold_ballast(tmp_path, 1, ignore) as reserve:
        sizes = []
        for needed in (10, MIB):
            assert reserve.make_room(needed)
            sizes.append(allocated_bytes(tmp_path / BALLAST))
        assert sizes == [4 * MIB - 256 * 1024, 2 * MIB - 256 * 1024]
        assert sum(reserve.make_room(1) for _ in range(20)) == 7
        assert repr(reserve) == "<Ballast 0 bytes left>"


def test_a_reserve_that_is_gone_gives_nothing(tmp_path: Path) -> None:
    """Who deleted it has freed its room; the write that needs more fails."""
    with hold_ballast(tmp_path, 1, ignore) as reserve:
        (tmp_path / BALLAST).unlink()
        assert not reserve.make_room(1)


def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    """In one line that names the place and says what to do."""
    message: list[StorageError] = []
    reserve = Ballast(tmp_path / BALLAST, 0, message.append)
    for _ in range(3):
        reserve.tell_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert [str(error) for error in message] == [
        f"{tmp_path}: disk full (Disk quota exceeded); make room and run again to resume"
    ]


def test_a_full_disk_is_no_other_error() -> None:
    """No room, or no quota for more; everything else is a disk that fails."""
    codes = {code for code in errno.errorcode if is_disk_full(OSError(code, ""))}
    assert codes == {errno.ENOSPC, errno.EDQUOT}
