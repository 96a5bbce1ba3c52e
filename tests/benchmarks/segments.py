"""What compressed records cost: size, and the time to read 100,000 of them, plain and as zstd segments.

    python -m tests.benchmarks.segments [RECORDS]

Each record has up to 1,500 characters of this project's documentation, from a random place, so that no two texts are
alike. The index is rebuilt from the records, all of them are read in order and by `read_records`, and 1,000 single
lines at random places.
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline import read_records
from pipeline.workspace.compression import compress_segments
from pipeline.workspace.index import Index
from pipeline.workspace.line_stream import LineStream
from pipeline.workspace.paths import INDEX, RESULTS
from pipeline.workspace.read_position import read_lines
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import RunFile, write_run_file
from pipeline.workspace.segments import segment_name, sum_file_sizes
from tests.factories import RECORD, page_id
from tests.runs import ROOT

_JOINED_BYTES = 256 << 20
_SINGLE_LINES = 1_000


def fill(workspace: Path, records: int) -> None:
    """Make the workspace."""
    workspace.mkdir()
    write_run_file(workspace, RunFile(workspace_id="0123456789abcdef", version="0", service="vendor", root="/scans"))
    texts = "".join(path.read_text("utf-8") for path in sorted(ROOT.glob("pipeline/docs/*.md")))
    rng = random.Random(1)
    with (workspace / RESULTS).open("wb") as file:
        for number in range(records):
            begin, content = rng.randrange(len(texts)), rng.getrandbits(256)
            words = texts[begin : begin + rng.randint(300, 1500)].split()
            rng.shuffle(words)
            record = replace(
                RECORD,
                id=page_id(content),
                source=f"box {number // 1000:04}/{number:07}.tif",
                sha256=f"{content:064x}",
                text=" ".join(words),
                attempts=(f"{rng.getrandbits(48):012x}-{number:07}",),
            )
            file.write(encode_record(record))


def measure(workspace: Path, records: int) -> list[str]:
    """Return the columns of a line of the table."""

    def rebuild() -> None:
        (workspace / INDEX).unlink(missing_ok=True)
        with Index.open(workspace) as index:
            assert sum(index.count_pages().totals.values()) == records

    def read_singly() -> None:
        with closing(LineStream(workspace / RESULTS)) as stream:
            rng = random.Random(2)
            for _ in range(_SINGLE_LINES):
                stream.pread(2000, rng.randrange(stream.size_bytes))

    counts: list[Callable[[], object]] = [
        rebuild,
        lambda: sum(1 for _ in read_lines(workspace / RESULTS)),
        lambda: sum(1 for _ in read_records(workspace)),
    ]
    columns = [f"{sum_file_sizes(workspace) / 1e6:.1f} MB", *(f"{_time(count):.2f} s" for count in counts)]
    return [*columns, f"{_time(read_singly) / _SINGLE_LINES * 1000:.3f} ms"]


def _time(work: Callable[[], object]) -> float:
    begun_s = time.monotonic()
    work()
    return time.monotonic() - begun_s


def main(arguments: list[str]) -> None:
    """Print the table."""
    records = int(arguments[0]) if arguments else 100_000
    with tempfile.TemporaryDirectory() as directory:
        workspace = Path(directory) / "out"
        fill(workspace, records)
        print(f"{records:,} records")
        form = "{:<8}{:>10}{:>15}{:>12}{:>15}{:>15}"
        print(form.format("", "size", "index rebuilt", "all lines", "read_records", "a single line"))
        print(form.format("plain", *measure(workspace, records)))
        (workspace / RESULTS).rename(workspace / segment_name(1, 1, compressed=False))
        duration_s = _time(lambda: compress_segments(workspace, _JOINED_BYTES, threading.Event()))
        print(form.format("zstd", *measure(workspace, records)))
        print(f"compressed in {duration_s:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
