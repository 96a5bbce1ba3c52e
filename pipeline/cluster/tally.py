"""The counters of a cluster run: what attempts have brought, and what those under way have reported."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from pipeline.batch.progress import Snapshot
from pipeline.cluster.attempt import ShardOutcome
from pipeline.records import State
from pipeline.remote.learned import Learned
from pipeline.workspace.live_progress import LiveProgress


@dataclass(slots=True)
class Tally:
    """Counts outcomes.

    Attributes:
        live: The progress of each attempt under way, by shard.
        ended: Pages that ended in this run, by state.
        settled: Pages that had ended before this run.
        calls: Calls of ended attempts that count.
        calls_left: Calls left in the month, as the last outcome says.
        sent: All calls of ended attempts.
        refused: Those that were refused for now.
        learned: The limit that they have met.
        uncertain: Sources of pages whose call an earlier attempt left without an outcome.
    """

    live: Mapping[int, LiveProgress] = field(default_factory=dict)
    ended: Counter[State] = field(default_factory=Counter)
    settled: int = 0
    calls: int = 0
    calls_left: int | None = None
    sent: int = 0
    refused: int = 0
    learned: Learned = field(default_factory=Learned)
    uncertain: list[str] = field(default_factory=list)
    begun_s: float = field(default_factory=anyio.current_time)

    def note(self, outcome: ShardOutcome) -> None:
        """Count an attempt that has ended."""
        self.live = {shard: progress for shard, progress in self.live.items() if shard != outcome.shard}
        self.ended.update({State(state): number for state, number in outcome.run.items()})
        self.settled += outcome.settled
        self.calls += outcome.calls
        self.sent += outcome.sent
        self.refused += outcome.refused
        self.uncertain += outcome.uncertain
        if outcome.calls_left is not None:
            self.calls_left = outcome.calls_left
        if outcome.learned.is_known:
            self.learned = outcome.learned

    @property
    def failed(self) -> int:
        """Pages that ended in this run without a text."""
        return self.ended[State.FAILED] + self.ended[State.UNCERTAIN]

    def snapshot(self, failed_before: int = 0) -> Snapshot:
        """Return the counters as those of a run.

        Args:
            failed_before: Pages that failed in earlier runs, once that is known.
        """
        ended, live = Counter(self.ended), self.live.values()
        for progress in live:
            ended.update({State(state): number for state, number in progress.pages.items()})
        left = [progress.calls_left for progress in live if progress.calls_left is not None]
        return Snapshot(
            ended=dict(ended),
            settled={State.DONE: max(0, self.settled - failed_before), State.FAILED: failed_before},
            in_flight=sum(progress.in_flight for progress in live),
            calls=self.calls + sum(progress.calls for progress in live),
            calls_left=min(left, default=self.calls_left),
            refused=self.refused + sum(progress.refused for progress in live),
            sent=self.sent + sum(progress.sent for progress in live),
            learned=self.learned,
            paused_s=max((progress.paused_s for progress in live), default=0.0),
            elapsed_s=anyio.current_time() - self.begun_s,
        )
