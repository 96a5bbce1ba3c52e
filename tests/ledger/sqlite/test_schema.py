"""The ledger's file: upgrades lose no count, network filesystems are refused, transactions are whole."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.billing import Calendar
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.base import LedgerMark
from pipeline.ledger.operations import Permit, Reserve, Settle
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import LEDGER, find_mark, read_folded
from pipeline.records import PageId
from pipeline.storage.sqlite import DurableDatabase
from tests.ledgers import read_attempt_states

PAGE = PageId("sha256:00#1")

FORMAT_1 = """
CREATE TABLE attempt (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, page TEXT NOT NULL, source TEXT NOT NULL, month TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'void', 'unknown')), workspace TEXT NOT NULL,
  owner TEXT NOT NULL, added TEXT NOT NULL
);
CREATE INDEX attempt_by_month ON attempt (month, state);
CREATE INDEX attempt_open ON attempt (workspace, state) WHERE state IN ('pending', 'unknown');
CREATE TABLE month (month TEXT PRIMARY KEY, folded INTEGER NOT NULL DEFAULT 0, adjustment INTEGER NOT NULL DEFAULT 0)
  WITHOUT ROWID;
INSERT INTO attempt (id, page, source, month, state, workspace, owner, added) VALUES
  ('a', 'p', 's', '2026-01', 'posted', 'w', 'o', ''), ('b', 'p', 's', '2026-02', 'posted', 'w', 'o', ''),
  ('c', 'p', 's', '2026-02', 'void', 'w', 'o', ''), ('d', 'p', 's', '2026-01', 'unknown', 'w', 'o', ''),
  ('e', 'p', 's', '2026-01', 'pending', 'w', 'o', ''), ('f', 'p', 's', '2026-02', 'pending', 'w', 'o', '');
INSERT INTO month VALUES ('2025-12', 7, 0), ('2026-01', 0, 20);
PRAGMA application_id = 0x504D4C31;
PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may be made."""
    return tmp_path / "ledger.sqlite3"


@contextmanager
def opened(path: Path, now: datetime = datetime(2026, 2, 15, tzinfo=UTC)) -> Iterator[SqliteLedger]:
    """Open a ledger of thirty calls a month in February, and close it again."""
    with closing(SqliteLedger(path, Calendar(), 30, now=lambda: now)) as ledger:
        yield ledger


class TestUpgrade:
    """A ledger of format 1."""

    @pytest.fixture(autouse=True)
    def _old(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(FORMAT_1)

    def test_every_month_keeps_its_count(self, path: Path) -> None:
        """Each month counts its calls; calls without an outcome count in the latest month, too."""
        for _ in range(2):
            with opened(path) as ledger:
                used = {month: ledger.usage(month).used for month in ledger.months()}
            assert used == {"2025-12": 7, "2026-01": 23, "2026-02": 4}
        states = read_attempt_states(path, "w")
        assert (states["b"], states["d"], states["e"]) == (
            AttemptState.POSTED,
            AttemptState.UNKNOWN,
            AttemptState.PENDING,
        )

    def test_open_calls_are_settled_and_new_ones_reserved_up_to_the_limit(self, path: Path) -> None:
        with opened(path) as ledger:
            ledger.execute([Settle("f", AttemptState.VOID)], "w", "o", str)
            ids = iter(map(str, range(99)))
            granted = ledger.execute([Reserve(PAGE)] * 40, "w", "o", lambda: next(ids))
            assert sum(isinstance(result, Permit) for result in granted) == 27
            assert ledger.usage().left == 0

    def test_a_clock_that_moved_back_opens_no_earlier_month(self, path: Path) -> None:
        with opened(path, datetime(2025, 11, 1, tzinfo=UTC)) as ledger:
            assert ledger.usage().month == "2026-02"

    def test_a_crash_in_the_middle_leaves_the_old_format(self, path: Path) -> None:
        """An error in the last statement undoes the others."""
        crashing = replace(LEDGER, upgrades={1: (*LEDGER.upgrades[1], "SELECT * FROM nothing")})
        with pytest.raises(LedgerError):
            DurableDatabase(path, crashing)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (1,)
            assert len(db.execute("PRAGMA table_info(attempt)").fetchall()) == 9


def test_a_ledger_on_a_network_filesystem_is_refused(network_mount: Path) -> None:
    """The error names the file, the filesystem and the flag; no file is made."""
    with pytest.raises(LedgerError, match=r"far away/state/l\.sqlite3.*nfs4.*--ledger") as raised:
        DurableDatabase(network_mount / "state" / "l.sqlite3", LEDGER)
    assert raised.value.exit_code == 1
    assert list(network_mount.iterdir()) == []


class TestTransactions:
    """Whole, or not at all."""

    def test_a_commit_that_fails_writes_nothing_and_keeps_no_lock(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader holds the file for too long; afterwards no lock remains."""
        monkeypatch.setattr("pipeline.ledger.sqlite.ledger.LEDGER", replace(LEDGER, busy_timeout_s=0.01))
        with opened(path) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM attempt").fetchall()
            with pytest.raises(LedgerError, match="locked"):
                ledger.execute([Reserve(PAGE)], "w", "o", lambda: "a")
            reader.execute("COMMIT")
            reader.execute("BEGIN IMMEDIATE")
            reader.execute("ROLLBACK")
            assert ledger.execute([Reserve(PAGE)], "w", "o", lambda: "b") == [Permit("b")]
        assert set(read_attempt_states(path, "w")) == {"b"}

    def test_a_file_that_is_deleted_during_the_commit_reserves_nothing(self, path: Path) -> None:
        with opened(path) as ledger:

            def delete() -> str:
                path.unlink()
                return "a"

            with pytest.raises(LedgerError):
                ledger.execute([Reserve(PAGE)], "w", "o", delete)

    def test_a_settlement_of_an_attempt_without_a_row_is_an_error(self, path: Path) -> None:
        """A ledger that lost one call may have lost others."""
        with opened(path) as ledger, pytest.raises(LedgerError, match="it has lost the call x"):
            ledger.execute([Reserve(PAGE), Settle("x", AttemptState.POSTED)], "w", "o", lambda: "a")
        assert read_attempt_states(path, "w") == {}


