"""How a run ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.batch.progress import Snapshot
from pipeline.errors import EXIT_PRECEDENCE, StopError
from pipeline.records import State


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        exit_code: By the table of exit codes.
        reason: Why it stopped early, one line; None when it came to its end.
        totals: Pages of the workspace by state.
        run: Pages that ended in this run, by state.
        settled: Pages of the input that earlier runs had settled.
        calls: Calls of this run that count.
        calls_left: Calls left in the month; None when there is no limit.
        uncertain: Pages whose call an earlier run left without an outcome; they count as spent.
        elapsed_s: How long it took.
    """

    exit_code: int
    reason: str | None
    totals: dict[State, int]
    run: dict[State, int]
    settled: int
    calls: int
    calls_left: int | None
    uncertain: Sequence[str]
    elapsed_s: float

    @property
    def pages(self) -> int:
        """All pages of the workspace."""
        return sum(self.totals.values())


def summarise(
    snapshot: Snapshot, totals: dict[State, int] | None, reason: StopError | None, uncertain: Sequence[str]
) -> Summary:
    """Return how a run ended.

    Args:
        snapshot: How it stood at its end.
        totals: Pages of the workspace by state; None when nobody knows: then those of this run stand for them.
        reason: Why it stopped early.
        uncertain: See `Summary`.
    """
    failed = snapshot.failed + snapshot.settled.get(State.FAILED, 0)
    codes = [0, *([3] if failed else []), *([reason.exit_code] if reason is not None else [])]
    return Summary(
        exit_code=min(codes, key=EXIT_PRECEDENCE.index),
        reason=None if reason is None else str(reason),
        totals=totals if totals is not None else snapshot.ended,
        run=snapshot.ended,
        settled=sum(snapshot.settled.values()),
        calls=snapshot.calls,
        calls_left=snapshot.calls_left,
        uncertain=uncertain,
        elapsed_s=snapshot.elapsed_s,
    )
