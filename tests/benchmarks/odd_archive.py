"""An archive of odd files and odd PDFs through a run: the state of each page, and the memory of all its processes.

    python -m tests.benchmarks.odd_archive [--engine] [--correct]

The archive is that of the tests (`tests.odd_files`, `tests.inputs.odd_pdfs`). The run has `-j 8`; with `--engine` it
sends the pages to `pagemill serve` with the real engine, else to a server that answers at once. Memory is the sum of
the proportional set sizes (proc(5), `smaps_rollup`) of the run and its workers, without the server, sampled every
20 ms. With `--correct` there are 16 scans of A4 at 300 dpi more, skewed, turned and yellowed, and the run has
`--auto-rotate --deskew --contrast`; the format of a page that is sent is not compared then, the peak is not bounded.
Exit code 1: a page ended in another state than its manifest says, or the peak is above 600 MB.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.wire import MEDIA_TYPES
from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.usage import family
from tests.engine_server import start_engine_server, stop_engine_server
from tests.inputs.odd_pdfs import ODD_PDFS
from tests.inputs.skewed import skewed, text_page, yellowed
from tests.odd_files import odd_files
from tests.runs import COMMAND, KEY, environment, failures, results

ALLOWED_MB: Final = 600
SCANS: Final = 16
A4_PX: Final = (2480, 3508)
_SAMPLE_S: Final = 0.02

States = dict[tuple[str, int], str]
"""By source and page: the format that is sent, or the class of the failure."""


def write_archive(directory: Path) -> States:
    """Write the files; return the state in which each page must end. Of a PDF any format may be sent."""
    expected: States = {}
    for name, odd in odd_files().items():
        (directory / name).write_bytes(odd.data)
        expected |= {(name, number): state for number, state in enumerate(odd.pages, 1)}
    for name, make in ODD_PDFS.items():
        (directory / f"{name}.pdf").write_bytes(make().data)
        expected[f"{name}.pdf", 1] = "sent"
    return expected


def write_scans(directory: Path) -> States:
    """Write colour scans of A4 at 300 dpi that are to be corrected; return the state in which each must end."""
    for number in range(SCANS):
        scan = yellowed(skewed(text_page(number).resize(A4_PX), 2.0)).rotate(90 * (number % 4), expand=True)
        scan.save(directory / f"scan-{number}.tif" if number % 2 else directory / f"scan-{number}.jpg", quality=90)
    return {(path.name, 1): "jpeg" for path in directory.glob("scan-*")}


def read_states(workspace: Path) -> States:
    """Return the state in which each page has ended."""
    ended: States = {}
    for line in results(workspace):
        ended[line["source"], line["page"]] = "sent" if line["source"].endswith(".pdf") else line["prep"]["format"]
    return ended | {(line["source"], line["page"]): line["class"] for line in failures(workspace)}


def measure_peak_mb(process: "subprocess.Popen[bytes]") -> float:
    """Return the highest sum of the proportional set sizes of a process and its descendants, until it ends."""
    peak_kb = 0
    while process.poll() is None:
        peak_kb = max(peak_kb, sum(_pss_kb(pid) for pid in family(process.pid)))
        time.sleep(_SAMPLE_S)
    return peak_kb / 1024


def _pss_kb(pid: int) -> int:
    with suppress(OSError, StopIteration):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        return int(next(line for line in rollup if line.startswith("Pss:")).split()[1])
    return 0


@contextmanager
def _server(*, has_engine: bool) -> Iterator[tuple[str, str]]:
    """Yield the address of a server and its key."""
    if not has_engine:
        with fast_server() as url:
            yield url, KEY
        return
    server = start_engine_server(KEY, "--workers", str(os.cpu_count() or 1))
    try:
        yield server.base_url, KEY
    finally:
        stop_engine_server(server)


def run_archive(directory: Path, *, has_engine: bool, corrects: bool = False) -> tuple[float, int, States, States]:
    """Run on the archive; return the peak memory in MB, the exit code, and the expected and actual states."""
    scans, workspace = directory / "scans", directory / "out"
    scans.mkdir()
    expected = write_archive(scans)
    if corrects:
        expected |= write_scans(scans)
    with _server(has_engine=has_engine) as (url, key):
        command = [*COMMAND, "run", scans, "-o", workspace, "--api-url", url, "--ledger", directory, "-j", "8", "-qq"]
        command += ["--auto-rotate", "--deskew", "--contrast"] if corrects else []
        command += ["--dedup", "off", "--timeout", "600"]  # the engine may be busy with eight large pages
        process = subprocess.Popen([*map(str, command)], env=environment(key))
        peak_mb = measure_peak_mb(process)
    return peak_mb, process.returncode, expected, read_states(workspace)


def _without_formats(states: States) -> States:
    return {page: "sent" if state in MEDIA_TYPES else state for page, state in states.items()}


def main() -> int:
    """Print the states that differ, and the peak."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.odd_archive")
    parser.add_argument("--engine", action="store_true", help="send the pages to the real server")
    parser.add_argument("--correct", action="store_true", help="add scans, and correct turned, skewed and faint pages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="odd-archive-") as directory:
        begun_s = time.monotonic()
        peak_mb, code, expected, ended = run_archive(
            Path(directory), has_engine=options.engine, corrects=options.correct
        )
    if options.correct:
        expected, ended = (_without_formats(states) for states in (expected, ended))
    differing = {page for page in expected.keys() | ended.keys() if expected.get(page) != ended.get(page)}
    for page in sorted(differing):
        print(f"{page[0]} page {page[1]}: {ended.get(page)} instead of {expected.get(page)}")
    files = len({source for source, _ in expected})
    print(f"{files} files, {len(expected)} pages in {time.monotonic() - begun_s:.0f} s, exit code {code}")
    print(f"{len(differing)} pages in another state; peak of all processes {peak_mb:.0f} MB")
    return int(bool(differing) or (peak_mb > ALLOWED_MB and not options.correct))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
