"""How a run ended: its exit code by precedence, and its pages."""

import pytest

from pipeline.batch.progress import Snapshot, summarise
from pipeline.errors import KeyRejectedError, QuotaExhaustedError, StopError, StorageError
from pipeline.records import State


def make_snapshot(failed: int = 0, settled_failed: int = 0) -> Snapshot:
    """Return the end of a run with two texts and this number of failures, in the run and before it."""
    return Snapshot(
        ended={State.DONE: 2, **({State.FAILED: failed} if failed else {})},
        settled={State.FAILED: settled_failed} if settled_failed else {},
        in_flight=0,
        calls=2,
        calls_left=None,
        refused=0,
        paused_s=0.0,
        elapsed_s=1.0,
    )


@pytest.mark.parametrize(
    ("snapshot", "reason", "exit_code"),
    [
        pytest.param(make_snapshot(), None, 0, id="done"),
        pytest.param(make_snapshot(failed=1), None, 3, id="a-page-failed"),
        pytest.param(make_snapshot(settled_failed=1), None, 3, id="a-page-had-failed-before"),
        pytest.param(make_snapshot(failed=1), QuotaExhaustedError("used up"), 8, id="quota-before-failures"),
        pytest.param(make_snapshot(), KeyRejectedError("no"), 7, id="the-reason's-own"),
        pytest.param(make_snapshot(failed=1), StorageError("disk full"), 1, id="a-fault-before-all"),
    ],
)
def test_the_first_exit_code_in_the_order_of_precedence_wins(
    snapshot: Snapshot, reason: StopError | None, exit_code: int
) -> None:
    summary = summarise(snapshot, {State.DONE: 2}, reason, [])
    assert summary.exit_code == exit_code
    assert summary.reason == (None if reason is None else str(reason))


def test_totals_that_nobody_knows_are_those_of_the_run() -> None:
    """An index that failed does not take the summary along."""
    assert summarise(make_snapshot(failed=1), None, None, []).totals == {State.DONE: 2, State.FAILED: 1}
    assert summarise(make_snapshot(), {State.DONE: 9}, None, []).pages == 9
