"""How many workers this machine carries, and with how many threads."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKER_MEMORY_BYTES = 5 * 1024**3 // 2
"""What a worker takes: 0.9 GiB measured after usual pages, 2.3 after those of the smallest type, 2.5 at its peak."""

_CGROUP = Path("/sys/fs/cgroup")
RECYCLE_BYTES: Final = 3 * 1024**3
"""Resident. Measured: 0.9 GiB after usual pages, 2.3 GiB after those of the smallest type, and no growth."""
LIMIT_BYTES: Final = 2 * RECYCLE_BYTES
"""Of data, as the kernel counts it: half as much again as is resident."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to use: cores, and memory where that is known."""

    cores: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sizing:
    """How many worker processes, and how many threads each has."""

    workers: int
    threads: int


def choose_sizing(configured_workers: int, machine: Machine, *, on_gpu: bool = False) -> Sizing:
    """Return the workers to start.

    Args:
        configured_workers: The setting; 0 chooses: a worker a core, as far as memory goes. On two busy cores, two
            workers with one thread finish nearly twice the pages of one worker with two threads.
        machine: What there is.
        on_gpu: The models run on a GPU, whose memory nobody tells: one worker, unless the setting says otherwise.
    """
    cores = max(1, machine.cores)
    workers = configured_workers
    if workers == 0:
        room = cores if machine.memory_bytes is None else machine.memory_bytes // WORKER_MEMORY_BYTES
        workers = 1 if on_gpu else max(1, min(cores, room))
    return Sizing(workers, max(1, cores // workers))


def read_machine(cgroup: Path = _CGROUP) -> Machine:
    """Return this process's share of the machine: CPU affinity and the container's limits count.

    Args:
        cgroup: Where version 2 control groups show this container's limits.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = parse_cpu_max(_read(cgroup / "cpu.max"))
    memory = _physical_memory()
    limit = _read(cgroup / "memory.max")
    if limit.isdigit():
        memory = min(int(limit), memory) if memory is not None else int(limit)
    return Machine(cores if quota is None else max(1, min(cores, quota)), memory)


def parse_cpu_max(text: str) -> int | None:
    """Return the whole cores that `cpu.max` allows ("200000 100000": 2), at least 1; None when it sets no limit."""
    quota, _, period = text.partition(" ")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, int(quota) // int(period))


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def resident_bytes(pid: int) -> int:
    """Return what a process holds in memory; 0 where nobody tells (no Linux), or when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def bound_own_memory(limit_bytes: int) -> None:
    """Let this process's own allocations fail beyond a limit, and let the kernel, when memory runs out, end it first.

    A worker that is refused memory fails its page; without the limit it could drive the server, or its neighbours, out.

    Args:
        limit_bytes: Of data; at least what is held already.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX only

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):  # an older system, or a limit that is lower already
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
