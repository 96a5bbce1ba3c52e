"""What do the promises cost? CPU time a page of pagemill beside a bare aiohttp loop that keeps none of them.

    python -m tests.benchmarks.cpu [PAGES [KILOBYTES]]

Both read the same files, encode them and post them to the same fast server on this machine, 32 at a time, in turn.
"""

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.benchmarks.memory import fast_server
from tests.runs import COMMAND, KEY, environment

JOBS = 32
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took."""

    cpu_ms_a_page: float
    pages_a_s: float


def main() -> int:
    """Print a table of both, run in turn, and the ratio of the medians."""
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    kilobytes = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    costs: dict[str, list[Cost]] = {"bare loop": [], "pagemill": []}
    with tempfile.TemporaryDirectory() as directory, fast_server() as url:
        scans = make_pages(Path(directory) / "scans", pages, kilobytes * 1000)
        for round_number in range(ROUNDS):
            out = Path(directory) / f"out-{round_number}"
            bare = [sys.executable, "-m", "tests.benchmarks.bare_loop", str(scans), url, str(JOBS)]
            arguments = ["run", str(scans), "-o", str(out), "--api-url", url, "-j", str(JOBS), "-qq"]
            costs["bare loop"].append(measure(bare, pages))
            costs["pagemill"].append(measure([*COMMAND, *arguments, "--ledger", str(out)], pages))
    print(f"{pages:,} pages of {kilobytes} kB, {JOBS} at a time\n{'':<12}{'CPU ms a page':>16}{'pages/s':>12}")
    medians = {name: statistics.median(cost.cpu_ms_a_page for cost in each) for name, each in costs.items()}
    for name, each in costs.items():
        print(f"{name:<12}{medians[name]:>16.2f}{statistics.median(cost.pages_a_s for cost in each):>12.0f}")
    print(f"ratio       {medians['pagemill'] / medians['bare loop']:>16.2f}")
    return 0


def make_pages(directory: Path, pages: int, size_bytes: int) -> Path:
    """Write so many PNG files of this size, each of its own, whole to their end mark."""
    directory.mkdir()
    buffer = BytesIO()
    Image.new("L", (1000, 1400), 255).save(buffer, "PNG")
    head, tail = buffer.getvalue()[:-12], buffer.getvalue()[-12:]
    for number in range(pages):
        noise = secrets.token_bytes(size_bytes - len(head))
        chunk = len(noise).to_bytes(4, "big") + b"noIs" + noise + b"\0\0\0\0"  # an ancillary chunk: readers skip it
        (directory / f"page-{number:06}.png").write_bytes(head + chunk + tail)
    return directory


def measure(command: list[str], pages: int) -> Cost:
    """Run a command to its end and return what it cost a page, start-up included."""
    begun_s = time.monotonic()
    process = subprocess.Popen(command, env=environment(KEY))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} failed with {process.returncode}")
    wall_s = time.monotonic() - begun_s
    return Cost((usage.ru_utime + usage.ru_stime) * 1000 / pages, pages / wall_s)


if __name__ == "__main__":
    sys.exit(main())
