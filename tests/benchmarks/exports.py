"""Exports and status of a large workspace: time and peak memory, beside the leanest loops over the same lines.

    python -m tests.benchmarks.exports [RECORDS] [--workspace DIR] [--times N] [FORMAT ...]

A workspace of so many records (a million), each of 1 kB of text, ten pages per document. Each export runs in a process
of its own, start-up included, twice: the second one finds everything unchanged. The leanest loops are
those of `export_loops`. `status` is also
timed as a killed run leaves the workspace: lines that the index has not read, and no end in run.json.

With `--workspace`, the workspace is kept there for further benchmarks.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import orjson

from pipeline.export.formats import FORMATS
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import RunFile, write_run_file
from tests.benchmarks.usage import Usage, run_measured
from tests.factories import RECORD, page_id

PAGES_PER_DOCUMENT = 10
TEXT = "北京市朝阳区人民法院民事判决书 the quick brown fox jumps over the lazy dog\n" * 10
UNREAD_LINES = 500
"""As many as a killed run leaves: the index is committed after 512 changes."""
FINISHED = "2026-01-31T12:00:00Z"
POSITIONED = ("hocr", "page", "alto", "pdf")


def fill(workspace: Path, records: int) -> None:
    """Make the workspace, with its index."""
    workspace.mkdir(parents=True)
    run_file = RunFile(workspace_id="0123456789abcdef", version="0", service="vendor", root="/", finished=FINISHED)
    write_run_file(workspace, run_file)
    with (workspace / "results.jsonl").open("wb") as file:
        file.writelines(map(make_line, range(records)))
    with Index.open(workspace):
        pass


def make_line(number: int) -> bytes:
    """Return the line of a page, numbered from 0."""
    document, page = divmod(number, PAGES_PER_DOCUMENT)
    record = replace(
        RECORD,
        id=page_id(number),
        source=f"box {document // 1000:04}/{document:07}.tif",
        page=page + 1,
        text=f"page {number}\n{TEXT}",
        attempts=(f"0123456789ab-{number:07d}",),
    )
    return encode_record(record)


def run_pagemill(*arguments: str) -> Usage:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    usage = run_measured([sys.executable, "-m", "pipeline", *arguments], prints=False)
    if usage.exit_code:
        raise RuntimeError(f"{arguments}: exit {usage.exit_code}")
    return usage


def run_loop(name: str, results: Path) -> Usage:
    """Measure a loop in a process of its own."""
    return run_measured([sys.executable, "-m", "tests.benchmarks.export_loops", name, str(results)])


def show(name: str, usages: list[Usage], records: int) -> None:
    """Print a row: means, and the slowest."""
    walls = [usage.wall_s for usage in usages]
    mean_s, cpu_s = sum(walls) / len(walls), sum(usage.cpu_s for usage in usages) / len(usages)
    peak_mb = max(usage.peak_mb for usage in usages)
    rates = f"{records / mean_s:>9,.0f} {records / max(walls):>9,.0f}"
    print(f"{name:<22}{mean_s:>8.2f} {max(walls):>8.2f} {rates} {cpu_s:>8.2f} {peak_mb:>7.0f}", flush=True)


def measure_export(workspace: Path, form: str, destination: Path, times: int, records: int) -> None:
    """Print how long exports to a new folder take, and those that find it as it should be."""
    first, again = [], []
    for _ in range(times):
        command = ("export", str(workspace), "--to", form, str(destination), "--json", "--no-progress")
        first.append(run_pagemill(*command))
        again.append(run_pagemill(*command))
        shutil.rmtree(destination) if destination.is_dir() else destination.unlink()
    show(form, first, records)
    show(f"{form} again", again, records)


def measure_status(workspace: Path, times: int, records: int) -> None:
    """Print how long `status` takes, and that after a kill."""
    results = workspace / "results.jsonl"
    before, run_file = results.stat(), (workspace / "run.json").read_bytes()
    show("status", [run_pagemill("status", str(workspace)) for _ in range(times)], records)
    try:
        with results.open("ab") as file:
            file.writelines(make_line(number) for number in range(records, records + UNREAD_LINES))
        fields = orjson.loads(run_file)
        (workspace / "run.json").write_bytes(orjson.dumps({**fields, "finished": None}))
        show("status after a kill", [run_pagemill("status", str(workspace)) for _ in range(times)], records)
    finally:
        with results.open("rb+") as file:
            file.truncate(before.st_size)
        (workspace / "run.json").write_bytes(run_file)


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("what", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        workspace = given.workspace or Path(directory) / "out"
        if not workspace.exists():
            fill(workspace, given.records)
        results = workspace / "results.jsonl"
        print(f"{given.records:,} records, {given.times} times: mean and worst s, mean and worst records/s, CPU s, MB")
        for name in ("parse", "convert"):
            show(f"leanest: {name}", [run_loop(name, results) for _ in range(given.times)], given.records)
        (workspace / "lean.parquet").unlink()
        for what in given.what or ["status", *(form for form in FORMATS if form not in POSITIONED)]:
            if what == "status":
                measure_status(workspace, given.times, given.records)
            else:
                measure_export(workspace, what, Path(directory) / what, given.times, given.records)


if __name__ == "__main__":
    main(sys.argv[1:])
