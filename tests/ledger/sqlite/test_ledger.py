"""The ledger: each call is counted before it is made, whatever crashes, and with other processes on the same file."""

import itertools
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.billing import CLOCK_MARGIN, Calendar, QuotaRefusal
from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.operations import Permit, Reserve, Settle
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import LEDGER
from pipeline.records import PageId
from tests.clocks import Clock
from tests.ledgers import read_attempt_states
from tests.runs import ROOT

PAGE = PageId("sha256:00#1")
JANUARY = datetime(2026, 1, 15, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
NUMBERS = itertools.count(1)


def new_id() -> str:
    """Return an id that no attempt has yet."""
    return f"attempt-{next(NUMBERS)}"


@contextmanager
def opened(path: Path, limit: int | None = None, clock: Clock | None = None) -> Iterator[SqliteLedger]:
    """Open a ledger and close it again."""
    ledger = SqliteLedger(path, Calendar(), limit, now=clock or Clock(JANUARY))
    try:
        yield ledger
    finally:
        ledger.close()


def reserve(ledger: SqliteLedger, count: int = 1, *, workspace_id: str = "w", owner: str = "o") -> list[str]:
    """Reserve in one group; return the ids of the attempts granted."""
    results = ledger.execute([Reserve(PAGE)] * count, workspace_id, owner, new_id)
    return [result.attempt for result in results if isinstance(result, Permit)]


def settle(ledger: SqliteLedger, attempt: str, state: AttemptState) -> None:
    """Settle one reservation."""
    assert ledger.execute([Settle(attempt, state)], "w", "o", new_id) == [None]


def _put_other(path: Path) -> None:
    other = path.with_name("other.sqlite3")
    with opened(other):
        pass
    other.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a ledger may be made."""
    return tmp_path / "state" / "ledger.sqlite3"


class TestCounting:
    def test_all_but_void_counts(self, path: Path) -> None:
        with opened(path, 10) as ledger:
            _, posted, void, unknown = reserve(ledger, 4)
            settle(ledger, posted, AttemptState.POSTED)
            settle(ledger, void, AttemptState.VOID)
            settle(ledger, unknown, AttemptState.UNKNOWN)
            usage = ledger.usage()
        assert (usage.used, usage.pending, usage.unknown, usage.left) == (3, 1, 1, 7)

    def test_a_group_is_granted_up_to_the_limit_and_the_rest_is_refused_with_the_reset(self, path: Path) -> None:
        with opened(path, 3) as ledger:
            results = ledger.execute([Reserve(PAGE)] * 5, "w", "o", new_id)
            assert ledger.left == 0
        assert [type(result) for result in results] == [Permit] * 3 + [QuotaRefusal] * 2
        assert str(results[-1]) == "the month's 3 calls are used up; they reset on 2026-02-01 00:00 UTC"

    def test_a_voided_call_may_be_made_again(self, path: Path) -> None:
        with opened(path, 1) as ledger:
            (attempt,) = reserve(ledger)
            assert reserve(ledger) == []
            settle(ledger, attempt, AttemptState.VOID)
            assert len(reserve(ledger)) == 1

    def test_settlements_of_a_group_take_effect_before_its_reservations(self, path: Path) -> None:
        with opened(path, 2) as ledger:
            first, second = reserve(ledger, 2)
            results = ledger.execute([Reserve(PAGE), Settle(first, AttemptState.VOID)], "w", "o", new_id)
            assert [type(result) for result in results] == [Permit, type(None)]
            ledger.execute([Settle(second, AttemptState.VOID)], "w", "o", new_id)
            assert ledger.left == ledger.usage().left == 1

    def test_without_a_limit_calls_are_counted(self, path: Path) -> None:
        with opened(path) as ledger:
            assert len(reserve(ledger, 100)) == 100
            assert (ledger.usage().used, ledger.usage().left, ledger.left) == (100, None, None)

    def test_a_ledger_that_was_just_opened_knows_how_many_calls_are_left(self, path: Path) -> None:
        with opened(path, 10) as ledger:
            reserve(ledger, 4)
        with opened(path, 10) as ledger:
            assert ledger.left == 6

    @pytest.mark.parametrize("used", [pytest.param(value, id=f"dashboard-{value}") for value in (0, 3, 4000)])
    def test_already_used_replaces_the_months_count(self, path: Path, used: int) -> None:
        """Calls in flight count on top of it."""
        with opened(path, 5000) as ledger:
            posted, *_ = reserve(ledger, 3)
            settle(ledger, posted, AttemptState.POSTED)
            assert ledger.set_used(used).used == used + 2
            assert ledger.set_used(used).used == used + 2
            reserve(ledger)
            assert ledger.usage().used == used + 3

    def test_already_used_beyond_the_limit_refuses_calls(self, path: Path) -> None:
        with opened(path, 5) as ledger:
            assert ledger.set_used(7).left == 0
            assert reserve(ledger) == []


class TestMonths:
    def test_a_new_month_has_the_whole_quota_and_the_old_one_keeps_its_count(self, path: Path) -> None:
        clock = Clock(END - 2 * CLOCK_MARGIN)
        with opened(path, 2, clock) as ledger:
            for attempt in reserve(ledger, 2):
                settle(ledger, attempt, AttemptState.POSTED)
            assert reserve(ledger) == []
            clock.now = END + CLOCK_MARGIN
            assert len(reserve(ledger, 3)) == 2
            assert (ledger.usage("2026-01").used, ledger.usage("2026-02").used) == (2, 2)
            assert ledger.months() == ["2026-01", "2026-02"]

    @pytest.mark.parametrize(
        ("reserved", "settled", "months"),
        [
            pytest.param(-61, -60.1, ["2026-01"], id="certainly-before"),
            pytest.param(-61, -60, ["2026-01", "2026-02"], id="the-vendors-clock-may-be-ahead"),
            pytest.param(-3600, 3600, ["2026-01", "2026-02"], id="it-waited-over-midnight"),
            pytest.param(59.9, 70, ["2026-01", "2026-02"], id="the-vendors-clock-may-be-behind"),
            pytest.param(60, 61, ["2026-02"], id="certainly-after"),
            pytest.param(-61, 30 * 86400, ["2026-01", "2026-02", "2026-03"], id="a-machine-that-slept"),
        ],
    )
    @pytest.mark.parametrize(
        "state", [AttemptState.ACCEPTED, AttemptState.CHARGED, AttemptState.POSTED, AttemptState.UNKNOWN]
    )
    def test_a_call_counts_in_every_month_in_which_the_vendor_may_bill_it(
        self, path: Path, reserved: float, settled: float, months: list[str], state: AttemptState
    ) -> None:
        """From a margin before its reservation to a margin after its end; also when its row is folded."""
        clock = Clock(END + timedelta(seconds=reserved))
        with opened(path, 10, clock) as ledger:
            (attempt,) = reserve(ledger)
            clock.now = END + timedelta(seconds=settled)
            if state is not AttemptState.UNKNOWN:
                settle(ledger, attempt, state)
            else:
                ledger.recover([], ledger.open_attempts("w", lambda _: False))
        for _ in range(3):
            with opened(path, 10, clock) as ledger:
                counted = [month for month in ("2025-12", "2026-01", "2026-02", "2026-03") if ledger.usage(month).used]
                assert counted == months
            clock.now += timedelta(days=40)

    def test_a_pending_call_of_a_living_run_counts_in_every_month_up_to_now(self, path: Path) -> None:
        """Once its run is known to be dead, no later month is added."""
        clock = Clock(JANUARY)
        with opened(path, 10, clock) as ledger:
            reserve(ledger, workspace_id="other")
            clock.now += timedelta(days=60)
            assert [ledger.usage(f"2026-0{month}").pending for month in (1, 2, 3, 4)] == [1, 1, 1, 0]
            assert ledger.open_attempts("w", lambda _: True) == []
            clock.now += timedelta(days=30)
            assert ledger.usage().pending == 1
            assert ledger.open_attempts("w", lambda _: False) == []
            clock.now += timedelta(days=30)
            assert [ledger.usage(f"2026-0{month}").pending for month in (1, 4, 5)] == [1, 1, 0]

    @pytest.mark.parametrize(
        ("now", "used", "resets", "wait_s"),
        [
            pytest.param(-600, "2026-01", "2026-02-01", 660, id="long-before"),
            pytest.param(-30, "2026-01", "2026-02-01", 90, id="shortly-before"),
            pytest.param(0, "2026-01", "2026-02-01", 60, id="a-cron-job-at-midnight"),
            pytest.param(59, "2026-01", "2026-02-01", 1, id="shortly-after"),
            pytest.param(-30, "2026-02", "2026-03-01", 28 * 86400 + 90, id="the-next-month-is-used-up"),
        ],
    )
    def test_about_the_reset_a_reservation_needs_room_in_both_months(
        self, path: Path, now: int, used: str, resets: str, wait_s: int
    ) -> None:
        """The wait ends when the month that is used up is certainly over."""
        clock = Clock(END - timedelta(hours=1) if used == "2026-01" else END + timedelta(seconds=30))
        with opened(path, 5, clock) as ledger:
            ledger.set_used(5)
            clock.now = END + timedelta(seconds=now)
            (refusal,) = ledger.execute([Reserve(PAGE)], "w", "o", new_id)
            assert isinstance(refusal, QuotaRefusal)
            assert (f"{refusal.resets:%Y-%m-%d}", refusal.wait_s) == (resets, wait_s)
            assert refusal.passes_soon == (wait_s <= 120)
            clock.now += timedelta(seconds=wait_s)
            assert len(reserve(ledger)) == 1

    def test_a_clock_that_moves_back_opens_no_earlier_month(self, path: Path) -> None:
        clock = Clock(JANUARY)
        with opened(path, 2, clock) as ledger:
            reserve(ledger, 2)
        clock.now -= timedelta(days=40)
        with opened(path, 2, clock) as ledger:
            assert reserve(ledger) == []
            assert ledger.usage().month == "2026-01"

    def test_settled_rows_of_earlier_months_fold_into_counts(self, path: Path) -> None:
        """Settled rows of earlier months go; rows that are open, or that ended in the current month, stay."""
        clock = Clock(JANUARY)
        with opened(path, 100, clock) as ledger:
            ids = reserve(ledger, 10)
            for attempt in ids[:5]:
                settle(ledger, attempt, AttemptState.POSTED)
            settle(ledger, ids[5], AttemptState.VOID)
            settle(ledger, ids[6], AttemptState.UNKNOWN)
            ledger.set_used(50)
        clock.now += timedelta(days=30)
        for _ in range(2):
            with opened(path, 100, clock) as ledger:
                assert ledger.usage("2026-01").used == 53
                assert set(read_attempt_states(ledger.path, "w")) == set(ids[6:])
        with opened(path, 100, clock) as ledger:
            settle(ledger, ids[7], AttemptState.POSTED)
            settle(ledger, ids[8], AttemptState.VOID)
        for kept in (ids[6:], [ids[6], ids[9]]):
            with opened(path, 100, clock) as ledger:
                assert ledger.usage("2026-01").used == 52
                assert ledger.usage("2026-02").used == 2
                assert set(read_attempt_states(ledger.path, "w")) == set(kept)
            clock.now += timedelta(days=30)

    def test_rows_of_the_current_month_are_not_folded(self, path: Path) -> None:
        with opened(path) as ledger:
            (attempt,) = reserve(ledger)
            settle(ledger, attempt, AttemptState.POSTED)
        with opened(path) as ledger:
            assert read_attempt_states(ledger.path, "w") == {attempt: AttemptState.POSTED}


class TestRecovery:
    def test_only_open_attempts_of_this_workspaces_dead_owners_are_found(self, path: Path) -> None:
        with opened(path) as ledger:
            pending, unknown, posted = reserve(ledger, 3, owner="dead")
            settle(ledger, unknown, AttemptState.UNKNOWN)
            settle(ledger, posted, AttemptState.POSTED)
            reserve(ledger, owner="alive")
            reserve(ledger, owner="dead", workspace_id="other")
        with opened(path) as ledger:
            found = ledger.open_attempts("w", lambda owner: owner == "alive")
            assert found == [
                OpenAttempt(pending, PAGE, AttemptState.PENDING),
                OpenAttempt(unknown, PAGE, AttemptState.UNKNOWN),
            ]

    def test_recovery_counts_attempts_with_and_without_proof(self, path: Path) -> None:
        """An attempt that is unknown becomes accepted when its proof is found later."""
        with opened(path, 10) as ledger:
            reserve(ledger, 2, owner="dead")
            first, second = ledger.open_attempts("w", lambda _: False)
            ledger.recover([first], [second])
            assert read_attempt_states(ledger.path, "w") == {
                first.id: AttemptState.ACCEPTED,
                second.id: AttemptState.UNKNOWN,
            }
            assert ledger.usage().used == 2
            (again,) = ledger.open_attempts("w", lambda _: False)
            ledger.recover([again], [])
            assert read_attempt_states(ledger.path, "w")[second.id] is AttemptState.ACCEPTED


class TestFailingClosed:
    """No call goes out without a ledger that can be trusted."""

    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(lambda path: path.write_bytes(os.urandom(8192)), id="random-bytes"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-4096]), id="cut"),
            pytest.param(
                lambda path: path.write_bytes(path.read_bytes()[:8192] + b"\xff" * (path.stat().st_size - 8192)),
                id="overwritten",
            ),
            pytest.param(lambda path: _run_sql(path, "PRAGMA user_version = 99"), id="later-format"),
            pytest.param(lambda path: _run_sql(path, "PRAGMA application_id = 1"), id="other-application"),
        ],
    )
    def test_a_damaged_ledger_is_not_opened(self, path: Path, harm: Callable[[Path], object]) -> None:
        """The error names the file, and the file is not changed."""
        with opened(path) as ledger:
            reserve(ledger, 200)
        harm(path)
        content = path.read_bytes()
        with pytest.raises(LedgerError, match=re.escape(str(path))) as raised:
            SqliteLedger(path, Calendar(), None)
        assert raised.value.exit_code == 1
        assert path.read_bytes() == content

    def test_damage_to_any_page_of_the_file_is_found(self, path: Path) -> None:
        with opened(path) as ledger:
            reserve(ledger, 300)
        content = path.read_bytes()
        pages = len(content) // 4096
        assert pages > 10
        for page in range(pages):
            path.write_bytes(content[: page * 4096] + b"\x80" * 4096 + content[(page + 1) * 4096 :])
            with pytest.raises(LedgerError):
                SqliteLedger(path, Calendar(), None)

    def test_a_damaged_schema_is_a_ledger_error(self, path: Path) -> None:
        """SQLite quotes the damage in its message, in bytes that are not UTF-8."""
        with opened(path):
            pass
        content = path.read_bytes()
        at = content.index(b"workspace TEXT")
        path.write_bytes(content[:at] + b"\x80(" + content[at + 2 :])
        with pytest.raises(LedgerError):
            SqliteLedger(path, Calendar(), None)

    def test_a_read_only_ledger_is_not_opened(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "ledger.sqlite3"
            with opened(path):
                pass
            path.chmod(0o444)
            Path(directory).chmod(0o555)
            try:
                with _unprivileged(), pytest.raises(LedgerError, match="readonly"):
                    SqliteLedger(path, Calendar(), None)
            finally:
                Path(directory).chmod(0o755)

    @pytest.mark.parametrize("taken_by", [pytest.param("directory", id="directory"), pytest.param("file", id="file")])
    def test_a_ledger_that_cannot_be_made_is_an_error(self, tmp_path: Path, taken_by: str) -> None:
        """A directory is in its place, or a file in its directory's place."""
        path = tmp_path / "state" / "ledger.sqlite3"
        if taken_by == "directory":
            path.mkdir(parents=True)
        else:
            path.parent.touch()
        with pytest.raises(LedgerError, match=r"ledger\.sqlite3"):
            SqliteLedger(path, Calendar(), None)

    @pytest.mark.parametrize(
        "swap",
        [
            pytest.param(lambda path: path.unlink(), id="deleted"),
            pytest.param(_put_other, id="replaced"),
            pytest.param(lambda path: path.rename(path.with_name("moved")), id="moved"),
        ],
    )
    def test_a_ledger_that_is_swapped_while_in_use_reserves_nothing(
        self, path: Path, swap: Callable[[Path], object]
    ) -> None:
        """SQLite alone would go on writing to the deleted file."""
        with opened(path, 10) as ledger:
            (attempt,) = reserve(ledger)
            swap(path)
            with pytest.raises(LedgerError, match="no call goes out without it"):
                reserve(ledger)
            with pytest.raises(LedgerError):
                settle(ledger, attempt, AttemptState.VOID)
            with pytest.raises(LedgerError):
                ledger.usage()
        if path.exists():
            with opened(path, 10) as other:
                assert other.usage().used == 0

    def test_a_group_that_fails_in_the_middle_reserves_nothing(self, path: Path) -> None:
        with opened(path, 10) as ledger:
            (taken,) = reserve(ledger)
            ids = iter(["fresh", taken])
            with pytest.raises(LedgerError):
                ledger.execute([Reserve(PAGE), Reserve(PAGE)], "w", "o", lambda: next(ids))
            assert set(read_attempt_states(ledger.path, "w")) == {taken}
            assert len(reserve(ledger)) == 1

    def test_a_ledger_that_stays_locked_is_an_error_and_works_again_afterwards(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.ledger.sqlite.ledger.LEDGER", replace(LEDGER, busy_timeout_s=0.01))
        with opened(path) as ledger:
            other = sqlite3.connect(path, isolation_level=None)
            try:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(LedgerError, match="locked"):
                    reserve(ledger)
                other.execute("ROLLBACK")
                assert len(reserve(ledger)) == 1
            finally:
                other.close()


RESERVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.operations import Permit, Reserve
from pipeline.records import PageId
from pipeline.billing import Calendar
import itertools

path, name, limit, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
numbers = itertools.count()
print("ready", flush=True)
sys.stdin.readline()
ledger = SqliteLedger(path, Calendar(), limit, now=lambda: datetime(2026, 1, 15, tzinfo=UTC))
while True:
    results = ledger.execute([Reserve(PageId(name))] * size, name, name, lambda: f"{name}-{next(numbers)}")
    granted = [result.attempt for result in results if isinstance(result, Permit)]
    print(*granted, sep="\\n", flush=True)
    if len(granted) < size:
        break
"""


class TestProcesses:
    """Several processes with one key."""

    @pytest.mark.parametrize("size", [pytest.param(1, id="one-at-a-time"), pytest.param(7, id="in-groups")])
    def test_processes_together_get_exactly_the_limit(self, path: Path, size: int) -> None:
        """Four processes start together, make the ledger and reserve until they are refused."""
        limit = 60
        processes = [_start(RESERVER, path, f"p{number}", limit, size) for number in range(4)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        granted = [line for process in processes for line in process.communicate(timeout=60)[0].split()]
        assert [process.returncode for process in processes] == [0] * 4
        assert len(set(granted)) == len(granted) == limit
        with opened(path, limit) as ledger:
            assert ledger.usage().used == limit

    def test_a_reservation_is_on_disk_before_its_id_is_returned(self, path: Path) -> None:
        """Strace sees two syncs before each answer: the ledger, then its journal, which the commit invalidates."""
        path.parent.mkdir()
        log = path.parent / "strace.log"
        command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,write", "-o", str(log)]
        process = _start(RESERVER, path, "p", 3, 1, prefix=command)
        assert "p-2" in process.communicate("\n", timeout=60)[0]
        message = re.split(r'write\(1<[^>]*>, "p-\d', log.read_text())
        assert len(message) == 4
        for before in message[:3]:
            synced = re.findall(r"(?:fsync|fdatasync)\([^)]*?([^/\">]*)[\">]*\)", before)
            assert synced[-2:] == [path.name, f"{path.name}-journal"]


def _run_sql(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def _start(script: str, *arguments: object, prefix: Sequence[str] = ()) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Drop root's right to write everywhere, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.seteuid(0)


def test_tonights_share_counts_the_calls_since_noon_of_this_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the void ones, and not those of the night before."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    clock = Clock(datetime(2026, 1, 30, 22, tzinfo=UTC).astimezone())
    with opened(tmp_path / "ledger", limit=100, clock=clock) as ledger:
        reserve(ledger, 10)
        share = ledger.night_share()
        assert share is not None
        assert (share.used, share.nights, share.share, share.calls) == (10, 2, 50, 40)

        clock.now += timedelta(hours=3)  # by the clock alone, one night would be left
        share = ledger.night_share()
        assert share is not None
        assert (share.used, share.nights, share.share, share.calls) == (10, 2, 50, 40)

        clock.now += timedelta(hours=21)
        voided = reserve(ledger, 5)
        ledger.execute([Settle(attempt, AttemptState.VOID) for attempt in voided], "w", "o", new_id)
        share = ledger.night_share()
        assert share is not None
        assert (share.used, share.nights, share.calls, share.is_rest) == (0, 1, 90, True)

        clock.now += timedelta(hours=3)  # February, in the same night
        share = ledger.night_share()
        assert share is not None
        assert (share.used, share.nights, share.share) == (0, 28, 4)


def test_without_a_limit_there_is_no_share(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger") as ledger:
        assert ledger.night_share() is None
