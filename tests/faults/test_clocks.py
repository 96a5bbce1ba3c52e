"""Clocks that differ, jump or are wrong: the vendor bills no more calls in a month than the ledger counts in it."""

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from sqlite3 import Connection
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pipeline import billing
from pipeline.billing import (
    CLOCK_MARGIN,
    Calendar,
    Months,
    billing_month,
    possible_months,
    reset_time,
)
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Answer, Operation, Permit, Reserve, Settle
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import read_miscounts
from pipeline.records import PageId
from tests.clocks import Clock
from tests.fakes import serve_fake
from tests.ledgers import read_attempt_states
from tests.pages import write_pages
from tests.runs import KEY, ROOT, run_here
from tests.virtual_time import on_virtual_time

PAGE = PageId("sha256:00#1")
JANUARY = datetime(2026, 1, 15, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
MARGIN_S = CLOCK_MARGIN.total_seconds()
OPEN = {AttemptState.PENDING, AttemptState.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Row:
    """A call in the model."""

    first: str
    until: str | None
    state: AttemptState
    owner: str
    billed: bool = False


class History(RuleBasedStateMachine):
    """Any history of two runs that share a ledger, beside a model that forgets nothing and a vendor with its own clock.

    The vendor's clock never moves back. While the machine's clock is right, they differ by at most the margin; when the
    machine's clock is moved back, the vendor's stays where it was.
    """

    LIMIT: ClassVar = 4
    ledger_type: ClassVar[type[SqliteLedger]] = SqliteLedger
    exact: ClassVar = True

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.clock = Clock(datetime(2026, 1, 31, 23, 57, tzinfo=UTC))
        self.vendor = self.clock.now
        self.owners = itertools.count(1)
        self.numbers = itertools.count(1)
        self.rows: dict[str, Row] = {}
        self.reached: Months | None = None
        self.adjustments: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.other = self.start()
        self.owner, self.ledger = self.start()

    def start(self) -> tuple[str, SqliteLedger]:
        """Start a run."""
        ledger = self.ledger_type(self.directory / "ledger", Calendar(), self.LIMIT, now=self.clock)
        return f"owner-{next(self.owners)}", ledger

    def teardown(self) -> None:
        self.ledger.close()
        self.other[1].close()
        shutil.rmtree(self.directory)

    def possible(self) -> Months:
        """Return the months in which a call counts now."""
        months = possible_months(self.clock.now, Calendar())
        return months if self.reached is None else months.not_before(self.reached)

    def used(self, month: str) -> int:
        """Return the number of calls that count in a month."""
        last = self.possible().last
        counted = [row for row in self.rows.values() if row.first <= month <= (row.until or last)]
        return sum(row.state is not AttemptState.VOID for row in counted) + self.adjustments[month]

    def mine(self) -> list[str]:
        """Return the open calls of the present run."""
        return [key for key, row in self.rows.items() if row.owner == self.owner and row.state is AttemptState.PENDING]

    @rule(count=st.integers(1, 3))
    def reserve(self, count: int) -> None:
        """Calls are granted as long as each possible month has room."""
        self.reached = months = self.possible()
        room = min(max(0, self.LIMIT - self.used(month)) for month in months)
        results = self.ledger.execute([Reserve(PAGE)] * count, "w", self.owner, lambda: f"a{next(self.numbers)}")
        granted = [result.attempt for result in results if isinstance(result, Permit)]
        assert not self.exact or len(granted) == min(count, room)
        for attempt in granted:
            self.rows[attempt] = Row(months.first, None, AttemptState.PENDING, self.owner)

    @precondition(lambda self: self.mine())
    @rule(data=st.data())
    def bill(self, data: st.DataObject) -> None:
        """A call reaches the vendor, who bills it in the month of his clock."""
        attempt = data.draw(st.sampled_from(self.mine()))
        if not self.rows[attempt].billed:
            self.rows[attempt] = replace(self.rows[attempt], billed=True)
            self.billed[billing_month(self.vendor, Calendar())] += 1

    @precondition(lambda self: self.mine())
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Record the outcome of a call."""
        attempt = data.draw(st.sampled_from(self.mine()))
        self.reached = months = self.possible()
        counted = st.sampled_from([AttemptState.ACCEPTED, AttemptState.CHARGED, AttemptState.POSTED])
        state = data.draw(counted if self.rows[attempt].billed else counted | st.just(AttemptState.VOID))
        assert self.ledger.execute([Settle(attempt, state)], "w", self.owner, str) == [None]
        self.rows[attempt] = replace(self.rows[attempt], state=state, until=months.last)

    @rule()
    def switch(self) -> None:
        """The other run acts from now on."""
        self.other, (self.owner, self.ledger) = (self.owner, self.ledger), self.other

    @rule()
    def crash(self) -> None:
        """The run dies and another starts, which folds settled rows of earlier months."""
        self.ledger.close()
        self.owner, self.ledger = self.start()

    @rule(data=st.data())
    def recover(self, data: st.DataObject) -> None:
        """Recover the open calls of dead owners; some have a proof."""
        alive = {self.owner, self.other[0]}
        found = self.ledger.open_attempts("w", alive.__contains__)
        self.reached = months = self.possible()
        dead = {key for key, row in self.rows.items() if row.state in OPEN and row.owner not in alive}
        assert {attempt.id for attempt in found} == dead
        proven = [attempt for attempt in found if data.draw(st.booleans())]
        unproven = [attempt for attempt in found if attempt not in proven]
        self.ledger.recover(proven, unproven)
        for state, attempts in ((AttemptState.ACCEPTED, proven), (AttemptState.UNKNOWN, unproven)):
            for attempt in attempts:
                row = self.rows[attempt.id]
                self.rows[attempt.id] = replace(row, state=state, until=row.until or months.last)

    @rule(
        seconds=st.sampled_from([1, 20, 45, 70, 130, 3600, 15 * 86400, 40 * 86400]),
        skew_s=st.sampled_from([-MARGIN_S, -30, 0, 30, MARGIN_S]),
    )
    def wait(self, seconds: int, skew_s: float) -> None:
        """Time passes."""
        self.set_clock(self.clock.now + timedelta(seconds=seconds), skew_s)

    @rule(
        seconds=st.sampled_from([-130, -90, -60, -30, 0, 30, 59, 60]),
        skew_s=st.sampled_from([-MARGIN_S, -30, 0, 30, MARGIN_S]),
    )
    def wait_for_the_end_of_the_month(self, seconds: int, skew_s: float) -> None:
        """Time passes until about the reset."""
        end = reset_time(billing_month(self.clock.now, Calendar()), Calendar())
        self.set_clock(max(self.clock.now, end + timedelta(seconds=seconds)), skew_s)

    def set_clock(self, now: datetime, skew_s: float) -> None:
        """Set the machine's clock, and the vendor's to one that differs by the skew."""
        self.clock.now = now
        self.vendor = max(self.vendor, now + timedelta(seconds=skew_s))

    @rule(seconds=st.sampled_from([1, 50, 200, 86400, 45 * 86400]))
    def move_clock_back(self, seconds: int) -> None:
        """The machine's clock is wrong from now on; the ledger was in use up to now."""
        self.ledger.execute([], "w", self.owner, str)
        self.reached = self.possible()
        self.clock.now -= timedelta(seconds=seconds)

    @precondition(lambda self: abs(self.vendor - self.clock.now) <= CLOCK_MARGIN)
    @rule(others=st.integers(0, 2))
    def take_over_dashboard(self, others: int) -> None:
        """The user enters the number of the vendor's dashboard; others may use the key."""
        month = max(self.possible().first, billing_month(self.clock.now, Calendar()))
        if billing_month(self.vendor, Calendar()) != month:
            return
        now = possible_months(self.clock.now, Calendar())
        if self.possible().last > now.last:
            self.move_later_months(now)
        before, pending = self.used(month), self.ledger.usage(month).pending
        used = self.billed[month] + others
        assert self.ledger.set_used(used).used == used + pending
        self.reached = self.possible()
        self.adjustments[month] += used + pending - before

    def move_later_months(self, now: Months) -> None:
        """Forget a month that only the margin had made possible, before the clock was moved back by seconds."""
        self.reached = None
        for key, row in self.rows.items():
            assert row.first <= now.last
            self.rows[key] = replace(row, until=row.until and min(row.until, now.last))

    @invariant()
    def the_ledger_counts_all_that_the_vendor_bills(self) -> None:
        """In every month; and the vendor never bills more than the plan allows."""
        for month, billed in self.billed.items():
            assert self.ledger.usage(month).used >= billed, f"{month}: billed {billed}"
            assert billed <= self.LIMIT

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        """Folded or not, a month's count is the number of calls that are not void."""
        if not self.exact:
            return
        for month in self.ledger.months():
            assert self.ledger.usage(month).used == self.used(month), month
        assert self.ledger.usage().month == max(self.possible().first, billing_month(self.clock.now, Calendar()))

    @invariant()
    def the_kept_counts_are_those_of_the_rows(self) -> None:
        assert list(read_miscounts(self.ledger.path)) == []
        accepted = sum(row.state is AttemptState.ACCEPTED for row in self.rows.values())
        assert self.ledger.accepted_calls("w").total() == accepted


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class MonthOfReservation(SqliteLedger):
    """A ledger that counts a call in the month of its reservation only."""

    def execute(
        self, operations: Sequence[Operation], workspace_id: str, owner: str, new_id: Callable[[], str]
    ) -> list[Answer]:
        """Reserve and settle."""
        results = super().execute(operations, workspace_id, owner, new_id)
        reserved = [(result.attempt,) for result in results if isinstance(result, Permit)]
        with self._file.transaction() as db:
            db.executemany("UPDATE attempt SET until = month WHERE id = ?", reserved)
        return results

    def _settle(
        self, db: Connection, ids: Sequence[str], state: AttemptState, last: str, *, keep_end: bool = False
    ) -> None:
        del keep_end
        super()._settle(db, ids, state, last, keep_end=True)


class FixedMonths(History):
    """The same histories with `MonthOfReservation`."""

    ledger_type = MonthOfReservation
    exact = False


CONTROL = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_a_ledger_that_counts_only_the_month_of_reservation_is_found_out() -> None:
    """Negative control: a call that waits across the reset is billed in a month that does not count it."""
    with pytest.raises(AssertionError, match="billed"):
        run_state_machine_as_test(FixedMonths, settings=CONTROL)


@contextmanager
def opened(path: Path, now: datetime, limit: int | None = 10) -> Iterator[SqliteLedger]:
    """Open a ledger by a clock that stands still, and close it again."""
    with closing(SqliteLedger(path, Calendar(), limit, now=lambda: now)) as ledger:
        yield ledger


def reserve(ledger: SqliteLedger, *ids: str) -> int:
    """Reserve calls with these ids; return the number granted."""
    names = iter(ids)
    results = ledger.execute([Reserve(PAGE)] * len(ids), "w", "o", lambda: next(names))
    return sum(isinstance(result, Permit) for result in results)


def post(ledger: SqliteLedger, *ids: str) -> None:
    """Settle calls as billed."""
    ledger.execute([Settle(attempt, AttemptState.POSTED) for attempt in ids], "w", "o", str)


def find_uncounted(directory: Path) -> list[tuple[int, int]]:
    """Return (ours, vendor's): the seconds from the reset by each clock at which a call is billed uncounted."""
    uncounted: list[tuple[int, int]] = []
    for ours, difference in itertools.product((-61, -60, -30, -1, 0, 30, 59, 60, 61), (-60, -1, 0, 1, 60)):
        with opened(directory / f"{ours} {difference}", END + timedelta(seconds=ours)) as ledger:
            reserve(ledger, "a")
            post(ledger, "a")
            if ledger.usage(billing_month(END + timedelta(seconds=ours + difference), Calendar())).used == 0:
                uncounted.append((ours, ours + difference))
    return uncounted


def test_a_vendor_whose_clock_differs_bills_nothing_uncounted(tmp_path: Path) -> None:
    """The clocks differ by up to a minute."""
    assert find_uncounted(tmp_path) == []


def test_without_a_margin_calls_are_billed_uncounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(billing, "CLOCK_MARGIN", timedelta(0))
    assert find_uncounted(tmp_path)


@pytest.mark.parametrize("days", [pytest.param(31, id="a-month"), pytest.param(4 * 365, id="four-years")])
class TestAheadByMistake:
    """A clock that was set to a later month and then corrected."""

    @pytest.fixture
    def path(self, tmp_path: Path, days: int) -> Path:
        """A ledger with two calls of January, one settled and one open in the later month, and one folded."""
        path, later = tmp_path / "ledger", JANUARY + timedelta(days=days)
        with opened(path, JANUARY) as ledger:
            reserve(ledger, "january", "billed")
            post(ledger, "january", "billed")
        with opened(path, later) as ledger:
            reserve(ledger, "settled", "open")
            post(ledger, "settled")
        return path

    def test_calls_count_in_the_later_month_and_a_warning_names_the_way_back(self, path: Path, days: int) -> None:
        """The warning is one line with both months, the clock's time and the command."""
        later = billing_month(JANUARY + timedelta(days=days), Calendar())
        with opened(path, JANUARY) as ledger:
            assert ledger.usage().month == later
            assert reserve(ledger, *map(str, range(20))) == 8
            problem = ledger.clock_problem()
        assert problem is not None
        assert "\n" not in problem
        for part in (str(path), later, "2026-01", "2026-01-15 00:00 UTC", "pagemill quota --already-used N"):
            assert part in problem

    def test_a_month_that_the_clock_has_reached_gives_no_warning(self, path: Path, days: int) -> None:
        with opened(path, JANUARY + timedelta(days=days)) as ledger:
            assert ledger.clock_problem() is None
        with opened(path.with_name("other"), JANUARY) as ledger:
            assert ledger.clock_problem() is None

    def test_already_used_moves_the_calls_of_the_later_month_to_the_clocks_month(self, path: Path, days: int) -> None:
        """The month has the dashboard's number and the calls in flight; the later month is gone."""
        with opened(path, JANUARY) as ledger:
            usage = ledger.set_used(3)
            assert (usage.month, usage.used, usage.pending) == ("2026-01", 4, 1)
            assert ledger.months() == ["2026-01"]
            assert ledger.clock_problem() is None
            assert reserve(ledger, *map(str, range(20))) == 6
        states = read_attempt_states(path, "w")
        assert (states["open"], states["settled"]) == (AttemptState.PENDING, AttemptState.POSTED)
        february = JANUARY + timedelta(days=20)
        with opened(path, february) as ledger:
            post(ledger, "open")
            assert (ledger.usage("2026-01").used, ledger.usage("2026-02").used) == (10, 7)

    def test_already_used_moves_folded_counts_too(self, path: Path, days: int) -> None:
        with opened(path, JANUARY + timedelta(days=days + 70)) as ledger:
            reserve(ledger, "last")
            assert set(read_attempt_states(path, "w")) == {"open", "last"}
        with opened(path, JANUARY) as ledger:
            assert ledger.set_used(5).used == 7
            assert ledger.months() == ["2026-01"]
            assert reserve(ledger, *map(str, range(20))) == 3


def test_nothing_but_already_used_opens_an_earlier_month(tmp_path: Path) -> None:
    """Opening, reading, reserving, settling, recovering and folding do not."""
    path = tmp_path / "ledger"
    with opened(path, JANUARY, 2) as ledger:
        assert reserve(ledger, "a", "b") == 2
    for moment in (JANUARY - timedelta(days=40), JANUARY - timedelta(days=4000)):
        with opened(path, moment, 2) as ledger:
            assert reserve(ledger, "c") == 0
            ledger.recover([], ledger.open_attempts("w", lambda _: False))
            assert reserve(ledger, "c") == 0
            assert (ledger.usage().month, ledger.usage().used) == ("2026-01", 2)


def test_a_clock_corrected_by_seconds_about_the_reset_gives_no_warning(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger", END + timedelta(seconds=30)) as ledger:
        assert reserve(ledger, "a") == 1
    with opened(tmp_path / "ledger", END - timedelta(seconds=30)) as ledger:
        assert ledger.clock_problem() is None
        assert reserve(ledger, "b") == 1


class LoopsTime:
    """Replaces `datetime` in the ledger's module: the month ends at time 0 of the event loop."""

    @staticmethod
    def now(zone: tzinfo) -> datetime:
        """Return the time."""
        return (END + timedelta(seconds=LoopsTime.loop.time())).astimezone(zone)

    loop: ClassVar[asyncio.AbstractEventLoop]


def test_a_cron_job_at_midnight_waits_for_the_new_month(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 00:00 on the first, with last month used up, the run waits one minute; it does not end with exit 8."""
    write_pages(scans, 6)
    with opened(ledger_path(tmp_path / "ledger", KEY, "127.0.0.1"), END - timedelta(hours=1), 4) as ledger:
        ledger.set_used(4)
    monkeypatch.setattr("pipeline.ledger.sqlite.ledger.datetime", LoopsTime)

    @on_virtual_time
    async def main() -> None:
        LoopsTime.loop = asyncio.get_running_loop()
        async with serve_fake() as fake:
            summary = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4})
            assert (summary.exit_code, summary.calls, len(fake.calls)) == (8, 4, 4)
            assert summary.reason == "the month's 4 calls are used up; they reset on 2026-03-01 00:00 UTC"
            assert min(call.at_s for call in fake.calls) >= MARGIN_S

    main()


MONTHS_END = """
import itertools, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.operations import Permit, Reserve
from pipeline.records import PageId
from pipeline.billing import Calendar

path, name, limit, skew_s = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
begun_s, numbers = time.monotonic(), itertools.count()
start = datetime(2026, 1, 31, 23, 55, tzinfo=UTC) + timedelta(seconds=skew_s)

def now():
    return start + timedelta(seconds=600 * (time.monotonic() - begun_s))  # ten minutes a second

ledger = SqliteLedger(path, Calendar(), limit, now=now)
while (moment := now()) < datetime(2026, 2, 1, 0, 5, tzinfo=UTC):
    for result in ledger.execute([Reserve(PageId(name))], name, name, lambda: f"{name}-{next(numbers)}"):
        if isinstance(result, Permit):
            print(moment.month, now().month, flush=True)
"""


def test_two_processes_at_the_months_end_exceed_neither_months_limit(tmp_path: Path) -> None:
    """Two processes, whose clocks differ by half a minute, reserve all that is granted."""
    limit, path = 40, tmp_path / "ledger"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MONTHS_END, str(path), name, str(limit), skew_s],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, skew_s in (("a", "-15"), ("b", "15"))
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    granted = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert granted.count("1 1") <= limit
    assert granted.count("2 2") <= limit
    with opened(path, datetime(2026, 2, 1, 0, 5, tzinfo=UTC), limit) as ledger:
        assert ledger.usage("2026-01").used <= limit
        assert ledger.usage("2026-02").used <= limit
        assert ledger.usage("2026-02").used >= len(granted) - limit
