"""How a run ended: its exit code by precedence, and its pages."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import anyio
import pytest

from pipeline.batch.progress import Snapshot, report, report_learned
from pipeline.batch.summary import Accounts, Summary, describe_summary, summarise
from pipeline.errors import (
    KeyRejectedError,
    NoPagesError,
    PlannedStopError,
    QuotaExhaustedError,
    StopError,
    StorageError,
    TemporaryError,
)
from pipeline.records import State
from pipeline.remote.learned import Learned
from pipeline.workspace.page_counts import PageCounts
from tests.virtual_time import on_virtual_time, run_virtual


def make_snapshot(failed: int = 0, settled_failed: int = 0) -> Snapshot:
    """Return the end of a run with two texts and this number of failures, in the run and before it."""
    return Snapshot(
        ended={State.DONE: 2, **({State.FAILED: failed} if failed else {})},
        settled={State.FAILED: settled_failed} if settled_failed else {},
        in_flight=0,
        calls=2,
        calls_left=None,
        refused=0,
        sent=2,
        learned=Learned(),
        paused_s=0.0,
        elapsed_s=1.0,
    )


def end(
    snapshot: Snapshot,
    reason: StopError | None = None,
    *,
    pending: int = 0,
    at_least: bool = False,
    ignored: Mapping[str, int] = MappingProxyType({}),
) -> Summary:
    """Return the summary of a run in a workspace of 2,543 done pages and these pending ones."""
    totals = {State.DONE: 2543, State.FAILED: 3, State.PENDING: pending}
    return summarise(snapshot, Accounts(PageCounts(totals, 0, 0), at_least, ignored), reason, [])


@pytest.mark.parametrize(
    ("snapshot", "reason", "exit_code"),
    [
        pytest.param(make_snapshot(), None, 0, id="done"),
        pytest.param(make_snapshot(failed=1), None, 3, id="a-page-failed"),
        pytest.param(make_snapshot(settled_failed=1), None, 3, id="a-page-had-failed-before"),
        pytest.param(make_snapshot(failed=1), QuotaExhaustedError("used up"), 8, id="quota-before-failures"),
        pytest.param(make_snapshot(), KeyRejectedError("no"), 7, id="the-reason's-own"),
        pytest.param(make_snapshot(failed=1), StorageError("disk full"), 1, id="a-fault-before-all"),
        pytest.param(make_snapshot(failed=1), PlannedStopError("over"), 10, id="a-planned-stop-before-failures"),
        pytest.param(make_snapshot(failed=1), TemporaryError("down"), 5, id="an-outage-before-failures"),
        pytest.param(make_snapshot(), NoPagesError("none"), 9, id="no-pages"),
    ],
)
def test_the_first_exit_code_in_the_order_of_precedence_wins(
    snapshot: Snapshot, reason: StopError | None, exit_code: int
) -> None:
    summary = end(snapshot, reason, pending=1)
    assert summary.exit_code == exit_code
    assert summary.reason == (None if reason is None else str(reason))


@pytest.mark.parametrize(
    ("pending", "at_least", "exit_code"),
    [
        pytest.param(0, False, 3, id="all-done"),
        pytest.param(1, False, 10, id="one-left"),
        pytest.param(0, True, 10, id="perhaps-some-left"),
    ],
)
def test_a_planned_stop_that_left_no_page_is_none(pending: int, at_least: bool, exit_code: int) -> None:  # noqa: FBT001
    """`--max-duration` may be over while the last reply arrives; the failed page still counts."""
    summary = end(make_snapshot(failed=1), PlannedStopError("over"), pending=pending, at_least=at_least)
    assert (summary.exit_code, summary.reason) == (exit_code, "over" if exit_code == 10 else None)


def test_totals_that_nobody_knows_are_those_of_the_run() -> None:
    """An index that failed leaves the summary."""
    unknown = summarise(make_snapshot(failed=1), Accounts(None, pending_is_at_least=True, ignored={}), None, [])
    assert unknown.totals == {State.DONE: 2, State.FAILED: 1}
    assert end(make_snapshot(), pending=7).pages == 2553


def test_the_summary_says_what_is_new_beside_the_totals() -> None:
    assert describe_summary(end(make_snapshot(failed=3))) == (
        "2 new, 3 failed; 2,543 done, 3 failed in all; 2 calls; 1.0 s"
    )
    summary = end(make_snapshot(), QuotaExhaustedError("used up"), pending=1200, at_least=True, ignored={".pdf": 30})
    assert describe_summary(summary) == (
        "2 new; 2,543 done, 3 failed, at least 1,200 pending in all; 2 calls; 1.0 s; ignored: 30 .pdf; stopped: used up"
    )


def test_the_summary_counts_pages_in_doubt() -> None:
    summary = replace(end(make_snapshot()), in_doubt=1200)
    assert describe_summary(summary) == "2 new; 2,543 done, 3 failed in all; 2 calls; 1.0 s; 1,200 in doubt"


def test_a_run_without_new_pages_says_so() -> None:
    snapshot = Snapshot(
        {},
        {},
        in_flight=0,
        calls=0,
        calls_left=1000,
        refused=0,
        sent=0,
        learned=Learned(),
        paused_s=0.0,
        elapsed_s=0.04,
    )
    assert describe_summary(end(snapshot)) == (
        "nothing new; 2,543 done, 3 failed in all; 0 calls, 1,000 left this month; 0.0 s"
    )


def test_a_planned_stop_is_no_problem() -> None:
    """`-q` shows problems only."""
    reasons = [PlannedStopError("over"), None, QuotaExhaustedError("used up"), NoPagesError("none")]
    assert [end(make_snapshot(), reason, pending=1).is_problem for reason in reasons] == [False, False, True, True]


def test_the_summary_says_what_was_learned_when_something_was_refused() -> None:
    learned = Learned(windows=((60, 60.0),))
    assert "refused" not in describe_summary(end(replace(make_snapshot(), sent=600, learned=learned)))
    assert describe_summary(end(replace(make_snapshot(), sent=600, refused=12, learned=learned))).endswith(
        "; 1.0 s; the service allows about 60 calls a minute, in windows of 60 s; refused 12 of 600 calls"
    )


@on_virtual_time
async def test_each_material_change_of_the_limit_is_logged_and_at_most_three_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With `-v` only."""
    caplog.set_level(logging.DEBUG, "pagemill")
    begun_s = anyio.current_time()

    def take() -> Snapshot:
        """Nothing for a minute, then 5/s, 5.5/s for a minute each, then a limit that changes with each look."""
        minute, rest_s = divmod(anyio.current_time() - begun_s, 60)
        limits = [Learned(), Learned(5.0), Learned(5.5), Learned(rest_s + 1)]
        return replace(make_snapshot(), learned=limits[int(minute)])

    with anyio.move_on_after(239):
        await report_learned(take)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "the service allows about 5 calls a second"),
        ("DEBUG", "the service allows about 60 calls a minute"),
        ("DEBUG", "the service allows about 21 calls a second"),
        ("DEBUG", "the service allows about 41 calls a second"),
    ]


@pytest.mark.parametrize(
    ("bar", "log_every_s", "moments_s"),
    [
        pytest.param(False, None, [60, 120], id="once-per-minute-without-a-bar"),
        pytest.param(True, None, [], id="not-beside-a-bar"),
        pytest.param(True, 50.0, [50, 100], id="as-asked-for-beside-a-bar"),
        pytest.param(False, 50.0, [50, 100], id="as-asked-for-and-not-twice"),
    ],
)
def test_the_counters_are_logged_regularly(
    caplog: pytest.LogCaptureFixture,
    bar: bool,  # noqa: FBT001
    log_every_s: float | None,
    moments_s: list[float],
) -> None:
    caplog.set_level(logging.INFO, "pagemill")
    taken_s: list[float] = []

    def take() -> Snapshot:
        taken_s.append(anyio.current_time())
        return make_snapshot()

    async def report_for_two_minutes() -> None:
        with anyio.move_on_after(121):
            await report(take, lambda: None, bar=bar, log_every_s=log_every_s)

    run_virtual(report_for_two_minutes())
    assert [record.getMessage() for record in caplog.records] == ["2 pages, 2.0 pages/s, 0 failed, 2 calls"] * len(
        moments_s
    )
    assert set(moments_s) <= set(taken_s)
