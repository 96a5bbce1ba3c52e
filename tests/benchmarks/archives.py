"""Is an archive of very many pages as good as a directory? Prints start and memory for few and for many.

    python -m tests.benchmarks.archives [FEW MANY]

For a ZIP and a plain TAR: seconds from the start of the command to its first call, and the peak memory of a run that
ends at its hundredth page, when all members are listed. Exit code 1 when the first call from the larger ZIP takes more
than 2 s, or when a peak grows by more than 40 MB.
"""

import io
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path
from subprocess import DEVNULL, Popen

from tests.archives import page
from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import run_measured
from tests.runs import COMMAND, KEY, environment, results

FEW, MANY = 1_000, 200_000
ALLOWED_S = 2.0
ALLOWED_MB = 40
LIMIT = 100


def main() -> int:
    """Measure both kinds and print a table; return 1 when a bound is exceeded."""
    few, many = (int(argument) for argument in sys.argv[1:3]) if len(sys.argv) > 2 else (FEW, MANY)
    is_exceeded = False
    print(f"{'archive':<10}{'members':>10}{'first call':>13}{'peak':>13}")
    with tempfile.TemporaryDirectory() as name, fast_server() as url:
        for kind, write in (("zip", write_zip), ("tar", write_tar)):
            peaks = []
            for members in (few, many):
                place = Path(name) / f"{kind}-{members}"
                place.mkdir()
                # In a process of its own: what a parent holds when it starts a command counts as the command's peak.
                writer = Process(target=write, args=(place / f"box.{kind}", members))
                writer.start()
                writer.join()
                first_s = time_first_call(place, kind, url)
                usage = run_measured([*COMMAND, *arguments(place, kind, url), "--limit", str(LIMIT)])
                peaks.append(usage.peak_mb)
                is_exceeded |= kind == "zip" and first_s > ALLOWED_S
                print(f"{kind:<10}{members:>10,}{first_s:>11.2f} s{usage.peak_mb:>10.1f} MB", flush=True)
            is_exceeded |= peaks[1] - peaks[0] > ALLOWED_MB
    return int(is_exceeded)


def arguments(place: Path, kind: str, url: str) -> list[str]:
    """Return the arguments of a run on an archive."""
    return [
        "run",
        str(place / f"box.{kind}"),
        "-o",
        str(place / "out"),
        "--api-url",
        url,
        "--ledger",
        str(place),
        "-qq",
    ]


def time_first_call(place: Path, kind: str, url: str) -> float:
    """Return the seconds from the start of the command to its first record, which follows its first call at once."""
    began_s = time.perf_counter()
    command = [*COMMAND, *arguments(place, kind, url), "--limit", "1"]
    with Popen(command, env=environment(KEY), stdout=DEVNULL, stderr=DEVNULL) as process:
        while not results(place / "out"):
            if process.poll() is not None and not results(place / "out"):
                raise RuntimeError(f"the run ended with {process.returncode} before its first record")
            time.sleep(0.005)
        return time.perf_counter() - began_s


def contents() -> Callable[[int], bytes]:
    """Return a function from a number to a small page: one image, with other bytes behind its end."""
    first = page(1)
    return lambda number: first + number.to_bytes(8, "big")


def write_zip(path: Path, members: int) -> None:
    """Write a ZIP of small pages in folders of a thousand."""
    make = contents()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number // 1000:04}/page-{number:07}.png", make(number))


def write_tar(path: Path, members: int) -> None:
    """Write a plain TAR of the same pages."""
    make = contents()
    with tarfile.open(path, "w") as archive:
        for number in range(members):
            info = tarfile.TarInfo(f"{number // 1000:04}/page-{number:07}.png")
            content = make(number)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            archive.members.clear()  # type: ignore[attr-defined]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
