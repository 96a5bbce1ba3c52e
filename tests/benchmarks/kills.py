"""Does `kill -9` lose a page or repeat a paid call? Kills runs at distinct points and prints the losses and repeats.

    python -m tests.benchmarks.kills [--points 200]

A run of 50 pages, 8 in flight, is killed when it begins its n-th system call of a name, before the call has any effect.
Then it is started again until it ends; every fourth restart is killed while it recovers. Exit code 1 when a promise is
broken, or when fewer points were reached than asked for.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from tests.faults.kill_points import KillPoint, draw, find_points, spread
from tests.faults.scene import JOBS, PAGES, Scene, open_scene
from tests.faults.tracing import read_log
from tests.pages import write_pages

_PARALLEL_RUNS = 2
_KILLED = -9
_LINE = "{:<12} {:>6} {:>13} {:>14} {:>6} {:>15} {:>9} {:>8} {:>7}"


@dataclass(frozen=True, slots=True)
class Crash:
    """The result of killing a run at one point.

    Attributes:
        point: Where the first run was to be killed.
        place: The system call, the number of system calls logged until then, and the file; None when the point was not
            reached.
        kills: Number of kills, of the first run and of its restarts.
        recorded: Pages recorded at the first kill; with 0, no page can be lost.
        in_flight: Pages that the first run had sent and not recorded when it was killed.
        repeated: Most calls repeated after one kill.
        surplus: Least number of calls that the ledger counted beyond those billed, over all kills.
        fault: The promise that was broken; None when all were kept.
    """

    point: KillPoint
    place: tuple[str, int, str] | None
    kills: int
    recorded: int
    in_flight: int
    repeated: int
    surplus: int
    fault: str | None


async def crash(
    scene: Scene, point: KillPoint, restarts: Sequence[KillPoint] = (), *, sabotage: str | None = None
) -> Crash:
    """Kill a run and its first restarts, restart until a run ends, and check all accounts.

    Args:
        scene: A scene that was not used before.
        point: Where the first run is killed.
        restarts: Where the restarts are killed, one point each.
        sabotage: Name of the guarantee to remove from every run.
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


def _find_place(scene: Scene, point: KillPoint) -> tuple[str, int, str]:
    calls = read_log(scene.log)
    paths = calls[-1].paths
    return point.name, len(calls), Path(paths[0]).name if paths else "a connection"


async def measure(count: int) -> list[Crash]:
    """Crash runs, two at a time, until this many distinct points were reached."""
    crashes: list[Crash] = []
    with TemporaryDirectory(prefix="kills-") as name:
        directory = Path(name)
        scans = directory / "scans"
        write_pages(scans, PAGES)
        async with open_scene(scans, _make_directory(directory / "whole")) as scene:
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
                async with open_scene(scans, _make_directory(directory / str(number))) as scene:
                    crashes.append(await crash(scene, point, restarts))
                print(f"{number + 1}: {point}: {crashes[-1].place}: {crashes[-1].fault or 'ok'}", file=sys.stderr)

        async with anyio.create_task_group() as tasks:
            for _ in range(_PARALLEL_RUNS):
                tasks.start_soon(work)
    return crashes


def _make_directory(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _places(crashes: Sequence[Crash]) -> set[tuple[str, int, str]]:
    return {crash.place for crash in crashes if crash.place is not None}


def describe(crashes: Sequence[Crash]) -> Iterator[str]:
    """Yield the table: a row per system call, and the totals.

    Only points with recorded pages can show a loss, and only points with calls in flight can show a repeat.
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
