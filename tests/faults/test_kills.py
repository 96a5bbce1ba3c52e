"""`kill -9` at points spread over the system calls of a run, and of the restart that recovers from it."""

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.kills import crash, open_scene
from tests.faults.points import Point, find_points
from tests.faults.scene import PAGES, Scene
from tests.pages import write_pages


@pytest.fixture
async def scene(scans: Path, tmp_path: Path) -> AsyncGenerator[Scene]:
    """A workspace of fifty pages and its server."""
    write_pages(scans, PAGES)
    async with open_scene(scans, tmp_path) as opened:
        yield opened


of_a_file = partial(Point, on_files=True)
IN_THE_MIDDLE = of_a_file("write", 8)
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
        pytest.param(IN_THE_MIDDLE, [of_a_file("write", 1)], id="before-a-line-is-written"),
    ],
)
async def test_a_kill_loses_nothing_recorded_and_repeats_only_what_was_in_flight(
    scene: Scene, point: Point, restarts: list[Point]
) -> None:
    """What stood there stays and is not paid again, and the ledger knew of every call at each restart."""
    result = await crash(scene, point, restarts)
    assert result.fault is None
    assert result.place is not None
    assert scene.fake.most_in_flight <= 8


async def test_a_kill_in_the_middle_of_the_traffic_is_survived(scene: Scene, tmp_path: Path) -> None:
    """The point is a call on a connection, which a whole run shows: which ones there are depends on the event loop."""
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
        pytest.param("forget-what-is-done", "recorded pages were sent again", id="restart-knows-nothing"),
        pytest.param("reserve-nothing", "the ledger counts 0 calls", id="call-without-reservation"),
    ],
)
async def test_without_the_guarantee_a_kill_is_seen(scene: Scene, sabotage: str, fault: str) -> None:
    """Negative control: the same checks fail, each for what it is there for."""
    result = await crash(scene, IN_THE_MIDDLE, sabotage=sabotage)
    assert fault in (result.fault or "")
