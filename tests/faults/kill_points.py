"""Points at which to kill a run: distinct system calls spread over it, found by one run that is not killed."""

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
class KillPoint:
    """A point of a run: a thread begins its n-th system call of a name.

    Attributes:
        name: The system call's name.
        nth: 1-based; counted per thread, as strace counts.
        on_files: Count only calls that name a file of the workspace or the ledger.
    """

    name: str
    nth: int
    on_files: bool

    def __str__(self) -> str:
        return f"{self.name} {self.nth}{' of a file' if self.on_files else ''}"

    def prefix(self, scene: Scene) -> list[str]:
        """Return the command line that, put before a command, kills it at this point."""
        files = scene.files if self.on_files else ()
        return trace(scene.log, [self.name], kill_at=(self.name, self.nth), files=files)


async def find_points(scene: Scene) -> list[KillPoint]:
    """Run to the end and return the points that other runs probably reach too, in order per system call.

    The last third of each system call's points is left out: how calls are spread over threads, and how often the event
    loop wakes, differs between runs.
    """
    names = dict.fromkeys((*FILE_CALLS, *SOCKET_CALLS))
    assert await scene.run(trace(scene.log, names)) == 0
    calls = read_log(scene.log)
    files = frozenset(map(str, scene.files))
    found = (*_of_files(calls, files), *_of_sockets(calls))
    groups = _group(found).values()
    return [point for group in groups for point in group[: len(group) * 2 // 3 + 1]]


def spread(points: Sequence[KillPoint], count: int) -> list[KillPoint]:
    """Return `count` points spread over the run, in shares as equal as possible per system call."""
    groups = _group(points)
    shares = Counter[tuple[str, bool]]()
    turns = itertools.chain.from_iterable(
        (key for key, group in groups.items() if len(group) > turn) for turn in range(len(points))
    )
    shares.update(itertools.islice(turns, count))
    return [group[len(group) * n // shares[key]] for key, group in groups.items() for n in range(shares[key])]


def draw(points: Sequence[KillPoint], rng: random.Random) -> KillPoint:
    """Return a random point early in a run, while it recovers from the run before."""
    name = rng.choice(sorted({point.name for point in points if point.on_files}))
    return rng.choice([point for point in points if point.on_files and point.name == name][:20])


def _group(points: Iterable[KillPoint]) -> dict[tuple[str, bool], list[KillPoint]]:
    groups: dict[tuple[str, bool], list[KillPoint]] = defaultdict(list)
    for point in points:
        groups[point.name, point.on_files].append(point)
    return groups


def _of_files(calls: Sequence[SystemCall], files: frozenset[str]) -> Iterator[KillPoint]:
    """Yield a point for each n that any thread reaches, counting only calls that name one of the files."""
    counts = Counter((call.thread, call.name) for call in calls if not files.isdisjoint(call.paths))
    for name in FILE_CALLS:
        most = max((count for (_, other), count in counts.items() if other == name), default=0)
        yield from (KillPoint(name, nth, on_files=True) for nth in range(1, most + 1))


def _of_sockets(calls: Sequence[SystemCall]) -> Iterator[KillPoint]:
    """Yield a point for each call on a connection whose n no other thread has reached before."""
    counts: Counter[tuple[int, str]] = Counter()
    most: Counter[str] = Counter()
    for call in calls:
        counts[call.thread, call.name] += 1
        nth = counts[call.thread, call.name]
        if nth > most[call.name]:
            most[call.name] = nth
            if call.to_network and call.name in SOCKET_CALLS:
                yield KillPoint(call.name, nth, on_files=False)
