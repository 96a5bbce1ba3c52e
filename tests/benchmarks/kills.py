"""Benchmark: `kill -9` at distinct points of a run; what was lost, what was paid again, what the ledger knew.

    python -m tests.benchmarks.kills [--points 200]

A run of 50 pages, 8 in flight, is killed when it begins its n-th system call of a name, before that has any effect;
then it is started again until it ends, and every fourth restart is killed while it recovers. Exit status 1 when a
promise is broken.
"""

import argparse
import random
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from tests.fakes import serve_fake
from tests.faults.points import Point, draw, find_points, spread
from tests.faults.scene import JOBS, PAGES, Scene, answer_after
from tests.faults.tracing import read_log
from tests.pages import write_pages

_LATENCY_S = 0.05
_AT_A_TIME = 2
_KILLED = -9
_LINE = "{:<12} {:>6} {:>13} {:>14} {:>6} {:>15} {:>9} {:>8} {:>7}"


@dataclass(frozen=True, slots=True)
class Crash:
    """What came of one point.

    Attributes:
        point: Where the first run was killed.
        place: The system call, how many of them all threads had begun, and the file; None when it was not reached.
        kills: Kills of the first run and of the restarts.
        recorded: Pages that stood recorded at the first kill; where there are none, none can be lost.
        in_flight: Pages that the first run had sent and not recorded when it was killed.
        repeated: The most calls repeated for one kill.
        surplus: The least that the ledger counted beyond the calls billed, over all kills.
        fault: Which promise was broken; None when all were kept.
    """

    point: Point
    place: tuple[str, int, str] | None
    kills: int
    recorded: int
    in_flight: int
    repeated: int
    surplus: int
    fault: str | None


@asynccontextmanager
async def open_scene(scans: Path, directory: Path) -> AsyncGenerator[Scene]:
    """Serve the pages, slowly enough for eight calls to be in flight."""
    async with serve_fake(answer_after(_LATENCY_S)) as fake:
        yield Scene(fake, scans, directory)


async def crash(scene: Scene, point: Point, restarts: Sequence[Point] = (), *, sabotage: str | None = None) -> Crash:
    """Kill a run at the point and its restarts at theirs, restart until it ends, and check all accounts.

    Args:
        scene: A new one.
        point: Where the first run is killed.
        restarts: Where the next ones are.
        sabotage: A guarantee to take out of every run.
    """
    place: tuple[str, int, str] | None = None
    fault: str | None = None
    code = _KILLED
    try:
        for number, target in enumerate([point, *restarts]):
            if code != _KILLED:
                break
            code = await scene.run(target.prefix(scene), sabotage=sabotage)
            if code == _KILLED:
                place = _find_place(scene, point) if number == 0 else place
                scene.check_stopped()
        if code == _KILLED:
            code = await scene.run(sabotage=sabotage)
        assert code == 0, f"exit status {code}"
        scene.check_finished()
    except AssertionError as exc:
        fault = str(exc).partition("\n")[0] or "not every page has one line"
    stops = scene.stops
    return Crash(
        point=point,
        place=place,
        kills=len(stops),
        recorded=len(stops[0].noted.lines) if stops else 0,
        in_flight=stops[0].unwritten if stops else 0,
        repeated=max((stop.unwritten for stop in stops), default=0),
        surplus=min((stop.surplus for stop in stops), default=0),
        fault=fault,
    )


def _find_place(scene: Scene, point: Point) -> tuple[str, int, str]:
    calls = read_log(scene.log)
    paths = calls[-1].paths
    return point.name, len(calls), Path(paths[0]).name if paths else "a connection"


async def measure(count: int) -> list[Crash]:
    """Crash runs, two at a time, until so many distinct points were reached."""
    crashes: list[Crash] = []
    with TemporaryDirectory(prefix="kills-") as name:
        directory = Path(name)
        scans = directory / "scans"
        write_pages(scans, PAGES)
        async with open_scene(scans, _make(directory / "whole")) as scene:
            points = await find_points(scene)
        first = spread(points, count)
        others = sorted(set(points) - set(first), key=lambda point: point.nth)
        waiting = enumerate([*first, *others])

        async def work() -> None:
            for number, point in waiting:
                if len(_places(crashes)) >= count:
                    return
                rng = random.Random(number)
                restarts = [draw(points, rng) for _ in range(1 + number % 8 // 4)] if number % 4 == 0 else []
                async with open_scene(scans, _make(directory / str(number))) as scene:
                    crashes.append(await crash(scene, point, restarts))
                print(f"{number + 1}: {point}: {crashes[-1].place}: {crashes[-1].fault or 'ok'}", file=sys.stderr)

        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_A_TIME):
                tasks.start_soon(work)
    return crashes


def _make(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _places(crashes: Sequence[Crash]) -> set[tuple[str, int, str]]:
    return {crash.place for crash in crashes if crash.place is not None}


def describe(crashes: Sequence[Crash]) -> Iterator[str]:
    """Yield the table, a row a system call, and the totals.

    Points with pages recorded are those that can show a loss, points with calls in flight those that can show a repeat.
    """
    yield _LINE.format(
        "system call",
        "points",
        "recorded > 0",
        "in flight > 0",
        "kills",
        "runs with loss",
        "repeated",
        "surplus",
        "faults",
    )
    for name in sorted({crash.point.name for crash in crashes}):
        yield _row(name, [crash for crash in crashes if crash.point.name == name])
    yield _row("all", crashes)


def _row(name: str, crashes: Sequence[Crash]) -> str:
    reached = [crash for crash in crashes if crash.place is not None]
    return _LINE.format(
        name,
        len(_places(crashes)),
        len(_places([crash for crash in reached if crash.recorded])),
        len(_places([crash for crash in reached if crash.in_flight])),
        sum(crash.kills for crash in crashes),
        sum("vanished" in (crash.fault or "") for crash in crashes),
        max((crash.repeated for crash in reached), default=0),
        min((crash.surplus for crash in reached), default=0),
        sum(crash.fault is not None for crash in crashes),
    )


def main() -> int:
    """Print the table; return 1 when a promise was broken, or too few points were reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200, help="distinct points to reach")
    begun_s = time.monotonic()
    points = parser.parse_args().points
    crashes = anyio.run(measure, points)
    print(*describe(crashes), sep="\n")
    print(f"{time.monotonic() - begun_s:.0f} s; {PAGES} pages, {JOBS} in flight")
    return int(len(_places(crashes)) < points or any(crash.fault is not None for crash in crashes))


if __name__ == "__main__":
    sys.exit(main())
