"""Crashes while segments are closed, compressed and joined: no line is lost or doubled, no page is paid again."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.workspace.line_stream import open_lines
from pipeline.workspace.paths import RESULTS
from tests.benchmarks.kills import crash
from tests.faults.kill_points import KillPoint
from tests.faults.scene import PAGES, ROTATION, ROTATION_FILES, Scene, open_scene
from tests.faults.test_power_loss import check_recovery, lose_power, record
from tests.faults.tracing import read_log, trace
from tests.pages import write_pages
from tests.runs import ROOT
from tests.workspace.segments import names

_CALLS = ("openat", "write", "fsync", "fdatasync", "rename", "unlink", "dup3", "close", "utimensat", "fchmod")
_COMPRESSED = tuple(name for name in ROTATION_FILES if ".zst" in name)
_PLAIN = (".", RESULTS, *(name for name in ROTATION_FILES if name not in _COMPRESSED))
_APPEND = """
import sys
from pathlib import Path
import anyio
from pipeline.config import OutputConfig
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.read_position import read_lines
from pipeline.workspace.repair import repair_file
from pipeline.workspace.sink import open_sink
from tests.factories import make_record
from tests.faults import storage_sabotage

async def main(workspace, output):
    repair_file(workspace / RESULTS)
    known = {number for number in range(12) if b'"page-%d.png"' % number in
             b"".join(line.line for line in read_lines(workspace / RESULTS))}
    async with open_sink(workspace, output=output) as sink:
        for number in range(12):
            if number not in known:
                await sink.append_record(make_record(f"page-{number}.png", number))
                print(number, flush=True)

if sys.argv[2]:
    getattr(storage_sabotage, sys.argv[2])()
anyio.run(main, Path(sys.argv[1]), OutputConfig(compression="zstd", rotate_bytes=1500))
"""
"""Appends the records of twelve pages, four to a segment, that are not there yet; prints each one's number then."""


def append(workspace: Path, prefix: Sequence[str] = (), sabotage: str = "") -> tuple[int, list[int]]:
    """Return the exit status, and the pages whose records were appended."""
    command = [*prefix, sys.executable, "-c", _APPEND, str(workspace), sabotage]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stderr == "", done.stderr
    return done.returncode, [int(line) for line in done.stdout.splitlines()]


def pages(workspace: Path) -> list[int]:
    """Return the pages with a record, in the order of the records."""
    with open_lines(workspace / RESULTS) as file:
        return [int(line.partition(b'"source":"page-')[2].partition(b".")[0]) for line in file]


@dataclass(frozen=True, slots=True)
class Point:
    """A thread's n-th call of a name on some of the files."""

    call: str
    nth: int
    files: tuple[str, ...]


def files_of(workspace: Path, names_: Sequence[str]) -> list[Path]:
    return [workspace / name for name in names_]


def find_points(workspace: Path) -> list[Point]:
    """Return the calls on the files of records in a whole run; those on the compressed ones are another thread's."""
    points = []
    for number, files in enumerate((_PLAIN, _COMPRESSED)):
        directory = workspace / str(number)
        directory.mkdir(parents=True)
        assert append(directory, trace(directory.with_suffix(".log"), _CALLS, files=files_of(directory, files)))[0] == 0
        counts = Counter((call.thread, call.name) for call in read_log(directory.with_suffix(".log")))
        for name in _CALLS:
            most = max((n for (_, other), n in counts.items() if other == name), default=0)
            points += [Point(name, nth, files) for nth in range(1, most + 1)]
    return points


def check_kill(workspace: Path, point: Point, sabotage: str = "") -> bool:
    """Kill an appender at a point, and append the rest; return False when it came to its end before.

    Raises:
        AssertionError: a record that was appended is lost, or there twice.
    """
    workspace.mkdir()
    files, kill_at = files_of(workspace, point.files), (point.call, point.nth)
    code, appended = append(
        workspace, trace(workspace.with_suffix(".log"), [point.call], kill_at=kill_at, files=files), sabotage
    )
    found = pages(workspace) if names(workspace) else []
    assert found[: len(appended)] == appended, f"{point}: {appended} were appended, {found} are there"
    assert len(found) <= len(appended) + 1, f"{point}: {appended} were appended, {found} are there"
    for _ in range(2):
        assert append(workspace)[0] == 0
        assert pages(workspace) == list(range(12)), point
        assert [name for name in names(workspace) if not name.endswith(".zst")] == [RESULTS]
    return code != 0


@pytest.mark.parametrize(
    "every", [pytest.param(11, id="every-eleventh"), pytest.param(1, id="every", marks=pytest.mark.deep)]
)
def test_a_kill_at_a_system_call_loses_and_doubles_no_record(tmp_path: Path, every: int) -> None:
    points = find_points(tmp_path / "whole")
    assert {"rename", "fsync", "write", "openat"} <= {point.call for point in points if point.files == _COMPRESSED}
    killed = [check_kill(tmp_path / str(number), point) for number, point in enumerate(points) if number % every == 0]
    assert sum(killed) > len(killed) * 2 // 3


def test_a_plain_segment_removed_before_the_compressed_one_has_its_name_is_lost(tmp_path: Path) -> None:
    """Negative control; without the sabotage, the same kill costs nothing."""
    point = Point("rename", 1, _COMPRESSED)
    assert check_kill(tmp_path / "sound", point)
    with pytest.raises(AssertionError, match="were appended"):
        check_kill(tmp_path / "sabotaged", point, "remove_before_naming")


@pytest.fixture
async def rotating(scans: Path, tmp_path: Path) -> AsyncGenerator[Scene]:
    """Fifty pages and their server; a run closes and compresses a segment for each ten."""
    write_pages(scans, PAGES)
    directory = tmp_path / "scene"
    directory.mkdir()
    async with open_scene(scans, directory, environ=ROTATION) as opened:
        yield opened


@pytest.mark.parametrize(
    ("point", "restarts"),
    [
        pytest.param(KillPoint("rename", 4, on_files=True), [KillPoint("unlink", 3, on_files=True)], id="rename"),
        pytest.param(
            KillPoint("fsync", 7, on_files=True),
            [KillPoint("rename", 3, on_files=True)],
            id="fsync",
            marks=pytest.mark.deep,
        ),
    ],
)
async def test_a_kill_of_a_run_pays_no_page_again(rotating: Scene, point: KillPoint, restarts: list[KillPoint]) -> None:
    result = await crash(rotating, point, restarts)
    assert result.fault is None
    assert result.place is not None
    assert [name for name in names(rotating.out) if not name.endswith(".zst")] == [RESULTS]


async def test_the_next_run_finishes_after_a_power_loss_at_any_rename(rotating: Scene, tmp_path: Path) -> None:
    recording = await record(rotating)
    calls = list(rotating.fake.calls)
    renames = [n for n, call in enumerate(recording.calls) if call.name == "rename" and b"results" in call.data]
    assert len(renames) > 8
    rng = random.Random(3)
    chosen = {number + after for number in rng.sample(renames, 3) for after in (0, 1)}
    for cut in lose_power(recording, lambda number, _: number in chosen, tmp_path / "cuts", rng):
        await check_recovery(rotating, calls, cut)
