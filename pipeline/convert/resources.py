"""Cores and memory: how much this machine has, how much a process holds, and a limit for a child process."""

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_LARGEST_ON_HEAP_BYTES: Final = 32 * 1024 * 1024
"""Up to this size memory comes from the heap: the library's highest value. Pillow's blocks have 16 MB."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores, and memory where it is known, that this process may use."""

    cores: int
    memory_bytes: int | None = None


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


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 on systems other than Linux, or when the process has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def private_bytes(pid: int) -> int:
    """Return the resident memory that a process shares with no other, so without mapped files; 0 as above."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def keep_freed_memory(kept_bytes: int) -> None:
    """Make the allocator of the GNU C library keep freed memory for the next page; elsewhere nothing changes.

    A page takes tens of megabytes, and the kernel clears each 4 kB that a process gets. Measured for colour pages of A4
    at 300 dpi: 67 -> 38 ms of CPU for a TIFF without compression, 156 -> 103 for LZW.

    Args:
        kept_bytes: Memory that stays with the process at most, where it is at the top of the heap.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # other systems
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, kept_bytes)


def limit_own_memory(limit_bytes: int) -> None:
    """Make this process's allocations fail beyond a limit, and make the kernel kill it first when memory runs out.

    A worker whose allocation fails fails its page only; without the limit the kernel could kill its parent instead.

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
