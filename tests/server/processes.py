"""Real processes, seen through /proc."""

import time
from collections.abc import Callable
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold anything; the parent's id is the second field behind it.
            parent = int(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def is_running(pid: int) -> bool:
    """Return whether the process runs; one that ended and waits to be noticed does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(holds: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not, for too long.
    """
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
