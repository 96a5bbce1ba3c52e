"""What do the promises cost? Compares pagemill's CPU time per page with that of a bare loop that keeps none of them.

    python -m tests.benchmarks.cpu [PAGES [KILOBYTES]]

Both read the same files, encode them and post them to the same fast server on this machine, 32 at a time. They run in
turn, three times each.
"""

import secrets
import statistics
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import Usage, run_measured
from tests.runs import COMMAND

JOBS = 32
ROUNDS = 3


def main() -> int:
    """Print a table of both and the ratio of the medians."""
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    kilobytes = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    usages: dict[str, list[Usage]] = {"bare loop": [], "pagemill": []}
    with tempfile.TemporaryDirectory() as directory, fast_server() as url:
        scans = make_pages(Path(directory) / "scans", pages, kilobytes * 1000)
        for round_number in range(ROUNDS):
            out = Path(directory) / f"out-{round_number}"
            bare = [sys.executable, "-m", "tests.benchmarks.bare_loop", str(scans), url, str(JOBS)]
            arguments = ["run", str(scans), "-o", str(out), "--api-url", url, "-j", str(JOBS), "-qq"]
            usages["bare loop"].append(measure(bare))
            usages["pagemill"].append(measure([*COMMAND, *arguments, "--ledger", str(out)]))
    print(f"{pages:,} pages of {kilobytes} kB, {JOBS} at a time\n{'':<12}{'CPU ms/page':>16}{'pages/s':>12}")
    medians_ms = {
        name: statistics.median(usage.cpu_s * 1000 / pages for usage in each) for name, each in usages.items()
    }
    for name, each in usages.items():
        pages_per_s = statistics.median(pages / usage.wall_s for usage in each)
        print(f"{name:<12}{medians_ms[name]:>16.2f}{pages_per_s:>12.0f}")
    print(f"ratio       {medians_ms['pagemill'] / medians_ms['bare loop']:>16.2f}")
    return 0


def make_pages(directory: Path, pages: int, size_bytes: int) -> Path:
    """Write complete PNG files of this size, each with different content."""
    directory.mkdir()
    buffer = BytesIO()
    Image.new("L", (1000, 1400), 255).save(buffer, "PNG")
    head, tail = buffer.getvalue()[:-12], buffer.getvalue()[-12:]
    for number in range(pages):
        noise = secrets.token_bytes(size_bytes - len(head))
        chunk = len(noise).to_bytes(4, "big") + b"noIs" + noise + b"\0\0\0\0"  # an ancillary chunk: readers skip it
        (directory / f"page-{number:06}.png").write_bytes(head + chunk + tail)
    return directory


def measure(command: list[str]) -> Usage:
    """Run a command to its end; exit when it fails."""
    usage = run_measured(command)
    if usage.exit_code:
        sys.exit(f"{command} failed with {usage.exit_code}")
    return usage


if __name__ == "__main__":
    sys.exit(main())
