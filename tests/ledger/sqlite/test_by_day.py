"""The calls of a ledger by month and day."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import LedgerError
from pipeline.ledger.base import MonthCalls
from pipeline.ledger.sqlite.by_day import read_calls_by_day
from pipeline.ledger.sqlite.schema import LEDGER
from pipeline.storage.sqlite import DurableDatabase

Row = tuple[str, str, str | None, str, str]
"""First month, state, last month, workspace, time."""


def write(path: Path, months: Sequence[tuple[str, int, int]], rows: Sequence[Row]) -> Path:
    """Write a ledger with months (name, folded, adjustment) and rows."""
    database = DurableDatabase(path, LEDGER)
    with database.transaction() as db:
        db.executemany("INSERT INTO month (month, folded, adjustment) VALUES (?, ?, ?)", months)
        for number, (month, state, until, workspace, added) in enumerate(rows):
            db.execute(
                "INSERT INTO attempt (id, page, source, month, state, workspace, owner, added, until)"
                " VALUES (?, 'p', 's', ?, ?, ?, 'o', ?, ?)",
                (str(number), month, state, workspace, added, until),
            )
    database.close()
    return path


def day_of(added: str) -> int | None:
    return int(added[8:10]) if added[8:10].isdigit() else None


def test_calls_count_on_their_days_and_those_without_a_row_before_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "ledger.sqlite3",
        [("2026-09", 40, 0), ("2026-10", 3, -1), ("2026-11", 0, 0)],
        [
            ("2026-10", "accepted", "2026-10", "here", "2026-10-05T10:00:00Z"),
            ("2026-10", "charged", "2026-10", "here", "2026-10-05T11:00:00Z"),
            ("2026-10", "void", "2026-10", "here", "2026-10-06T10:00:00Z"),
            ("2026-10", "accepted", "2026-11", "there", "2026-10-31T23:59:00Z"),  # may be billed in either
            ("2026-11", "pending", None, "here", "2026-11-02T10:00:00Z"),
            ("2026-11", "unknown", "2026-11", "there", "not a time"),
        ],
    )
    assert read_calls_by_day(path, "here", day_of) == [
        MonthCalls("2026-09", 40, {}, 0),
        MonthCalls("2026-10", 2, {5: 2, 31: 1}, 2),
        MonthCalls("2026-11", 1, {31: 1, 2: 1}, 1),
    ]
    assert [month.total for month in read_calls_by_day(path, "here", day_of)] == [40, 5, 3]


def test_a_ledger_that_is_none_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3"):
        read_calls_by_day(path, "here", day_of)
    assert path.read_bytes() == b"x" * 5000


def test_a_ledger_of_another_release_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "ledger.sqlite3", [], [])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(LedgerError, match="another release"):
        read_calls_by_day(path, "here", day_of)
