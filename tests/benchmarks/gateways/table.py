"""The table's lines and totals, and the promises that need more than one run."""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks.gateways.measure import PAGEMILL, Run

MOST_REFUSED: Final = 0.05
"""Largest share of all of pagemill's calls that may be refused."""
MOST_SLOWER: Final = 1.1
"""How much longer than the threads script pagemill may take for the same."""

HEAD: Final = (
    f"{'limiter':<52}{'client':<9}{'pages':>6}{'accepted':>9}{'refused':>14}{'missing':>8}{'exit':>5}{'s':>8}{'ideal':>8}"
    f"{'share':>7}{'inside':>7}{'ledger':>7}{'through':>8}"
)


def line_of(run: Run) -> str:
    """Return a run's line."""
    refused = f"{run.refused} ({run.refused_share:.1%})"
    code = "cap" if run.exit_code is None else run.exit_code
    ledger = "" if run.counted is None else run.counted
    return (
        f"{run.scenario.name:<52}{run.client:<9}{run.scenario.pages:>6}{run.accepted:>9}{refused:>14}{run.missing:>8}"
        f"{code:>5}{run.took_s:>8.1f}{run.ideal_s:>8.1f}{run.share:>7.1%}{run.inside:>7}{ledger:>7}{run.let_through:>8}"
        f"  {'; '.join(run.faults)}"
    ).rstrip()


def total_of(client: str, runs: Sequence[Run]) -> str:
    """Return the totals of a client's runs."""
    calls, refused = sum(run.accepted + run.refused for run in runs), sum(run.refused for run in runs)
    losing = [run for run in runs if run.missing]
    return (
        f"{client:<9} {len(runs)} runs, {sum(run.scenario.pages for run in runs)} pages: "
        f"{refused / max(1, calls):.1%} of {calls} calls refused, {sum(run.missing for run in losing)} pages missing "
        f"({len(losing)} runs, {sum(run.exit_code == 0 for run in losing)} with exit 0), "
        f"{sum(run.inside for run in runs)} calls inside a Retry-After, "
        f"least share {min((run.share for run in runs), default=0):.0%}"
    )


def broken_promises(runs: Sequence[Run]) -> list[str]:
    """Return the broken promises about pagemill, one per line.

    Speeds are compared by the share of what was permitted: a script that loses pages takes less time for fewer.
    """
    own = [run for run in runs if run.client == PAGEMILL]
    broken = [f"{run.scenario.name}: {'; '.join(run.faults)}" for run in own if run.faults]
    calls, refused = sum(run.accepted + run.refused for run in own), sum(run.refused for run in own)
    if refused > MOST_REFUSED * calls:
        broken.append(f"{refused / calls:.1%} of all calls refused, at most {MOST_REFUSED:.0%} may be")
    threads = _worst_shares(runs, "threads")
    for name, share in _worst_shares(runs, PAGEMILL).items():
        if name in threads and share * MOST_SLOWER < threads[name]:
            broken.append(f"{name}: {share:.0%}, the threads script reaches {threads[name]:.0%}")
    return broken


def _worst_shares(runs: Sequence[Run], client: str) -> dict[str, float]:
    worst: dict[str, float] = {}
    for run in runs:
        if run.client == client:
            worst[run.scenario.name] = min(run.share, worst.get(run.scenario.name, run.share))
    return worst
