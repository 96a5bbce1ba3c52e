"""Cores and memory of a machine and of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.convert.resources import Machine, parse_cpu_max, read_machine, resident_bytes

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("", None), ("1 0", None)],
)
def test_the_cpu_quota_of_a_container_is_read(text: str, cores: int | None) -> None:
    """`cpu.max` has quota and period in microseconds."""
    assert parse_cpu_max(text) == cores


def test_a_container_s_limits_bound_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert read_machine(tmp_path) == Machine(1, GIB)


def test_without_control_groups_the_whole_machine_is_available(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert machine.cores >= 1
    assert machine.memory_bytes is None or machine.memory_bytes > GIB // 2


ALLOCATE = """
from pathlib import Path
from pipeline.convert.resources import limit_own_memory
limit_own_memory(1024**3)
print(Path("/proc/self/oom_score_adj").read_text().strip(), flush=True)
held = [bytearray(64 * 1024**2) for _ in range(8)]
held += [bytearray(64 * 1024**2) for _ in range(8)]
"""


def test_allocations_beyond_the_memory_limit_fail() -> None:
    """Also, the kernel kills this process before others."""
    ran = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=False)
    assert ran.stdout == "500\n"
    assert ran.stderr.rstrip().endswith("MemoryError")
    assert "line 7" in ran.stderr


def test_resident_memory_is_that_of_proc() -> None:
    message = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    assert abs(resident_bytes(os.getpid()) - int(message.split()[1]) * 1024) < 32 * 1024**2
    assert resident_bytes(2**22 + 1) == 0
