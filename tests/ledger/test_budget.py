"""The budget: one durable reservation per call, whatever its outcome."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from pipeline.billing import Calendar
from pipeline.errors import InterruptedRunError, LedgerError, PlannedStopError, QuotaExhaustedError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.budget import Budget
from pipeline.ledger.operations import Owner, Permit, Reserve, Settle
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.owners import own
from pipeline.records import PageId
from pipeline.shutdown import Shutdown, ShuttingDownError
from tests.ledgers import read_attempt_states
from tests.runs import ROOT
from tests.virtual_time import on_virtual_time

PAGE = PageId("sha256:00#1")
KEY = "sk-secret-0123456789"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncGenerator[SqliteLedger]:
    """A ledger of ten calls per month."""
    opened = SqliteLedger(tmp_path / "ledger.sqlite3", Calendar(), 10)
    yield opened
    opened.close()


def make_budget(
    ledger: SqliteLedger | None, *, max_calls: int | None = None, owner: str = "me", shutdown: Shutdown | None = None
) -> Budget:
    """Return the budget of a run in workspace `w`."""
    return Budget(ledger, workspace_id="w", owner=Owner(owner), shutdown=shutdown, max_calls=max_calls)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("acts", "state", "calls"),
        [
            pytest.param([], AttemptState.VOID, 0, id="not-sent"),
            pytest.param(["sent"], AttemptState.PENDING, 1, id="sent-without-outcome"),
            pytest.param(["sent", "billed"], AttemptState.CHARGED, 1, id="billed"),
            pytest.param(["sent", "text"], AttemptState.ACCEPTED, 1, id="with-a-text"),
            pytest.param(["sent", "free"], AttemptState.VOID, 0, id="not-billed"),
            pytest.param(["sent", "free", "sent"], AttemptState.PENDING, 1, id="sent-again-without-outcome"),
            pytest.param(["sent", "free", "sent", "billed"], AttemptState.CHARGED, 1, id="refused-then-billed"),
        ],
    )
    @pytest.mark.parametrize("ended_by", [pytest.param(name, id=name) for name in ("return", "error", "cancellation")])
    async def test_the_last_known_outcome_is_recorded(
        self, ledger: SqliteLedger, acts: list[str], state: AttemptState, calls: int, ended_by: str
    ) -> None:
        budget = make_budget(ledger)
        with suppress(ZeroDivisionError), anyio.CancelScope() as scope:
            async with budget.reserve(PAGE) as attempt:
                assert read_attempt_states(ledger.path, "w") == {attempt.id: AttemptState.PENDING}
                assert budget.calls == 1
                for act in acts:
                    if act == "sent":
                        attempt.mark_sent()
                    elif act == "text":
                        attempt.accept()
                    else:
                        attempt.settle(billed=act == "billed")
                if ended_by == "error":
                    raise ZeroDivisionError
                if ended_by == "cancellation":
                    scope.cancel()
                    await anyio.sleep_forever()
        await budget.flush()
        assert read_attempt_states(ledger.path, "w") == {attempt.id: state}
        assert (budget.calls, ledger.usage().used) == (calls, calls)
        assert repr(attempt) == f"<Attempt {attempt.id} {state}>"

    async def test_a_reservation_of_a_cancelled_page_is_voided(self, ledger: SqliteLedger) -> None:
        """The cancellation comes while the reservation is written."""
        budget, entered = make_budget(ledger), list[str]()
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with budget.reserve(PAGE) as attempt:
                entered.append(attempt.id)
                await anyio.sleep_forever()
        await budget.flush()
        assert read_attempt_states(ledger.path, "w") == {entered[0]: AttemptState.VOID}
        assert budget.calls == 0

    async def test_without_a_ledger_attempts_have_ids_and_are_counted(self) -> None:
        budget, ids = make_budget(None), set[str]()
        for _ in range(3):
            async with budget.reserve(PAGE) as attempt:
                ids.add(attempt.id)
                attempt.settle(billed=True)
        assert (len(ids), budget.calls, budget.left) == (3, 3, None)
        assert await budget.find_open() == []


class TestLimits:
    async def test_concurrent_pages_never_exceed_the_month(self, ledger: SqliteLedger) -> None:
        granted, refused = await self.reserve_at_once(make_budget(ledger), 30)
        assert (granted, refused) == (10, 20)
        assert ledger.usage().used == 10

    async def test_concurrent_pages_never_exceed_max_calls(self, ledger: SqliteLedger) -> None:
        budget = make_budget(ledger, max_calls=3)
        granted, refused = await self.reserve_at_once(budget, 30)
        assert (granted, refused, budget.calls) == (3, 27, 3)
        assert len(read_attempt_states(ledger.path, "w")) == 3

    @staticmethod
    async def reserve_at_once(budget: Budget, count: int) -> tuple[int, int]:
        """Reserve for many pages at once; return the numbers of pages granted and refused."""
        ends: list[bool] = []

        async def call() -> None:
            try:
                async with budget.reserve(PAGE) as attempt:
                    attempt.mark_sent()
                    await anyio.lowlevel.checkpoint()
                    attempt.settle(billed=True)
            except (QuotaExhaustedError, PlannedStopError):
                ends.append(False)
            else:
                ends.append(True)

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(call)
        return ends.count(True), ends.count(False)

    async def test_a_call_that_was_not_billed_does_not_use_up_max_calls(self, ledger: SqliteLedger) -> None:
        budget = make_budget(ledger, max_calls=1)
        for billed in (False, False, True):
            async with budget.reserve(PAGE) as attempt:
                attempt.mark_sent()
                attempt.settle(billed=billed)
        with pytest.raises(PlannedStopError, match="--max-calls 1 is reached"):
            async with budget.reserve(PAGE):
                pass

    async def test_a_deleted_ledger_reserves_nothing(self, ledger: SqliteLedger) -> None:
        budget = make_budget(ledger)
        ledger.path.unlink()
        with pytest.raises(LedgerError):
            async with budget.reserve(PAGE):
                pass
        assert budget.calls == 0

    async def test_a_ledger_that_is_deleted_during_a_call_is_an_error_of_the_flush(self, ledger: SqliteLedger) -> None:
        budget = make_budget(ledger)
        reservation = budget.reserve(PAGE)
        attempt = await reservation.__aenter__()
        attempt.mark_sent()
        attempt.settle(billed=True)
        ledger.path.unlink()
        await reservation.__aexit__(None, None, None)
        with pytest.raises(LedgerError):
            await budget.flush()
        assert budget.calls == 1


END = datetime(2026, 2, 1, tzinfo=UTC)


class TestMonthsEnd:
    """The end of a month that is used up."""

    @staticmethod
    @contextmanager
    def used_up(path: Path, seconds: float) -> Generator[SqliteLedger]:
        """Yield a ledger whose January is used up, on the loop's time, which starts this many seconds after its end."""
        loop = asyncio.get_running_loop()
        offset_s = -3600.0
        with closing(
            SqliteLedger(path, Calendar(), 10, now=lambda: END + timedelta(seconds=offset_s + loop.time()))
        ) as ledger:
            ledger.set_used(10)
            offset_s = seconds
            yield ledger

    @pytest.mark.parametrize(
        ("seconds", "wait_s"),
        [
            pytest.param(0, 60, id="a-cron-job-at-midnight"),
            pytest.param(-60, 120, id="a-minute-before"),
            pytest.param(59.5, 0.5, id="almost-certainly-over"),
        ],
    )
    def test_pages_wait_for_the_end_of_a_month_that_is_about_to_end(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float, wait_s: float
    ) -> None:
        """All pages wait until the month is certainly over, then call; one message is logged."""

        @on_virtual_time
        async def main() -> None:
            with self.used_up(tmp_path / "ledger", seconds) as ledger:
                budget = make_budget(ledger)
                granted, refused = await TestLimits.reserve_at_once(budget, 8)
                assert (granted, refused, anyio.current_time()) == (8, 0, wait_s)
                await budget.flush()
                assert (ledger.usage("2026-01").used, ledger.usage("2026-02").used) == (10, 8)

        with caplog.at_level(logging.INFO, "pagemill"):
            main()
        (message,) = [message for message in caplog.messages if "waiting" in message]
        assert "reset on 2026-02-01 00:00 UTC" in message
        assert f"waiting {wait_s:.0f} s" in message

    @on_virtual_time
    async def test_the_quota_error_ends_the_run_when_the_month_ends_later(self, tmp_path: Path) -> None:
        """The longest wait is two minutes."""
        with self.used_up(tmp_path / "ledger", -61) as ledger:
            with pytest.raises(QuotaExhaustedError, match="reset on 2026-02-01"):
                async with make_budget(ledger).reserve(PAGE):
                    pass
            assert anyio.current_time() == 0

    @on_virtual_time
    async def test_the_end_of_the_run_cancels_the_wait_and_nothing_is_reserved(self, tmp_path: Path) -> None:
        with self.used_up(tmp_path / "ledger", 0) as ledger:
            shutdown = Shutdown()
            budget = make_budget(ledger, shutdown=shutdown)
            asyncio.get_running_loop().call_later(5, shutdown.request, InterruptedRunError("SIGINT", exit_code=130))
            with pytest.raises(ShuttingDownError):
                async with budget.reserve(PAGE):
                    pass
            assert (anyio.current_time(), budget.calls) == (5, 0)
            assert read_attempt_states(ledger.path, "w") == {}


