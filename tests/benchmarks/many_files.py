"""A directory, a ZIP, a TAR and a PDF of very many pages: time to the first call, and a second run without changes.

    python -m tests.benchmarks.many_files [FILES] [--kinds WORD ...] [--fill] [--directory DIR]

Tiny JPEGs, each of other content, in folders of 1,000, the same in a ZIP and in a TAR, and PDFs of 2,000 pages of type
and of 2,000 scans; a server on this machine answers at once. `first call` is the time from the start of the command to
its first result. A run over the directory is then finished, and a run over it without changes is measured alone, and
once more under strace, which counts the files of the directory that it opens. With `--fill` the records, the index and
the ledger that the finished run would leave are written directly, which takes a tenth of the time. With `--directory`
the files and the workspace are kept for the next invocation. Exit code 1: a bound is exceeded, or a file is opened.
"""

import argparse
import hashlib
import io
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing import Process
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

from pipeline.billing import Calendar
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Settle
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import FileStat, PageId, SourceFile
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import require_workspace
from tests.benchmarks import archives
from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.startup import reserve
from tests.benchmarks.usage import run_measured
from tests.factories import make_record
from tests.inputs.images import encode, noise
from tests.inputs.pdfs import A4, DRAW, Pdf, image
from tests.runs import COMMAND, KEY, environment, results

FILES, PDF_PAGES = 200_000, 2000
FIRST_CALL_S: Final = {"files": 1.0, "zip": 2.0, "tar": float("inf"), "pdf-type": 2.0, "pdf-scans": 2.0}
"""Bounds by kind of input. A plain TAR has no directory: all of its headers are read first."""
SECOND_RUN_S: Final = 10.0
OWNER: Final = "0123456789ab"
_PER_FOLDER: Final = 1000
_SCAN_PX: Final = (827, 1169)


