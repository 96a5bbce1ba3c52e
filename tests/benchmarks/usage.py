"""Runs a command and measures its time, CPU time and memory."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.runs import KEY, environment


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources that a command used, start-up included."""

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_mb: float


def run_measured(command: Sequence[str], *, prints: bool = True) -> Usage:
    """Run a command with the test key to its end; without `prints`, its output is dropped."""
    begun_s = time.monotonic()
    process = subprocess.Popen(command, env=environment(KEY), stdout=None if prints else subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begun_s
    process.returncode = os.waitstatus_to_exitcode(status)
    units_per_mb = 1024 if sys.platform == "linux" else 1024 * 1024  # getrusage(2): kilobytes on Linux, bytes on macOS
    return Usage(process.returncode, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / units_per_mb)


def family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and of its descendants (proc(5), `children`)."""
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text("ascii").split():
                yield from family(int(child))
