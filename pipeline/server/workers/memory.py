"""How much memory a worker may hold: beyond one bound it is replaced after its page, beyond another it gets no more."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

RECYCLE_BYTES: Final = 3 * 1024**3
"""Resident. Measured: 0.9 GiB after usual pages, 2.3 GiB after those of the smallest type, and no growth."""

LIMIT_BYTES: Final = 2 * RECYCLE_BYTES
"""Of data, as the kernel counts it: half as much again as is resident."""


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
