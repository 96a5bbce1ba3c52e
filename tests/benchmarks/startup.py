"""Start-up and commits of a large workspace: the first call after a crash, and the cost of a limit.

    python -m tests.benchmarks.startup [RECORDS]

A workspace of so many records, each of 1.5 kB text, and a ledger with as many calls of this month and 64 open rows of a
dead run. The first run recovers those. Exit code 1 when the first call takes more than 10 s, or when a limit costs
more than twice the CPU time of a commit.
"""

import asyncio
import itertools
import logging
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline.billing import Calendar
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Permit, Reserve, Settle
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import PageId
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import require_workspace
from tests.factories import make_record, page_id
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import KEY, run_here

OPEN = 64
BATCH = 1000
MAX_START_S = 10.0


def reserve(ledger: SqliteLedger, workspace_id: str, owner: str, pages: range) -> list[str]:
    """Reserve a call for each of the pages."""
    ids = iter([f"{owner}-{page:07d}" for page in pages])
    operations = [Reserve(page_id(page), f"{page}.png") for page in pages]
    return [str(result) for result in ledger.execute(operations, workspace_id, owner, lambda: next(ids))]


async def fill(directory: Path, records: int) -> None:
    """Make the workspace and its ledger, as a crash leaves them."""
    out = directory / "out"
    write_pages(directory / "scans", 1)
    async with serve_fake() as fake:
        await run_here(directory / "scans", out, fake.url)
    workspace_id = require_workspace(out).workspace_id
    with closing(SqliteLedger(ledger_path(directory / "ledger", KEY, "127.0.0.1"), Calendar(), None)) as ledger:
        for start in range(0, records, BATCH):
            ids = reserve(ledger, workspace_id, "0123456789ab", range(start, min(start + BATCH, records)))
            ledger.execute([Settle(attempt, AttemptState.ACCEPTED) for attempt in ids], workspace_id, "", str)
        reserve(ledger, workspace_id, "ba9876543210", range(records, records + OPEN))
    with (out / "results.jsonl").open("ab") as file:
        for page in range(records):
            record = make_record(f"{page}.png", page, text="x" * 1500)
            file.write(encode_record(replace(record, attempts=(f"0123456789ab-{page:07d}",))))
    Index.open(out).close()


async def time_first_call(directory: Path, pages: int) -> float:
    """Add a page, and return the seconds until its call arrives."""
    write_pages(directory / "scans", pages)
    async with serve_fake() as fake, asyncio.TaskGroup() as tasks:
        begun_s = time.monotonic()
        tasks.create_task(run_here(directory / "scans", directory / "out", fake.url))
        await fake.wait_for_calls(1)
        return time.monotonic() - begun_s


def time_commits(directory: Path, limit: int | None) -> float:
    """Return the CPU time, in seconds per call, of reserving and settling 640 calls in groups of 32."""
    numbers = itertools.count()
    with closing(SqliteLedger(ledger_path(directory / "ledger", KEY, "127.0.0.1"), Calendar(), limit)) as ledger:
        begun_s = time.process_time()
        for _ in range(20):
            results = ledger.execute([Reserve(PageId("p"))] * 32, "w", "o", lambda: f"{limit}-{next(numbers)}")
            granted = [result.attempt for result in results if isinstance(result, Permit)]
            ledger.execute([Settle(attempt, AttemptState.CHARGED) for attempt in granted], "w", "o", str)
        return (time.process_time() - begun_s) / 640


def main() -> int:
    """Print the times; return 1 when they are not as promised."""
    logging.disable()  # each open row is named
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(fill(directory, records))
        crashed, calm = (asyncio.run(time_first_call(directory, pages)) for pages in (2, 3))
        free, limited = time_commits(directory, None), time_commits(directory, 10 * records)
    print(f"{records} records: first call {crashed:.2f} s after a crash, {calm:.2f} s otherwise")
    print(f"CPU per call: {free * 1e6:.0f} µs, {limited * 1e6:.0f} µs with a limit")
    return int(crashed > MAX_START_S or limited > 2 * free)


if __name__ == "__main__":
    sys.exit(main())
