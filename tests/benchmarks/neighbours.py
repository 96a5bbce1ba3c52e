"""How does the pace fare around its promises? Services drawn at random, family by family; all in virtual time.

    python -m tests.benchmarks.neighbours [WORD]

A draw varies rate, burst, latency, jitter, jobs, round trip and Retry-After, with late timers on top; the seed is
fixed. The table tells each family's quantiles. With a WORD only the families whose name holds it run, and every draw
is listed, worst first.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pipeline.rules.pace import Pace
from tests.benchmarks.limits import (
    Change,
    Concurrency,
    ConcurrencyChange,
    FixedWindow,
    Limit,
    SlidingWindow,
    TokenBucket,
)
from tests.benchmarks.pace import PROMISED, Scenario
from tests.simulation import Load, Pacer, Result, simulate

SEED = 7
DRAWS = 25
NOISE_S = 0.002


@dataclass(frozen=True, slots=True)
class Draw:
    """One service and what is sent to it."""

    name: str
    limit: Callable[[], Limit]
    load: Load
    seed: int

    def run(self, pacer: Callable[[], Pacer] = Pace) -> Result:
        """Return how it went."""
        return simulate(pacer, self.limit(), self.load, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Family:
    """Services of one kind.

    Attributes:
        name: What they have in common.
        draw: Makes one of them.
        at_least: What every draw must reach.
        refused_at_most: The share of calls that may be refused in any draw.
        refusals_at_most: Their number.
    """

    name: str
    draw: Callable[[random.Random], tuple[str, Callable[[], Limit], Load]]
    at_least: float = 0.0
    refused_at_most: float = 1.0
    refusals_at_most: int = 1_000_000

    def draws(self, count: int) -> list[Draw]:
        """Return so many of them, the same every time."""
        dice = random.Random(f"{SEED} {self.name}")
        return [Draw(*self.draw(dice), seed=dice.randrange(1 << 30)) for _ in range(count)]

    def kept(self, result: Result) -> bool:
        """Return whether a draw is as good as the family must be."""
        return (
            result.inside_pause == 0
            and result.efficiency >= self.at_least
            and result.refused_share <= self.refused_at_most
            and result.refusals <= self.refusals_at_most
        )


def drawn_load(dice: random.Random, rate_per_s: float, **named: float | None) -> Load:
    """Return a load that wants more than the rate, for some 40 s."""
    latency_s = named.pop("latency_s", None) or dice.choice((0.02, 0.05, 0.1, 0.2, 0.5))
    enough = [jobs for jobs in (8, 16, 32, 64) if jobs > 1.3 * rate_per_s * latency_s] or [128]
    load = Load(
        max(600, int(rate_per_s * 40)),
        dice.choice(enough),
        latency_s,
        jitter=dice.choice((0.0, 0.1, 0.3)),
        round_trip_s=dice.choice((0.001, 0.003, 0.01)),
        noise_s=NOISE_S,
    )
    return replace(load, **named)  # type: ignore[arg-type]


def bucket(
    dice: random.Random, *, bursts: tuple[int, ...], late: bool = False, processes: int = 1, pause: bool = False
) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a token bucket."""
    wait_s = dice.choice((1, 1, 2, 5)) if pause else None
    rate, burst = dice.randint(20, 200 // (wait_s or 1)), dice.choice(bursts)
    load = drawn_load(dice, rate, retry_after_s=wait_s)
    load = replace(load, checks_late=late, processes=processes, pages=rate * (60 * wait_s if wait_s else 40))
    return f"bucket {rate}/s, burst {burst}", partial(TokenBucket, rate, burst), load


def near_promise(dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw what is close to the promise for Retry-After: 60 s of work and a pause of one."""
    rate, burst = dice.choice((30, 40, 50, 60, 70, 80)), dice.choice((5, 8, 10, 15, 20))
    load = drawn_load(dice, rate, retry_after_s=1, latency_s=dice.choice((0.05, 0.1, 0.2)))
    return f"bucket {rate}/s, burst {burst}", partial(TokenBucket, rate, burst), replace(load, pages=rate * 60)


def near_plain(dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw what is close to the promise without Retry-After."""
    rate, burst = dice.choice((30, 40, 50, 60, 70, 80)), dice.choice((5, 8, 10, 15, 20))
    load = drawn_load(dice, rate, latency_s=dice.choice((0.05, 0.1, 0.2)))
    return f"bucket {rate}/s, burst {burst}", partial(TokenBucket, rate, burst), replace(load, pages=rate * 20)


def window(dice: random.Random, *, pause: bool = False) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a window of a second or a minute."""
    kind, window_s = dice.choice((FixedWindow, SlidingWindow)), dice.choice((1, 1, 60))
    wait_s = dice.choice((1, 5)) if pause else None
    calls = dice.randint(20, 200 // (wait_s or 1)) * (1 if window_s == 1 else 12)
    load = drawn_load(dice, calls / window_s, retry_after_s=wait_s)
    pages = calls * (60 * wait_s if wait_s else 40) if window_s == 1 else calls * 6
    name = f"{'fixed' if kind is FixedWindow else 'sliding'} {calls} in {window_s} s"
    return name, partial(kind, calls, window_s), replace(load, pages=pages)


def concurrency(
    dice: random.Random, *, pause: bool = False, processes: int = 1
) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a number in flight."""
    calls, latency_s = dice.randint(4, 32), dice.choice((0.05, 0.1, 0.2, 0.5))
    load = drawn_load(dice, calls / latency_s, latency_s=latency_s, retry_after_s=1 if pause else None)
    pages = min(12_000, int(calls * 60 / latency_s)) if pause else calls * 250
    load = replace(load, processes=processes, pages=pages)
    return f"{calls} in flight", partial(Concurrency, calls, latency_s), load


def changing_bucket(dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a bucket whose rate halves or doubles at 20 s."""
    rate, burst, factor = dice.randint(40, 100), dice.choice((5, 10, 30)), dice.choice((0.5, 2))
    load = drawn_load(dice, rate * max(1, factor), retry_after_s=dice.choice((None, None, 1)))

    def make() -> Limit:
        return Change(TokenBucket(rate, burst), TokenBucket(rate * factor, burst), at_s=20)

    return f"bucket {rate}/s, burst {burst}, x {factor}", make, replace(load, pages=int(rate * (20 + 30 * factor)))


def changing_concurrency(dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a number in flight that halves or doubles at 15 s."""
    calls, latency_s, factor = dice.randint(4, 16) * 2, dice.choice((0.1, 0.2)), dice.choice((0.5, 2))
    after = int(calls * factor)
    load = drawn_load(dice, calls / latency_s * max(1, factor), latency_s=latency_s)
    pages = int((15 * calls + 25 * after) / latency_s)
    return (
        f"{calls} in flight, then {after}",
        partial(ConcurrencyChange, calls, after, latency_s, at_s=15),
        replace(load, pages=pages),
    )


def unlimited(dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a service that has no limit."""
    load = drawn_load(dice, 1)
    load = replace(load, jobs=dice.choice((8, 16, 32, 64)), latency_s=dice.choice((0.1, 0.2, 0.5)))
    load = replace(load, pages=int(load.jobs / load.latency_s * 30))
    return "no limit", partial(Concurrency, 1_000, 0.0), load


def noisy(scenario: Scenario, dice: random.Random) -> tuple[str, Callable[[], Limit], Load]:
    """Draw a promise on a busy machine: late timers, a slower line, answers that vary."""
    load = replace(
        scenario.load,
        jitter=dice.choice((0.0, 0.05, 0.3)),
        round_trip_s=dice.choice((0.001, 0.003, 0.006)),
        noise_s=dice.choice((0.001, 0.003, 0.006)),
    )
    return scenario.name, scenario.limit, load


FAMILIES = [
    *(
        Family(
            scenario.name,
            partial(noisy, scenario),
            scenario.at_least or 0.0,
            scenario.refused_at_most,
            scenario.refusals_at_most,
        )
        for scenario in PROMISED
        if not scenario.load.jitter
    ),
    Family("near 50/s, burst 10", near_plain, 0.97, 0.015),
    Family("near 50/s, burst 10, Retry-After 1 s", near_promise, 0.92, refusals_at_most=4),
    Family("bucket, burst 1-3", partial(bucket, bursts=(1, 2, 3))),
    Family("bucket, burst 5-30", partial(bucket, bursts=(5, 10, 20, 30))),
    Family("bucket, burst 50-100", partial(bucket, bursts=(50, 100))),
    Family("bucket, burst 1-5, asked late", partial(bucket, bursts=(1, 2, 5), late=True)),
    Family("bucket, burst 10-100, asked late", partial(bucket, bursts=(10, 30, 100), late=True)),
    Family("bucket, Retry-After, burst 1-3", partial(bucket, bursts=(1, 2, 3), pause=True)),
    Family("bucket, Retry-After, burst 5-100", partial(bucket, bursts=(5, 10, 20, 50, 100), pause=True)),
    Family("bucket, Retry-After, burst 1-5, asked late", partial(bucket, bursts=(1, 2, 5), late=True, pause=True)),
    Family(
        "bucket, Retry-After, burst 10-100, asked late", partial(bucket, bursts=(10, 30, 100), late=True, pause=True)
    ),
    Family("window", window),
    Family("window, Retry-After", partial(window, pause=True)),
    Family("in flight", concurrency),
    Family("in flight, Retry-After 1 s", partial(concurrency, pause=True)),
    Family("bucket that changes", changing_bucket),
    Family("in flight that changes", changing_concurrency),
    Family("no limit", unlimited),
    Family("bucket, 2 processes", partial(bucket, bursts=(5, 10, 30), processes=2)),
    Family("bucket, 8 processes", partial(bucket, bursts=(5, 10, 30), processes=8)),
    Family("bucket, 8 processes, Retry-After", partial(bucket, bursts=(5, 10, 30), processes=8, pause=True)),
    Family("in flight, 3 processes", partial(concurrency, processes=3)),
]


def main() -> int:
    """Print the table."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    print(
        f"{'':<48}{'reached: least':>14}{'p5':>8}{'median':>8}{'refused: most':>15}{'p95':>8}{'median':>8}{'kept':>9}"
    )
    broken = 0
    for family in FAMILIES:
        if word in family.name:
            broken += report(family, listed=bool(word))
    return 1 if broken else 0


def report(family: Family, *, listed: bool) -> bool:
    """Print a family's line; return whether a draw falls short."""
    draws = family.draws(DRAWS)
    results = [draw.run() for draw in draws]
    reached = sorted(result.efficiency for result in results)
    refused = sorted(result.refused_share for result in results)
    kept = sum(family.kept(result) for result in results)
    low, high = len(results) // 20, len(results) - 1 - len(results) // 20
    print(
        f"{family.name:<48}{reached[0]:>14.1%}{reached[low]:>8.1%}{reached[len(reached) // 2]:>8.1%}"
        f"{refused[-1]:>15.2%}{refused[high]:>8.2%}{refused[len(refused) // 2]:>8.2%}{kept:>5}/{len(results)}",
        flush=True,
    )
    if listed:
        for draw, result in sorted(zip(draws, results, strict=True), key=lambda pair: pair[1].efficiency):
            print(
                f"   {result.efficiency:>6.1%} {result.refusals:>4} {result.refused_share:>6.2%}  {draw.name}  "
                f"{draw.load}"
            )
    return kept < len(results)


if __name__ == "__main__":
    sys.exit(main())
