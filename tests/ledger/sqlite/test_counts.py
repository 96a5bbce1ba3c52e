"""The kept counts: each change of a row changes them, and `verify` finds those that the rows contradict."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.billing import Calendar
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Reserve, Settle
from pipeline.ledger.sqlite.counts import peek_usage
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import read_miscounts
from pipeline.records import PageId
from tests.clocks import Clock

PAGE = PageId("sha256:00#1")
JANUARY = datetime(2026, 1, 15, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may be made."""
    return tmp_path / "ledger.sqlite3"


def reserve_and_settle(ledger: SqliteLedger, workspace_id: str, states: dict[str, AttemptState]) -> None:
    """Reserve calls with these ids, and settle them."""
    ids = iter(states)
    ledger.execute([Reserve(PAGE)] * len(states), workspace_id, "o", lambda: next(ids))
    ledger.execute([Settle(attempt, state) for attempt, state in states.items()], workspace_id, "o", str)


class TestAcceptedCalls:
    def test_folded_calls_count_per_workspace(self, path: Path) -> None:
        clock = Clock(JANUARY)
        with closing(SqliteLedger(path, Calendar(), None, now=clock)) as ledger:
            reserve_and_settle(ledger, "a", {f"a{n}": AttemptState.ACCEPTED for n in range(5)})
            reserve_and_settle(ledger, "b", {"b1": AttemptState.ACCEPTED, "b2": AttemptState.CHARGED})
            reserve_and_settle(ledger, "b", {"b3": AttemptState.POSTED, "b4": AttemptState.VOID})
        clock.now += timedelta(days=40)
        for _ in range(2):
            with closing(SqliteLedger(path, Calendar(), None, now=clock)) as ledger:
                totals = {name: ledger.accepted_calls(name).total() for name in "abc"}
                assert totals == {"a": 5, "b": 1, "c": 0}
                assert ledger.accepted_calls("a").folded() == 5
                assert ledger.accepted_calls("b").folded_posted() == 1
                assert ledger.usage("2026-01").used == 8
                assert ledger.mark().reserved == 9
                assert list(ledger.accepted_calls("a").find(set)) == []
        with closing(SqliteLedger(path, Calendar(), None, now=clock)) as ledger:
            ledger.accepted_calls("a").charge_folded(2)
            assert (ledger.accepted_calls("a").total(), ledger.usage("2026-01").used) == (3, 8)
        assert list(read_miscounts(path)) == []

    def test_charging_them_keeps_the_months_count(self, path: Path) -> None:
        with closing(SqliteLedger(path, Calendar(), 10, now=Clock(JANUARY))) as ledger:
            reserve_and_settle(ledger, "a", {f"a{n}": AttemptState.ACCEPTED for n in range(5)})
            calls = ledger.accepted_calls("a")
            assert [call.id for group in calls.find(lambda ids: set(ids[1:3])) for call in group] == ["a1", "a2"]
            calls.charge(["a1", "a2"])
            assert (calls.total(), ledger.usage().used, ledger.usage().left) == (3, 5, 5)
            assert calls.find_charged(["a0", "a1", "a2"]) == {"a1", "a2"}
        assert list(read_miscounts(path)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param("UPDATE month SET settled = settled + 2", ("month 2026-01", 5, 3), id="month"),
        pytest.param("UPDATE workspace SET accepted = 0", ("workspace a", 0, 3), id="workspace"),
        pytest.param("DELETE FROM workspace", ("workspace a", 0, 3), id="workspace-unknown"),
    ],
)
def test_a_count_that_the_rows_contradict_is_found(path: Path, change: str, found: tuple[str, int, int]) -> None:
    with closing(SqliteLedger(path, Calendar(), None, now=Clock(JANUARY))) as ledger:
        reserve_and_settle(ledger, "a", {f"a{n}": AttemptState.ACCEPTED for n in range(3)})
    assert list(read_miscounts(path)) == []
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(change)
    assert list(read_miscounts(path)) == [found]


def test_a_commit_counts_no_settled_rows(path: Path) -> None:
    """With a limit each commit asks for the month's count; SQLite's plan touches open rows and one row of `month`."""
    with closing(SqliteLedger(path, Calendar(), 10_000, now=Clock(JANUARY))) as ledger:
        reserve_and_settle(ledger, "a", {f"a{n}": AttemptState.ACCEPTED for n in range(500)})
        visited: list[int] = []
        ledger._file.db.set_progress_handler(lambda: visited.append(1), 100)
        ledger.execute([Reserve(PAGE)], "a", "o", lambda: "next")
        ledger._file.db.set_progress_handler(None, 0)
    assert len(visited) < 10  # of 100 steps of SQLite's virtual machine each; 500 rows would be 20 and more


class TestPeek:
    """The usage for whoever may only read."""

    def test_it_is_the_usage_that_the_ledger_says(self, path: Path) -> None:
        clock = Clock(JANUARY)
        with closing(SqliteLedger(path, Calendar(), 10, now=clock)) as ledger:
            reserve_and_settle(ledger, "a", {f"a{n}": AttemptState.ACCEPTED for n in range(3)})
            ledger.execute([Reserve(PAGE)], "a", "o", lambda: "open")
            before = path.read_bytes()
            assert peek_usage(path, Calendar(), 10, JANUARY) == ledger.usage()
            assert path.read_bytes() == before
            clock.now += timedelta(days=30)
            assert peek_usage(path, Calendar(), 10, clock.now) == ledger.usage()

    def test_what_cannot_be_read_is_said(self, path: Path) -> None:
        path.write_bytes(b"no database" * 100)
        with pytest.raises(LedgerError, match="file is not a database"):
            peek_usage(path, Calendar(), 10, JANUARY)

    def test_an_earlier_format_is_left_for_a_run_to_upgrade(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 2")
        with pytest.raises(LedgerError, match="another release"):
            peek_usage(path, Calendar(), 10, JANUARY)
