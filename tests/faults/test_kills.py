"""`kill -9` at points spread over the system calls of a run, and of the restart that recovers from it."""

from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.kills import crash
from tests.faults.kill_points import KillPoint, find_points
from tests.faults.scene import Scene, open_scene

of_a_file = partial(KillPoint, on_files=True)
MID_RUN = of_a_file("write", 8)
"""A thread is about to write its eighth group of lines."""


@pytest.mark.parametrize(
    ("point", "restarts"),
    [
        pytest.param(of_a_file("link", 1), [], id="before-the-ledger-has-its-name"),
        pytest.param(of_a_file("rename", 1), [], id="before-run.json-has-its-name", marks=pytest.mark.deep),
        pytest.param(
            of_a_file("openat", 12), [of_a_file("unlink", 1)], id="a-journal-is-opened", marks=pytest.mark.deep
        ),
        pytest.param(of_a_file("pwrite64", 60), [of_a_file("pwrite64", 3)], id="half-a-ledger"),
        pytest.param(
            of_a_file("fdatasync", 20), [of_a_file("fdatasync", 2)], id="before-a-sync", marks=pytest.mark.deep
        ),
        pytest.param(of_a_file("unlink", 6), [of_a_file("pread64", 4)], id="before-a-commit"),
        pytest.param(MID_RUN, [of_a_file("write", 1)], id="before-a-line-is-written"),
    ],
)
async def test_a_kill_loses_no_recorded_page_and_repeats_only_calls_in_flight(
    scene: Scene, point: KillPoint, restarts: list[KillPoint]
) -> None:
    result = await crash(scene, point, restarts)
    assert result.fault is None
    assert result.place is not None
    assert scene.fake.most_in_flight <= 8


async def test_a_kill_at_a_call_on_a_connection_loses_and_repeats_nothing_either(scene: Scene, tmp_path: Path) -> None:
    """A first run finds the points: which calls there are depends on the event loop."""
    points = [point for point in await find_points(scene) if not point.on_files and point.name != "connect"]
    scene.check_finished()
    directory = tmp_path / "killed"
    directory.mkdir()
    async with open_scene(scene.scans, directory) as another:
        result = await crash(another, points[len(points) // 2])
    assert result.fault is None
    assert result.place is not None


@pytest.mark.parametrize(
    ("sabotage", "fault"),
    [
        pytest.param("forget-records", "recorded pages were sent again", id="no-records"),
        pytest.param("reserve-nothing", "the ledger counts 0 calls", id="no-reservations"),
    ],
)
async def test_without_the_guarantee_the_check_fails(scene: Scene, sabotage: str, fault: str) -> None:
    """Negative control."""
    result = await crash(scene, MID_RUN, sabotage=sabotage)
    assert fault in (result.fault or "")
