"""What do the promises cost? CPU time per page of pagemill beside the leanest loop and two usual scripts.

    python -m tests.benchmarks.cpu [ROUNDS [SIZE_KB ...]]

All clients read the same files and post them to the same fast server on this machine, 32 at a time, in turn. Each round
runs every client on few and on many pages; the slope between the two is the cost of a page, so that start-up cancels
out. Prints the mean and the worst slope of the rounds (default: 5), and their ratio to the leanest loop's mean.
"""

import secrets
import statistics
import sys
import tempfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import run_measured
from tests.runs import COMMAND

JOBS = 32
ROUNDS = 5
PAGES_BY_SIZE_KB = {4: (500, 2500), 300: (200, 1000), 3000: (30, 150)}
"""Few and many pages, by the size of a page in kB."""
BAR_CHARS = 30

CommandFor = Callable[[Path, str, Path], list[str]]


def main() -> int:
    """Print one table per size of page."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    sizes_kb = [int(size) for size in sys.argv[2:]] or list(PAGES_BY_SIZE_KB)
    with fast_server() as url:
        for size_kb in sizes_kb:
            with tempfile.TemporaryDirectory() as directory:
                print_table(size_kb, measure_slopes(Path(directory), size_kb, rounds, url))
    return 0


def measure_slopes(directory: Path, size_kb: int, rounds: int, url: str) -> dict[str, list[float]]:
    """Return the CPU milliseconds per page of every round, by client."""
    few, many = PAGES_BY_SIZE_KB.get(size_kb, (200, 1000))
    scans = {pages: make_pages(directory / f"scans-{pages}", pages, size_kb * 1000) for pages in (few, many)}
    slopes_ms: dict[str, list[float]] = {name: [] for name in all_clients()}
    for number in range(rounds):
        for name, command in all_clients().items():
            cpu_s = {}
            for pages in (few, many):
                usage = run_measured(command(scans[pages], url, directory / f"{name}-{number}-{pages}"))
                if usage.exit_code:
                    sys.exit(f"{name} failed with {usage.exit_code}")
                cpu_s[pages] = usage.cpu_s
            slopes_ms[name].append(1000 * (cpu_s[many] - cpu_s[few]) / (many - few))
    return slopes_ms


def all_clients() -> dict[str, CommandFor]:
    """Return the command of every client, given the pages, the server's URL and a place for its output."""

    def contender(name: str) -> CommandFor:
        module = [sys.executable, "-m", "tests.benchmarks.contenders", name]
        return lambda scans, url, out: [*module, str(scans), url, str(out), str(JOBS)]

    def pagemill(scans: Path, url: str, out: Path) -> list[str]:
        flags = ["--api-url", url, "-j", str(JOBS), "-qq", "--ledger", str(out)]
        return [*COMMAND, "run", str(scans), "-o", str(out), *flags]

    return {**{name: contender(name) for name in CONTENDERS}, "pagemill": pagemill}


def print_table(size_kb: int, slopes_ms: dict[str, list[float]]) -> None:
    """Print mean, worst and ratios of every client, and a bar for the mean."""
    lean_ms = statistics.mean(slopes_ms["leanest-loop"])
    rounds = len(slopes_ms["leanest-loop"])
    print(f"\n{size_kb:,} kB per page, {JOBS} at a time, {rounds} rounds: CPU ms per page")
    print(f"{'':<18}{'mean':>8}{'worst':>8}{'x leanest':>11}{'worst':>8}")
    largest_ms = max(statistics.mean(each) for each in slopes_ms.values())
    for name, each in slopes_ms.items():
        mean_ms, worst_ms = statistics.mean(each), max(each)
        bar = "█" * round(BAR_CHARS * mean_ms / largest_ms)
        print(f"{name:<18}{mean_ms:>8.2f}{worst_ms:>8.2f}{mean_ms / lean_ms:>11.2f}{worst_ms / lean_ms:>8.2f}  {bar}")


def make_pages(directory: Path, pages: int, size_bytes: int) -> Path:
    """Write complete PNG files of this size, each with different content."""
    directory.mkdir()
    buffer = BytesIO()
    Image.new("1", (1000, 1400), 1).save(buffer, "PNG")
    head, tail = buffer.getvalue()[:-12], buffer.getvalue()[-12:]
    for number in range(pages):
        noise = secrets.token_bytes(size_bytes - len(head))
        chunk = len(noise).to_bytes(4, "big") + b"noIs" + noise
        checksum = zlib.crc32(chunk[4:]).to_bytes(4, "big")  # an ancillary chunk: readers skip it
        (directory / f"page-{number:06}.png").write_bytes(head + chunk + checksum + tail)
    return directory


if __name__ == "__main__":
    sys.exit(main())
