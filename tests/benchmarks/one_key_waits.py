"""Does a process starve for the ledger? Prints the times of groups of reservations when 8 processes share one key.

    python -m tests.benchmarks.one_key_waits [PROCESSES]

A group waits for the ledger's lock and then commits; the server answers at once, so the lock is the only wait.
"""

import atexit
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from pipeline.cli import main as cli
from pipeline.ledger.sqlite.ledger import SqliteLedger
from tests.benchmarks.fast_server import fast_server
from tests.pages import write_pages
from tests.runs import KEY, environment

PAGES = 500
JOBS = 8
ALLOWED_S = 5.0


def main() -> int:
    """Print one line per process; return 1 when one waited for too long or did not finish."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    print(f"{'process':<9}{'exit':>6}{'groups':>8}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'max ms':>9}{'s':>7}")
    short = 0
    with tempfile.TemporaryDirectory() as name, fast_server() as url:
        directory = Path(name)
        for number in range(processes):
            write_pages(directory / f"scans-{number}", PAGES, first_seed=number * PAGES)
        begun_s = time.monotonic()
        running = [start(directory, number, url) for number in range(processes)]
        for number, process in enumerate(running):
            code = process.wait()
            waits_s = [float(line) for line in (directory / f"waits-{number}").read_text().split()]
            cuts = quantiles(waits_s, n=100)
            figures = "".join(f"{1000 * wait_s:>9.1f}" for wait_s in (cuts[49], cuts[89], cuts[98], max(waits_s)))
            print(f"{number:<9}{code:>6}{len(waits_s):>8}{figures}{time.monotonic() - begun_s:>7.1f}", flush=True)
            short += code != 0 or max(waits_s) > ALLOWED_S
    return 1 if short else 0


def start(directory: Path, number: int, url: str) -> subprocess.Popen[bytes]:
    """Start a run that records the time of each group of reservations."""
    command = [sys.executable, "-m", "tests.benchmarks.one_key_waits", "--write", f"{directory}/waits-{number}"]
    command += ["run", f"{directory}/scans-{number}", "-o", f"{directory}/out-{number}", "--api-url", url, "-qq"]
    return subprocess.Popen([*command, "--ledger", f"{directory}/ledger", "-j", str(JOBS)], env=environment(KEY))


def run_and_write(path: Path) -> None:
    """Be the command, and write the time of each group, in seconds, at the end."""
    execute = SqliteLedger.execute
    waits_s: list[float] = []

    def execute_timed(*arguments: Any) -> Any:
        begun_s = time.monotonic()
        try:
            return execute(*arguments)
        finally:
            waits_s.append(time.monotonic() - begun_s)

    SqliteLedger.execute = execute_timed  # type: ignore[assignment, method-assign]
    atexit.register(lambda: path.write_text("\n".join(map(str, waits_s))))
    cli.main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        _, _, written, *sys.argv[1:] = sys.argv
        run_and_write(Path(written))
    sys.exit(main())
