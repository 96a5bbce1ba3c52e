"""Cores and memory: how many workers this machine gets, with how many threads, and the memory limit of each."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKER_MEMORY_BYTES: Final = 5 * 1024**3 // 2
"""Memory planned per worker. Measured: 0.9 GiB after common pages, 2.3 GiB after pages of the smallest type, 2.5 GiB at
the peak."""

RECYCLE_BYTES: Final = 3 * 1024**3
"""Resident memory beyond which a worker is replaced. Measured: at most 2.3 GiB, without growth."""

MEMORY_LIMIT_BYTES: Final = 2 * RECYCLE_BYTES
"""RLIMIT_DATA of a worker; the kernel counts about 1.5 times the resident memory as data."""

_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores, and memory where it is known, that this process may use."""

    cores: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sizing:
    """Number of worker processes, and of threads in each."""

    workers: int
    threads: int


def choose_sizing(configured_workers: int, machine: Machine, *, on_gpu: bool = False) -> Sizing:
    """Return the workers to start.

    Args:
        configured_workers: The setting; 0 means one worker per core, as far as memory allows. On two busy cores,
            two workers with one thread each finish nearly twice the pages of one worker with two threads.
        machine: Available cores and memory.
        on_gpu: Whether the models run on a GPU, whose memory is unknown: 0 then means one worker.
    """
    cores = max(1, machine.cores)
    workers = configured_workers
    if workers == 0:
        fitting = cores if machine.memory_bytes is None else machine.memory_bytes // WORKER_MEMORY_BYTES
        workers = 1 if on_gpu else max(1, min(cores, fitting))
    return Sizing(workers, max(1, cores // workers))


def read_machine(cgroup: Path = _CGROUP) -> Machine:
    """Return the cores and memory of this process, within its CPU affinity and the container's limits.

    Args:
        cgroup: Directory of the version 2 control group that limits this container.
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
    """Return the whole cores that `cpu.max` allows ("200000 100000": 2), at least 1; None without a limit."""
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
    """Return the resident memory of a process; 0 on systems other than Linux, or when the process has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def limit_own_memory(limit_bytes: int) -> None:
    """Make this process's allocations fail beyond a limit, and make the kernel kill it first when memory runs out.

    A worker whose allocation fails fails its page only; without the limit the kernel could kill the server instead.

    Args:
        limit_bytes: RLIMIT_DATA, at least the data that the process holds already.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX only

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):  # an older kernel, or the limit is lower already
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
