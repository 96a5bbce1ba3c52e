"""The disk replay itself: small programs write and sync in known ways, and the power is lost when they end."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disk_replay import CALLS, Disk, replay
from tests.faults.tracing import read_log, trace

_SYNC_DIRECTORY = "os.fsync(os.open('.', os.O_RDONLY))"


def lose_power_after(program: str, place: Path, rng: random.Random | None = None) -> dict[str, bytes]:
    """Run a Python program in an empty directory; return the files, with their bytes, after a power loss."""
    place = place.resolve()
    work, left, log = place / "work", place / "left", place / "strace.log"
    work.mkdir()
    left.mkdir()
    disk = Disk(work)
    whole = f"import os\nos.chdir({str(work)!r})\ndef at(name): return os.path.join({str(work)!r}, name)\n{program}\n"
    subprocess.run([*trace(log, CALLS, shown_bytes=1000), sys.executable, "-c", whole], check=True, timeout=60)
    for _ in replay(disk, read_log(log)):
        pass
    disk.leave(left, rng)
    return {str(path.relative_to(left)): path.read_bytes() for path in left.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("program", "left"),
    [
        pytest.param(f"open(at('a'), 'w').write('x')\n{_SYNC_DIRECTORY}", {"a": b""}, id="content-was-not-synced"),
        pytest.param("f = os.open(at('a'), 65); os.write(f, b'x'); os.fsync(f)", {}, id="name-was-not-synced"),
        pytest.param(
            f"f = os.open(at('a'), 65); os.write(f, b'x'); os.fdatasync(f); os.write(f, b'y')\n{_SYNC_DIRECTORY}",
            {"a": b"x"},
            id="second-write-was-not-synced",
        ),
        pytest.param(
            f"f = os.open(at('a'), 65); os.write(f, b'xyz'); os.pwrite(f, b'-', 1); os.ftruncate(f, 2); os.fsync(f)\n"
            f"os.rename(at('a'), at('b'))\n{_SYNC_DIRECTORY}",
            {"b": b"x-"},
            id="overwritten-cut-and-renamed",
        ),
        pytest.param(
            f"f = os.open(at('a'), 65); os.write(f, b'x'); os.fsync(f)\n{_SYNC_DIRECTORY}\nos.unlink(at('a'))",
            {"a": b"x"},
            id="removal-was-not-synced",
        ),
        pytest.param(
            f"f = os.open(at('a'), 65); os.write(f, b'x'); os.fsync(f); os.link(at('a'), at('b'))\n{_SYNC_DIRECTORY}",
            {"a": b"x", "b": b"x"},
            id="two-names",
        ),
        pytest.param(
            "os.mkdir(at('d')); f = os.open(at('d/a'), 65); os.write(f, b'x'); os.fsync(f)\n"
            "os.fsync(os.open(at('d'), os.O_RDONLY))",
            {},
            id="the-name-of-the-directory-was-not-synced",
        ),
    ],
)
def test_only_synced_bytes_and_names_are_left(tmp_path: Path, program: str, left: dict[str, bytes]) -> None:
    assert os.O_WRONLY | os.O_CREAT == 65
    assert lose_power_after(program, tmp_path) == left


def test_a_prefix_of_an_unsynced_append_may_survive(tmp_path: Path) -> None:
    program = f"f = os.open(at('a'), 65); os.write(f, b'x'); os.fsync(f); os.write(f, b'abcdefgh')\n{_SYNC_DIRECTORY}"
    assert lose_power_after(program, tmp_path, random.Random(1)) == {"a": b"xa"}


def test_a_system_call_that_the_replay_does_not_implement_is_an_error(tmp_path: Path) -> None:
    """Its change would be missing on the replayed disk unnoticed."""
    with pytest.raises(ValueError, match="does not implement truncate"):
        lose_power_after("os.close(os.open(at('a'), 65)); os.truncate(at('a'), 5)", tmp_path)
