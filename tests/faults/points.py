"""Where a run can be killed: distinct points spread over its system calls, found by one run that is not killed."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.scene import Scene
from tests.faults.tracing import SystemCall, read_log, trace

_CONTENT = ("openat", "read", "pread64", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync", "close")
FILE_CALLS = (*_CONTENT, "rename", "link", "unlink", "mkdir", "flock", "fcntl")
SOCKET_CALLS = ("connect", "read", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg")


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a run: a thread begins its n-th system call of a name.

    Attributes:
        name: The system call.
        nth: From 1; counted for each thread, as strace counts.
        on_files: True counts only calls that name a file of the workspace or the ledger.
    """

    name: str
    nth: int
    on_files: bool

    def __str__(self) -> str:
        return f"{self.name} {self.nth}{' of a file' if self.on_files else ''}"

    def prefix(self, scene: Scene) -> list[str]:
        """Return what kills a command at this point."""
        files = scene.files if self.on_files else ()
        return trace(scene.log, [self.name], kill_at=(self.name, self.nth), files=files)


async def find_points(scene: Scene) -> list[Point]:
    """Run to the end and return the points that other runs reach too, those of each system call in their order.

    How calls fall to threads, and how often the event loop wakes, differs from run to run: the last third is left out.
    """
    names = dict.fromkeys((*FILE_CALLS, *SOCKET_CALLS))
    assert await scene.run(trace(scene.log, names)) == 0
    calls = read_log(scene.log)
    files = frozenset(map(str, scene.files))
    found = (*_of_files(calls, files), *_of_sockets(calls))
    groups = _group(found).values()
    return [point for group in groups for point in group[: len(group) * 2 // 3 + 1]]


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """Return so many points, as even a share of each system call as there are, spread over the run."""
    groups = _group(points)
    shares = Counter[tuple[str, bool]]()
    turns = itertools.chain.from_iterable(
        (key for key, group in groups.items() if len(group) > turn) for turn in range(len(points))
    )
    shares.update(itertools.islice(turns, count))
    return [group[len(group) * n // shares[key]] for key, group in groups.items() for n in range(shares[key])]


def draw(points: Sequence[Point], rng: random.Random) -> Point:
    """Return a point early in a run, where it recovers from the one before."""
    name = rng.choice(sorted({point.name for point in points if point.on_files}))
    return rng.choice([point for point in points if point.on_files and point.name == name][:20])


def _group(points: Iterable[Point]) -> dict[tuple[str, bool], list[Point]]:
    groups: dict[tuple[str, bool], list[Point]] = defaultdict(list)
    for point in points:
        groups[point.name, point.on_files].append(point)
    return groups


def _of_files(calls: Sequence[SystemCall], files: frozenset[str]) -> Iterator[Point]:
    """Yield a point for each n that a thread reaches among the calls that name one of the files."""
    counts = Counter((call.thread, call.name) for call in calls if not files.isdisjoint(call.paths))
    for name in FILE_CALLS:
        most = max((count for (_, other), count in counts.items() if other == name), default=0)
        yield from (Point(name, nth, on_files=True) for nth in range(1, most + 1))


def _of_sockets(calls: Sequence[SystemCall]) -> Iterator[Point]:
    """Yield a point for each call on a connection that no other thread reaches before."""
    counts: Counter[tuple[int, str]] = Counter()
    most: Counter[str] = Counter()
    for call in calls:
        counts[call.thread, call.name] += 1
        nth = counts[call.thread, call.name]
        if nth > most[call.name]:
            most[call.name] = nth
            if call.to_network and call.name in SOCKET_CALLS:
                yield Point(call.name, nth, on_files=False)
