"""Snapshots and summaries of runs, for tests of what is said about them."""

from dataclasses import replace

from pipeline.batch.progress import Snapshot
from pipeline.batch.summary import Accounts, Summary, summarise
from pipeline.errors import StopError
from pipeline.records import State
from pipeline.remote.learned import Learned
from pipeline.workspace.page_counts import PageCounts

RUN_ID = "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b"


class _EndedError(StopError):
    def __init__(self, exit_code: int) -> None:
        super().__init__("it ended")
        self.exit_code = exit_code


def make_snapshot() -> Snapshot:
    """Return the counters of a run with two texts and one failure."""
    return Snapshot(
        ended={State.DONE: 2, State.FAILED: 1},
        settled={},
        in_flight=4,
        calls=2,
        calls_left=998,
        refused=1,
        sent=3,
        learned=Learned(),
        paused_s=1.5,
        elapsed_s=10.0,
    )


def make_summary(*, exit_code: int = 0) -> Summary:
    """Return the end of a run in a workspace of 12 done pages, with this exit code."""
    snapshot = replace(make_snapshot(), ended={State.DONE: 2, **({State.FAILED: 1} if exit_code == 3 else {})})
    totals = {State.DONE: 12, State.FAILED: 1, State.PENDING: 7}
    accounts = Accounts(PageCounts(totals, in_doubt=3, left=0), pending_is_at_least=False, ignored={})
    summary = summarise(snapshot, accounts, None if exit_code in {0, 3} else _EndedError(exit_code), [], run_id=RUN_ID)
    assert summary.exit_code == exit_code
    return summary