async def test_a_task_that_is_cancelled_by_asyncio_leaves_nothing_pending(ledger: SqliteLedger) -> None:
    """`Task.cancel` comes while the reservation is written."""
    budget = make_budget(ledger)

    async def call() -> None:
        async with budget.reserve(PAGE):
            await anyio.sleep_forever()

    task = asyncio.create_task(call())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await budget.flush()
    assert list(read_attempt_states(ledger.path, "w").values()) == [AttemptState.VOID]
    assert budget.calls == 0


OWNER = """
import sys
from pathlib import Path
from pipeline.ledger.sqlite.owners import own
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.operations import Reserve
from pipeline.records import PageId
from pipeline.billing import Calendar

path = Path(sys.argv[1])
with own(path) as owner:
    ledger = SqliteLedger(path, Calendar(), 10)
    pages = [Reserve(PageId(f"sha256:{number:02d}#1")) for number in range(3)]
    ids = iter(f"{owner}-{number}" for number in range(3))
    ledger.execute(pages, "w", owner, lambda: next(ids))
    print(owner, flush=True)
    sys.stdin.readline()
"""


class TestRecovery:
    async def test_an_owner_lives_as_long_as_its_process(self, ledger: SqliteLedger) -> None:
        """Its attempts are left alone until SIGKILL; then they count as spent, and are found."""
        process = subprocess.Popen(  # noqa: ASYNC220 - it is asked by its pipes
            [sys.executable, "-c", OWNER, str(ledger.path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        budget = make_budget(ledger)
        assert await budget.find_open() == []
        assert set(read_attempt_states(ledger.path, "w").values()) == {AttemptState.PENDING}

        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        uncertain = await budget.recover(await budget.find_open(), {f"{owner}-1"})
        assert [attempt.page for attempt in uncertain] == ["sha256:00#1", "sha256:02#1"]
        assert read_attempt_states(ledger.path, "w") == {
            f"{owner}-0": AttemptState.UNKNOWN,
            f"{owner}-1": AttemptState.ACCEPTED,
            f"{owner}-2": AttemptState.UNKNOWN,
        }
        assert ledger.usage().used == 3

    async def test_a_run_does_not_recover_its_own_attempts(self, ledger: SqliteLedger) -> None:
        budget = make_budget(ledger)
        async with budget.reserve(PAGE) as attempt:
            assert await budget.find_open() == []
            assert read_attempt_states(ledger.path, "w") == {attempt.id: AttemptState.PENDING}

    def test_an_owner_that_ends_leaves_no_lock_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite3"
        with own(path) as first, own(path) as second:
            assert first != second
            assert {lock.stem for lock in path.with_suffix(".owners").iterdir()} == {first, second}
        assert list(path.with_suffix(".owners").iterdir()) == []

    def test_a_lock_that_cannot_be_made_is_a_ledger_error(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.owners").touch()
        with pytest.raises(LedgerError, match=r"ledger\.sqlite3"), own(tmp_path / "ledger.sqlite3"):
            pass


class TestSpread:
    async def test_simultaneous_runs_make_one_share_together(self, tmp_path: Path) -> None:
        """Each has opened the ledger before the other one has called."""
        ledgers = [
            SqliteLedger(
                tmp_path / "ledger.sqlite3", Calendar(), 1_000, now=lambda: datetime(2026, 1, 10, 22, tzinfo=UTC)
            )
            for _ in range(2)
        ]
        for ledger in ledgers:
            ledger.spread()
        runs = [make_budget(ledger, owner=owner) for ledger, owner in zip(ledgers, ("one", "two"), strict=True)]
        refused: list[tuple[int, str]] = []

        async def call(run: int) -> None:
            try:
                async with runs[run].reserve(PAGE) as attempt:
                    attempt.mark_sent()
                    attempt.settle(billed=True)
            except PlannedStopError as exc:
                refused.append((run, str(exc)))

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(call, number % 2)
        assert sum(run.calls for run in runs) == 46, "of 22 nights"
        assert len(refused) == 14
        others = runs[1 - refused[-1][0]].calls
        assert refused[-1][1] == (
            f"--spread: tonight's share of 46 calls is made, {others} of them by other runs;"
            " 22 nights are left in the month"
        )
        for ledger in ledgers:
            ledger.close()

    def test_a_void_call_gives_its_place_back_and_the_rest_of_the_month_has_no_share(self, tmp_path: Path) -> None:
        now = [datetime(2026, 1, 10, 22, tzinfo=UTC)]
        with closing(SqliteLedger(tmp_path / "ledger.sqlite3", Calendar(), 44, now=lambda: now[0])) as ledger:
            ledger.spread()
            first, second, refusal = ledger.execute([Reserve(PAGE)] * 3, "w", "o", iter("abc").__next__)
            assert (first, second) == (Permit("a"), Permit("b"))
            assert "share of 2 calls is made" in str(refusal)
            results = ledger.execute([Settle("a", AttemptState.VOID), Reserve(PAGE)], "w", "o", iter("d").__next__)
            assert results == [None, Permit("d")]
            now[0] += timedelta(days=21)
            ledger.spread()
            granted = ledger.execute([Reserve(PAGE)] * 50, "w", "o", map(str, range(50)).__next__)
            assert sum(isinstance(result, Permit) for result in granted) == 42, "the quota ends the month's last night"


class TestPath:
    def test_the_path_contains_no_part_of_the_key(self, tmp_path: Path) -> None:
        path = str(ledger_path(tmp_path, KEY, "llmocr.com"))
        assert all(KEY[start : start + 4] not in path.removeprefix(str(tmp_path)) for start in range(len(KEY) - 3))

    def test_each_key_has_one_ledger(self, tmp_path: Path) -> None:
        """The same key has the same ledger on every host; without a key each host has its own."""
        assert ledger_path(tmp_path, KEY, "a") == ledger_path(tmp_path, KEY, "b")
        others = [("", "a"), (None, "a"), (None, "b"), (KEY, "a"), (KEY + "x", "a")]
        assert len({ledger_path(tmp_path, key, host) for key, host in others}) == len(others)
