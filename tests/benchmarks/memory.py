"""Does memory grow with the number of pages? Prints the peak of runs over few and many paths.

    python -m tests.benchmarks.memory [FEW MANY]

Two kinds of manifest: paths that are missing, and tiny images that a fast server on this machine answers.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.pages import write_page
from tests.runs import COMMAND, KEY, environment

FEW, MANY = 1_000, 100_000
ALLOWED_MB = 40


@dataclass(frozen=True, slots=True)
class Peak:
    """What a run took."""

    peak_mb: float
    wall_s: float
    exit_code: int


def main() -> int:
    """Measure both kinds and print a table; return 1 when a kind grows by more than is allowed."""
    few, many = (int(argument) for argument in sys.argv[1:3]) if len(sys.argv) > 2 else (FEW, MANY)
    print(f"{'manifest of':<16}{f'{few:,}':>14}{f'{many:,}':>14}{'growth':>10}{'pages/s':>10}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory, fast_server() as url:
        for kind in ("missing paths", "tiny images"):
            small, large = (measure(Path(directory), kind, pages, url) for pages in (few, many))
            growth = large.peak_mb - small.peak_mb
            worst = max(worst, growth)
            print(
                f"{kind:<16}{small.peak_mb:>11.1f} MB{large.peak_mb:>11.1f} MB{growth:>+7.1f} MB"
                f"{many / large.wall_s:>10.0f}",
                flush=True,
            )
    return 1 if worst > ALLOWED_MB else 0


def measure(directory: Path, kind: str, pages: int, url: str) -> Peak:
    """Run over a new manifest of so many pages, and return its peak memory."""
    place = directory / f"{kind.replace(' ', '-')}-{pages}"
    place.mkdir()
    manifest = place / "manifest.txt"
    with manifest.open("w") as file:
        for number in range(pages):
            name = f"{number // 1000:04}/page-{number:07}.png"
            if kind == "tiny images":
                write_tiny(place / name, number)
            file.write(name + "\n")
    arguments = ["run", str(manifest), "-o", str(place / "out"), "--api-url", url, "--ledger", str(place), "-qq"]
    begun_s = time.monotonic()
    process = subprocess.Popen([*COMMAND, *arguments], env=environment(KEY))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    return Peak(usage.ru_maxrss / unit, time.monotonic() - begun_s, process.returncode)


def write_tiny(path: Path, seed: int) -> None:
    """Write a small image of its own; encoded once, told apart by bytes behind its end, which readers ignore."""
    if seed % 1000 == 0:
        write_page(path, seed)
        return
    first = path.with_name(f"page-{seed - seed % 1000:07}.png")
    path.write_bytes(first.read_bytes() + seed.to_bytes(8, "big"))


@contextmanager
def fast_server() -> Iterator[str]:
    """Run a server that answers at once, in a process of its own; yields its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.fast_server"],
        env=environment(None),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
