"""Cores and memory of a machine and of a process."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.convert.resources import Machine, parse_cpu_max, private_bytes, read_machine, resident_bytes

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


def test_a_mapped_file_is_not_memory_of_the_process_s_own(tmp_path: Path) -> None:
    """A worker is not replaced because the file that it reads is large."""
    file = tmp_path / "book.tif"
    file.write_bytes(bytes(64 * 1024**2))
    before = private_bytes(os.getpid())
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        assert mapped.find(b"x") == -1
        assert private_bytes(os.getpid()) - before < 16 * 1024**2
        assert resident_bytes(os.getpid()) > 64 * 1024**2
    assert private_bytes(2**22 + 1) == 0


REUSE = """
import resource, sys
from pipeline.convert.resources import keep_freed_memory
if sys.argv[1] == "keeping":
    keep_freed_memory(64 * 1024**2)
for _ in range(21):
    blocks = [bytearray(b"x") * (16 * 1024**2) for _ in range(3)]
    del blocks
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    first = locals().get("first") or faults
print((faults - first) // 20)
"""


def test_freed_memory_is_not_cleared_again_for_each_page() -> None:
    """The C library returns more than twice its largest block to the kernel otherwise."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", REUSE, how], capture_output=True, check=True).stdout)
        for how in ("keeping", "returning")
    }
    assert faults["keeping"] < 100 < faults["returning"]
