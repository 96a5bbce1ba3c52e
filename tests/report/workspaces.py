"""Workspaces as years of nights would leave them, written line by line."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.billing import Calendar, billing_month
from pipeline.ledger.sqlite.schema import LEDGER, RECOUNT
from pipeline.quality import Confidence, Quality
from pipeline.records import Failure, PageId, Record, Reply, rfc3339
from pipeline.skipped import Skipped
from pipeline.storage.sqlite import DurableDatabase
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import MeteredRun, RunFile, write_run_file

WORKSPACE_ID = "0123456789abcdef"
WORDS = "the parish register of the year was copied by hand 档案馆 目录 "
YEAR_BEGIN = datetime(2025, 12, 1, 22, tzinfo=UTC)


def write_lines(workspace: Path, records: Iterator[Record], failures: Iterator[Failure], run: RunFile) -> Path:
    """Write a workspace with these lines, and return it."""
    workspace.mkdir(parents=True, exist_ok=True)
    write_run_file(workspace, run)
    with (workspace / "results.jsonl").open("wb") as file:
        file.writelines(map(encode_record, records))
    with (workspace / "failures.jsonl").open("wb") as file:
        file.writelines(map(encode_failure, failures))
    return workspace


def write_year(directory: Path, *, nights: int = 365, per_night: int = 40, seed: int = 1) -> Path:
    """Write the workspace of a nightly run with copies, blank pages and failures, and its ledger; return the former."""
    ledger = directory / "ledger.sqlite3"
    run = RunFile(
        workspace_id=WORKSPACE_ID,
        version="0",
        service="vendor",
        started="2026-11-29T22:00:00Z",
        finished="2026-11-29T23:10:00Z",
        exit_code=3,
        settings={"budget": {"quota": 40 * per_night}},
        metered=MeteredRun(service="vendor", ledger=str(ledger), key="k"),
    )
    workspace = write_lines(
        directory / "nights",
        year_records(random.Random(seed), nights, per_night),
        year_failures(random.Random(seed), nights),
        run,
    )
    write_ledger(ledger, nights, per_night)
    return workspace


def year_records(chance: random.Random, nights: int, per_night: int) -> Iterator[Record]:
    """Yield a year's records: more in some months, none on some nights, slower towards the end."""
    number = 0
    for night in range(nights):
        if night % 45 in {30, 31, 32}:  # a holiday
            continue
        begin = YEAR_BEGIN + timedelta(days=night)
        for place in range(chance.randrange(per_night // 2, per_night * 2)):
            number += 1
            yield year_record(chance, number, begin + timedelta(seconds=place * 60 + chance.random() * 60), night)


def year_record(chance: random.Random, number: int, added: datetime, night: int) -> Record:
    """Return one of a year's records."""
    kind = chance.random()
    score = round(min(1.0, max(0.0, chance.gauss(0.86, 0.16))), 4)
    quality = Quality(score, 0.5, Confidence(score, score), 0.1, 0.0, "f32")
    record = Record(
        id=PageId(f"sha256:{number:064x}#1"),
        source=f"box-{number // 500:03}/page-{number:06}.png",
        page=1,
        sha256=f"{number:064x}",
        text=(WORDS * 80)[: int(chance.lognormvariate(6.2, 1.1))],
        duplicate_of=None,
        prep=None,
        reply=Reply("doc", 1, "host"),
        attempts=(f"owner-{number:06}",),
        elapsed_ms=int(chance.lognormvariate(7 + night / 900, 0.5)),
        added=rfc3339(added),
        quality=quality,
    )
    if kind < 0.12:
        return replace(record, duplicate_of="box-000/page-000001.png", attempts=(), quality=None, elapsed_ms=3)
    if kind < 0.18:
        skipped = Skipped("blank", 0.0001)
        return replace(record, text="", attempts=(), quality=None, elapsed_ms=12, skipped=skipped)
    return record


def year_failures(chance: random.Random, nights: int) -> Iterator[Failure]:
    """Yield failures that stand: a few each week, and a bad week."""
    classes = ("attempts-exhausted", "rejected", "truncated", "unsupported", "uncertain")
    number = 0
    for night in range(nights):
        for _ in range(chance.randrange(3) + (25 if 200 <= night < 207 else 0)):
            number += 1
            error = chance.choices(classes, (8, 4, 3, 2, 1))[0]
            added = rfc3339(YEAR_BEGIN + timedelta(days=night, minutes=number % 90))
            yield Failure(
                PageId(f"sha256:{10**9 + number:064x}#1"), f"bad/{number:05}.tif", 1, error, "why", 3,
                retryable=number % 3 > 0, added=added,
            )  # fmt: skip


def write_ledger(path: Path, nights: int, per_night: int) -> None:
    """Write a ledger whose closed months are folded, except the last three months' rows."""
    database = DurableDatabase(path, LEDGER)
    with database.transaction() as db:
        for night in range(nights):
            moment = YEAR_BEGIN + timedelta(days=night)
            month = billing_month(moment, Calendar())
            db.execute("INSERT OR IGNORE INTO month (month, begun) VALUES (?, 1)", (month,))
            if month < "2026-09":
                db.execute("UPDATE month SET folded = folded + ? WHERE month = ?", (per_night, month))
                continue
            for call in range(per_night + night % 9):
                owner = WORKSPACE_ID if call % 4 else "another"
                row = (f"{night}-{call}", "p", "s", month, "accepted", owner, "o", rfc3339(moment), month)
                db.execute(
                    "INSERT INTO attempt (id, page, source, month, state, workspace, owner, added, until)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
        for statement in RECOUNT:
            db.execute(statement)
    database.close()
