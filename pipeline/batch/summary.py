"""How a run ended: its summary, and the line that says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.batch.progress import Snapshot
from pipeline.errors import PlannedStopError, StopError
from pipeline.exit_codes import EXIT_PRECEDENCE
from pipeline.inputs.kinds import describe_ignored
from pipeline.records import State
from pipeline.remote.learned import Learned, describe_refusals
from pipeline.workspace.inventory import FileState
from pipeline.workspace.page_counts import PageCounts


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the workspace and the INPUTs hold at a run's end.

    Attributes:
        counts: Pages of the workspace; None when the index cannot be read.
        pending_is_at_least: True when the INPUTs could not be listed to their end, so that more pages are pending.
        ignored: Files of the INPUTs that hold no page, by kind.
        is_work_left: True when pages that have a text are to be sent again and were not.
        files: Files of the INPUTs by what has become of them.
    """

    counts: PageCounts | None
    pending_is_at_least: bool
    ignored: Mapping[str, int]
    is_work_left: bool = False
    files: Mapping[FileState, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        run_id: The run's id, a random UUID.
        exit_code: See `EXIT_CODES`.
        reason: Why it stopped early, one line; None when it finished.
        totals: Pages of the workspace by state.
        pending: Pages of the workspace that are not finished, seen or not; a file that was never opened counts as one.
        pending_is_at_least: True when the INPUTs could not be listed to their end, so that more pages are pending.
        left_to_shards: Those of the pending pages that another shard recognises.
        in_doubt: Pages of the workspace with a text that the service doubts.
        corrected: Pages of the workspace whose text a person wrote.
        checked: Pages of the workspace whose text a person marked as checked.
        files: Files of the INPUTs that the run has met: new, changed, unmodified; and gone, once it has met all.
        ignored: Files of the INPUTs that hold no page, by kind.
        run: Pages that ended in this run, by state.
        settled: Pages of the input that had ended before this run.
        calls: Calls of this run that count against the quota.
        calls_left: Calls left in the month; None when there is no limit.
        sent: All calls of this run.
        refused: Those that were refused for now, such as with 429, and do not count.
        learned: The limit that they have met.
        uncertain: Sources of pages whose call an earlier run left without an outcome; these calls count.
        elapsed_s: Duration in seconds.
    """

    run_id: str
    exit_code: int
    reason: str | None
    totals: dict[State, int]
    pending: int
    pending_is_at_least: bool
    left_to_shards: int
    in_doubt: int
    corrected: int
    checked: int
    files: dict[FileState, int]
    ignored: dict[str, int]
    run: dict[State, int]
    settled: int
    calls: int
    calls_left: int | None
    sent: int
    refused: int
    learned: Learned
    uncertain: Sequence[str]
    elapsed_s: float

    @property
    def pages(self) -> int:
        """All pages of the workspace."""
        return sum(self.totals.values())

    @property
    def is_problem(self) -> bool:
        """True when the run ended early for a reason that the caller did not ask for."""
        return self.reason is not None and self.exit_code != PlannedStopError.exit_code


def summarise(
    snapshot: Snapshot, accounts: Accounts, reason: StopError | None, uncertain: Sequence[str], *, run_id: str = ""
) -> Summary:
    """Return how a run ended.

    A planned stop that left no page is none: it came when the last page ended.

    Args:
        snapshot: The counters at the end.
        accounts: The pages at the end; without counts, those of this run count.
        reason: Why it stopped early.
        uncertain: See `Summary`.
        run_id: See `Summary`.
    """
    counts = accounts.counts if accounts.counts is not None else PageCounts(snapshot.ended, 0, 0)
    totals = dict(counts.totals)
    pending = totals.get(State.PENDING, 0)
    is_left = pending > counts.left_to_shards or accounts.pending_is_at_least or accounts.is_work_left
    if isinstance(reason, PlannedStopError) and not is_left:
        reason = None
    before = sum(snapshot.settled.get(state, 0) for state in (State.FAILED, State.UNCERTAIN))
    failed = snapshot.failed + before
    codes = [0, *([3] if failed else []), *([reason.exit_code] if reason is not None else [])]
    return Summary(
        run_id=run_id,
        exit_code=min(codes, key=EXIT_PRECEDENCE.index),
        reason=None if reason is None else str(reason),
        totals=totals,
        pending=pending,
        pending_is_at_least=accounts.pending_is_at_least,
        left_to_shards=counts.left_to_shards,
        in_doubt=counts.in_doubt,
        corrected=counts.corrected,
        checked=counts.checked,
        files={state: accounts.files.get(state, 0) for state in FileState},
        ignored=dict(accounts.ignored),
        run=snapshot.ended,
        settled=sum(snapshot.settled.values()),
        calls=snapshot.calls,
        calls_left=snapshot.calls_left,
        sent=snapshot.sent,
        refused=snapshot.refused,
        learned=snapshot.learned,
        uncertain=uncertain,
        elapsed_s=snapshot.elapsed_s,
    )


def describe_summary(summary: Summary) -> str:
    """Return a run's end in one line: "12 new, 3 failed; 2,543 done, 3 failed in all; 15 calls; 10.6 s"."""
    new = [f"{number:,} {'new' if state is State.DONE else state}" for state, number in summary.run.items() if number]
    totals = [f"{number:,} {state}" for state, number in summary.totals.items() if number and state != State.PENDING]
    if summary.pending or summary.pending_is_at_least:
        totals.append(
            describe_pending(
                summary.pending, is_at_least=summary.pending_is_at_least, left_to_shards=summary.left_to_shards
            )
        )
    left = "" if summary.calls_left is None else f", {summary.calls_left:,} left this month"
    parts = [
        ", ".join(new) or "nothing new",
        f"{', '.join(totals) or 'no pages'} in all",
        f"{summary.calls:,} calls{left}",
        f"{summary.elapsed_s:.1f} s",
    ]
    if any(summary.files.get(state) for state in (FileState.CHANGED, FileState.GONE)):
        found = [f"{number:,} {state}" for state, number in summary.files.items() if number]
        parts.append(f"files: {', '.join(found)}")
    if summary.in_doubt:
        parts.append(f"{summary.in_doubt:,} in doubt")
    if summary.refused:
        parts.append(describe_refusals(summary.learned, summary.refused, summary.sent))
    if summary.ignored:
        parts.append(f"ignored: {describe_ignored(summary.ignored)}")
    if summary.reason is not None:
        parts.append(f"stopped: {summary.reason}")
    return "; ".join(parts)


def describe_pending(number: int, *, is_at_least: bool, left_to_shards: int = 0) -> str:
    """Return the number of pending pages in words: "at least 40 pending, 3 of them left to another shard"."""
    left = f", {left_to_shards:,} of them left to another shard" if left_to_shards else ""
    return f"{'at least ' if is_at_least else ''}{number:,} pending{left}"
