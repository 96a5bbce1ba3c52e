"""What processes hold, and what they may."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.server.workers.memory import LIMIT_BYTES, RECYCLE_BYTES, resident_bytes

ALLOCATE = """
from pathlib import Path
from pipeline.server.workers.memory import bound_own_memory
bound_own_memory(1024**3)
print(Path("/proc/self/oom_score_adj").read_text().strip(), flush=True)
held = [bytearray(64 * 1024**2) for _ in range(8)]
held += [bytearray(64 * 1024**2) for _ in range(8)]
"""


def test_a_process_gets_no_more_than_its_limit() -> None:
    """Half of it goes, all of it does not; and the kernel would take this process before others."""
    ran = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=False)
    assert ran.stdout == "500\n"
    assert ran.stderr.rstrip().endswith("MemoryError")
    assert "line 7" in ran.stderr


def test_what_a_process_holds_is_known() -> None:
    """In bytes, as /proc has it; of a process that is gone, nothing."""
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    assert abs(resident_bytes(os.getpid()) - int(told.split()[1]) * 1024) < 32 * 1024**2
    assert resident_bytes(2**22 + 1) == 0


def test_a_worker_is_recycled_long_before_it_is_refused_memory() -> None:
    """The page in between is answered."""
    assert LIMIT_BYTES >= 2 * RECYCLE_BYTES
