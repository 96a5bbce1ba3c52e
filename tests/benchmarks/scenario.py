"""A simulated service with the calls to it, and what the pace must reach against it."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.remote.pace import Pace
from tests.benchmarks import limits
from tests.simulation import Load, Pacer, Result, simulate


@dataclass(frozen=True, slots=True)
class Promise:
    """What the pace must reach against a service.

    Attributes:
        at_least: Least efficiency.
        refused_at_most: Largest share of calls that may be refused.
        refusals_at_most: Largest number of calls that may be refused.
    """

    at_least: float = 0.0
    refused_at_most: float = 1.0
    refusals_at_most: int = 1_000_000

    def kept(self, result: Result) -> bool:
        """Return whether a result keeps the promise."""
        return (
            result.inside_pause == 0
            and result.efficiency >= self.at_least
            and result.refused_share <= self.refused_at_most
            and result.refusals <= self.refusals_at_most
        )


NO_PROMISE = Promise()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A limited service and the calls to it.

    Attributes:
        name: Describes the limit; names the row.
        limit: Makes the service's limiter.
        load: The calls and latencies.
        promise: What the pace must reach.
        seed: Of the latencies.
        drawn: The picture has a panel for it.
    """

    name: str
    limit: Callable[[], limits.Limit]
    load: Load
    promise: Promise = NO_PROMISE
    seed: int = 1
    drawn: bool = False

    def run(self, pacer: Callable[[], Pacer] = Pace, *, seed: int | None = None) -> Result:
        """Simulate the scenario and return the result.

        Args:
            pacer: Makes the pace.
            seed: Replaces the scenario's own seed.
        """
        return simulate(pacer, self.limit(), self.load, seed=self.seed if seed is None else seed)

    def kept(self, result: Result) -> bool:
        """Return whether every page was answered and the promise kept."""
        return result.answered == self.load.pages and self.promise.kept(result)