def test_an_audit_reads_rows_by_id_and_folded_rows_by_month(path: Path) -> None:
    with opened(path, datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)) as ledger:
        ids = iter("abcd")
        ledger.execute([Reserve(PAGE)] * 2, "w", "o", lambda: next(ids))
        ledger.execute([Settle("a", AttemptState.POSTED)], "w", "o", str)
    assert read_attempt_states(path, "w") == {"a": AttemptState.POSTED, "b": AttemptState.PENDING}
    assert read_folded(path) == {"2026-01": 0, "2026-02": 0}
    with opened(path, datetime(2026, 3, 15, tzinfo=UTC)) as ledger:
        assert ledger.usage().pending == 1
    assert read_attempt_states(path, "w") == {"b": AttemptState.PENDING}
    assert read_folded(path) == {"2026-01": 1, "2026-02": 1}
    assert read_attempt_states(path, "other") == {}


def test_the_mark_of_a_ledger_is_read_after_a_crash_in_the_middle_of_a_commit(path: Path) -> None:
    """Its journal must be applied first; a missing ledger has none and is not made."""
    assert find_mark(path) is None
    assert not path.exists()
    with opened(path) as ledger:
        ledger.execute([Reserve(PAGE)], "w", "o", lambda: "a")
        mark = ledger.mark()
    journal = path.with_name(f"{path.name}-journal")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = PERSIST")
        db.execute("PRAGMA cache_size = 1")  # so that a part of the transaction is already in the file
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n"
        columns = "page, source, month, state, workspace, owner, added, until"
        db.execute(f"INSERT INTO attempt SELECT NULL, randomblob(9), {columns} FROM attempt, ({numbers})")
        db.execute("UPDATE month SET reserved = 77")
        torn = {file: file.read_bytes() for file in (path, journal)}
    for file, content in torn.items():
        file.write_bytes(content)
    assert find_mark(path) == mark == LedgerMark(mark.id, 1)