def write_input(path: Path, kind: str, files: int) -> None:
    """Write an input of this kind."""
    writers = {
        "files": write_files,
        "zip": archives.write_zip,
        "tar": archives.write_tar,
        "pdf-type": write_type,
        "pdf-scans": write_scans,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[kind](path, PDF_PAGES if kind.startswith("pdf") else files)


def write_type(path: Path, pages: int) -> None:
    """Write a PDF of pages of type."""
    pdf = Pdf()
    for page in range(pages):
        lines = (b"BT /F0 9 Tf 50 %d Td (page %d, line %d) Tj ET\n" % (800 - 12 * n, page, n) for n in range(64))
        pdf.add_page(b"".join(lines))
    path.write_bytes(pdf.to_bytes())


def write_scans(path: Path, pages: int) -> None:
    """Write a PDF whose pages are JPEGs of 350 kB each."""
    pdf, scan = Pdf(), io.BytesIO(encode(noise(_SCAN_PX, "L"), "JPEG", quality=60)).getvalue()
    for _ in range(pages):
        pdf.add_page(DRAW % (A4[2], A4[3], 0, 0), images=[image(_SCAN_PX, scan, codec="DCTDecode")])
    path.write_bytes(pdf.to_bytes())


def write_files(scans: Path, files: int) -> None:
    """Write JPEGs that differ in a comment."""
    data = encode(noise((60, 60), "L"), "JPEG")
    for number in range(files):
        if number % _PER_FOLDER == 0:
            folder = scans / f"{number // _PER_FOLDER:04}"
            folder.mkdir(parents=True)
        comment = b"\xff\xfe\0\x0a" + number.to_bytes(8, "big")
        (folder / f"{number:07}.jpg").write_bytes(data[:2] + comment + data[2:])


def time_first_call(arguments: list[str], workspace: Path) -> float:
    """Return the seconds from the start of the command to its first result, and kill it."""
    begun_s = time.monotonic()
    with Popen(arguments, env=environment(KEY), stdout=DEVNULL, stderr=DEVNULL) as process:
        while not (workspace / "results.jsonl").exists() or not results(workspace):
            assert process.poll() is None
            time.sleep(0.005)
        first_s = time.monotonic() - begun_s
        process.kill()
    return first_s


def count_opened(arguments: list[str], directory: Path, scans: Path) -> int:
    """Return the number of files below `scans` that a command opens."""
    trace = directory / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-o", str(trace)]
    subprocess.run([*strace, *arguments], env=environment(KEY), check=True)
    with trace.open(errors="replace") as lines:
        return sum(str(scans) in line and ".jpg" in line for line in lines)


def main() -> int:
    """Print the figures; return 1 when a bound is exceeded."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.many_files")
    parser.add_argument("files", type=int, nargs="?", default=FILES)
    parser.add_argument("--kinds", nargs="+", choices=FIRST_CALL_S, default=list(FIRST_CALL_S))
    parser.add_argument("--directory", type=Path, help="keep the files and the workspace here")
    parser.add_argument("--fill", action="store_true", help="write what the first run would leave")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many-files-") as name, fast_server() as url:
        directory = options.directory or Path(name)
        is_exceeded = False
        for kind in options.kinds:
            first_s = measure_first_call(directory, kind, options.files, url)
            is_exceeded |= first_s > FIRST_CALL_S[kind]
        if "files" in options.kinds:
            if options.fill:
                fill(directory, url)
            is_exceeded |= not measure_second_run(directory, options.files, url)
    return int(is_exceeded)


def measure_first_call(directory: Path, kind: str, files: int, url: str) -> float:
    """Return the seconds to the first call from an input, which is written where it does not exist."""
    place = directory / kind / f"box.{kind.partition('-')[0]}"
    if not place.exists():
        # In a process of its own: what a parent holds when it starts a command counts as the command's peak.
        writer = Process(target=write_input, args=(place, kind, files))
        writer.start()
        writer.join()
    with tempfile.TemporaryDirectory(dir=directory) as killed:
        first_s = time_first_call(command(place, Path(killed), url), Path(killed) / "out")
    pages = PDF_PAGES if kind.startswith("pdf") else files
    print(f"{kind:<10}{pages:>10,} pages: first call after {first_s:.2f} s", flush=True)
    return first_s


def fill(directory: Path, url: str) -> None:
    """Write the workspace and the ledger of a run over the directory of files, beyond its first page."""
    scans, out = directory / "files" / "box.files", directory / "out"
    run_measured([*command(scans, directory, url), "--limit", "1"])
    workspace_id = require_workspace(out).workspace_id
    paths = sorted(scans.glob("*/*.jpg"))
    with closing(SqliteLedger(ledger_path(directory, KEY, "127.0.0.1"), Calendar(), None)) as ledger:
        for start in range(0, len(paths), _PER_FOLDER):
            ids = reserve(ledger, workspace_id, OWNER, range(start, min(start + _PER_FOLDER, len(paths))))
            ledger.execute([Settle(attempt, AttemptState.ACCEPTED) for attempt in ids], workspace_id, "", str)
    with (out / "results.jsonl").open("ab") as file:
        for number, path in enumerate(paths):
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            record = make_record(path.relative_to(scans).as_posix(), 0)
            attempts = (f"{OWNER}-{number:07d}",)
            record = replace(record, id=PageId(f"sha256:{sha256}#1"), sha256=sha256, attempts=attempts)
            file.write(encode_record(record))
    with Index.open(out) as index:
        for path in paths:
            status = path.stat()
            name = path.relative_to(scans).as_posix()
            index.add_file(SourceFile(name, path, FileStat(status.st_size, status.st_mtime_ns)), 1)


def measure_second_run(directory: Path, files: int, url: str) -> bool:
    """Finish a run over the directory of files; return whether the next run is within its bounds."""
    scans = directory / "files" / "box.files"
    again = command(scans, directory, url)
    first = run_measured([*again, "-j", "32"])
    print(f"first run {first.wall_s:.0f} s, {files / first.wall_s:.0f} pages/s, {first.peak_mb:.0f} MB", flush=True)
    second = run_measured(again)
    print(f"second run {second.wall_s:.2f} s, {second.cpu_s:.2f} s of CPU, {second.peak_mb:.0f} MB", flush=True)
    opened = count_opened(again, directory, scans)
    print(f"files opened by a second run: {opened}")
    return (first.exit_code, second.exit_code, opened) == (0, 0, 0) and second.wall_s <= SECOND_RUN_S


def command(source: Path, place: Path, url: str) -> list[str]:
    """Return a run over an input, whose workspace and ledger are in `place`."""
    return [*COMMAND, "run", str(source), "-o", str(place / "out"), "--api-url", url, "--ledger", str(place), "-qq"]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
