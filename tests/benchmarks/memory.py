"""Does memory grow with the number of pages? Prints the peak memory of runs on few and on many pages.

    python -m tests.benchmarks.memory [FEW MANY]

Two kinds of manifest: missing paths, and tiny images that a fast server on this machine answers. Exit code 1 when the
peak grows by more than 40 MB.
"""

import resource
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import Usage, run_measured
from tests.pages import write_page
from tests.runs import COMMAND

FEW, MANY = 1_000, 100_000
ALLOWED_MB = 40


def main() -> int:
    """Measure both kinds and print a table; return 1 when a peak grows by more than `ALLOWED_MB`."""
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


def measure(directory: Path, kind: str, pages: int, url: str) -> Usage:
    """Run on a new manifest of this kind and number of pages."""
    place = directory / f"{kind.replace(' ', '-')}-{pages}"
    place.mkdir()
    manifest = place / "manifest.txt"
    with manifest.open("w") as file:
        for number in range(pages):
            name = f"{number // 1000:04}/page-{number:07}.png"
            if kind == "tiny images" or number == 0:  # a list without one existing file is no manifest
                write_tiny(place / name, number)
            file.write(name + "\n")
    arguments = ["run", str(manifest), "-o", str(place / "out"), "--api-url", url, "--ledger", str(place), "-qq"]
    return run_measured([*COMMAND, *arguments])


def write_tiny(path: Path, seed: int) -> None:
    """Write a small image; of each thousand only the first is encoded, the others differ in bytes behind its end."""
    if seed % 1000 == 0:
        write_page(path, seed)
        return
    first = path.with_name(f"page-{seed - seed % 1000:07}.png")
    path.write_bytes(first.read_bytes() + seed.to_bytes(8, "big"))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
