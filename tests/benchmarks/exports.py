"""Exports of a large workspace: records per second and peak memory, beside the leanest loop over the same lines.

    python -m tests.benchmarks.exports [RECORDS] [FORMAT ...]

A workspace of so many records (a million), each of 1 kB of text, ten pages per document. The leanest loop reads
results.jsonl with orjson and writes nothing. Each export runs in a process of its own, twice: the second finds
everything unchanged.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import orjson

from pipeline.export.formats import FORMATS
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import RunFile, write_run_file
from tests.factories import RECORD, page_id

PAGES_PER_DOCUMENT = 10
TEXT = "北京市朝阳区人民法院民事判决书 the quick brown fox jumps over the lazy dog\n" * 10


def fill(workspace: Path, records: int) -> None:
    """Make the workspace, with its index."""
    workspace.mkdir()
    write_run_file(workspace, RunFile(workspace_id="0123456789abcdef", version="0", service="vendor", root="/scans"))
    with (workspace / "results.jsonl").open("wb") as file:
        for number in range(records):
            document, page = divmod(number, PAGES_PER_DOCUMENT)
            record = replace(
                RECORD,
                id=page_id(number),
                source=f"box {document // 1000:04}/{document:07}.tif",
                page=page + 1,
                text=f"page {number}\n{TEXT}",
                attempts=(f"0123456789ab-{number:07d}",),
            )
            file.write(encode_record(record))
    with Index.open(workspace):
        pass


def time_leanest(workspace: Path) -> float:
    """Return the seconds of a loop that parses every line."""
    begun_s = time.monotonic()
    with (workspace / "results.jsonl").open("rb") as file:
        for line in file:
            orjson.loads(line)
    return time.monotonic() - begun_s


def run_export(workspace: Path, form: str, destination: Path) -> tuple[float, float]:
    """Export; return the seconds, and the peak memory in MB."""
    begun_s = time.monotonic()
    command = [sys.executable, "-m", "pipeline", "export", str(workspace), "--to", form, str(destination), "--json"]
    code = f"import resource,subprocess,sys; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL);"
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peak = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return time.monotonic() - begun_s, int(peak) / 1024


def main(arguments: list[str]) -> None:
    """Print the table."""
    records = int(arguments[0]) if arguments else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory) / "out"
        begun_s = time.monotonic()
        fill(workspace, records)
        print(f"{records:,} records, made in {time.monotonic() - begun_s:.0f} s")
        print(f"{'leanest loop':<14}{records / time_leanest(workspace):>10,.0f} records/s")
        for form in arguments[1:] or list(FORMATS):
            for again in ("", " again"):
                duration_s, peak_mb = run_export(workspace, form, Path(directory) / form)
                print(f"{form + again:<14}{records / duration_s:>10,.0f} records/s {peak_mb:>6.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
