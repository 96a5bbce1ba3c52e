"""How does the pace do against services near the promised ones? Draws them at random, in virtual time.

    python -m tests.benchmarks.neighbours [WORD]

A draw varies rate, burst, latency, jitter, jobs, round trip and Retry-After, and adds timer delays; the seed is fixed.
The table has the quantiles per family of services. With a WORD only the families whose name contains it run, and every
draw is listed, worst first. Exit code 1 when a draw breaks its family's promise.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tests.benchmarks import limits
from tests.benchmarks.pace import PROMISED, changing_bucket
from tests.benchmarks.scenario import NO_PROMISE, Promise, Scenario
from tests.benchmarks.windows import ClockWindow, MovingWindow
from tests.simulation import Load

SEED = 7
DRAWS = 25
NOISE_S = 0.002


@dataclass(frozen=True, slots=True)
class Family:
    """Services of one kind.

    Attributes:
        name: Describes them; names the row.
        draw: Makes one of them at random.
        promise: What the pace must reach against each of them.
    """

    name: str
    draw: Callable[[random.Random], Scenario]
    promise: Promise = NO_PROMISE

    def draws(self, count: int) -> list[Scenario]:
        """Return `count` of them, the same every time."""
        dice = random.Random(f"{SEED} {self.name}")
        drawn = [(self.draw(dice), dice.randrange(1 << 30)) for _ in range(count)]
        return [replace(scenario, promise=self.promise, seed=seed) for scenario, seed in drawn]


def drawn_load(dice: random.Random, rate_per_s: float, **named: float | None) -> Load:
    """Return a load that needs more than the rate, for about 40 s."""
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
) -> Scenario:
    """Draw a token bucket."""
    wait_s = dice.choice((1, 1, 2, 5)) if pause else None
    rate, burst = dice.randint(20, 200 // (wait_s or 1)), dice.choice(bursts)
    load = drawn_load(dice, rate, retry_after_s=wait_s)
    load = replace(load, checks_late=late, processes=processes, pages=rate * (60 * wait_s if wait_s else 40))
    return Scenario(f"bucket {rate}/s, burst {burst}", partial(limits.TokenBucket, rate, burst), load)


def near_promise(dice: random.Random, *, duration_s: int, retry_after_s: float | None = None) -> Scenario:
    """Draw a bucket close to those of the promises."""
    rate, burst = dice.choice((30, 40, 50, 60, 70, 80)), dice.choice((5, 8, 10, 15, 20))
    load = drawn_load(dice, rate, retry_after_s=retry_after_s, latency_s=dice.choice((0.05, 0.1, 0.2)))
    load = replace(load, pages=rate * duration_s)
    return Scenario(f"bucket {rate}/s, burst {burst}", partial(limits.TokenBucket, rate, burst), load)


def window(dice: random.Random, *, pause: bool = False) -> Scenario:
    """Draw a window of a second or of a minute."""
    kind, window_s = dice.choice((ClockWindow, MovingWindow)), dice.choice((1, 1, 60))
    wait_s = dice.choice((1, 5)) if pause else None
    calls = dice.randint(20, 200 // (wait_s or 1)) * (1 if window_s == 1 else 12)
    load = drawn_load(dice, calls / window_s, retry_after_s=wait_s)
    pages = calls * (60 * wait_s if wait_s else 40) if window_s == 1 else calls * 6
    name = f"{'fixed' if kind is ClockWindow else 'sliding'} {calls} in {window_s} s"
    return Scenario(name, partial(kind, calls, window_s), replace(load, pages=pages))


def concurrency(dice: random.Random, *, pause: bool = False, processes: int = 1) -> Scenario:
    """Draw a limit of the calls in flight."""
    calls, latency_s = dice.randint(4, 32), dice.choice((0.05, 0.1, 0.2, 0.5))
    load = drawn_load(dice, calls / latency_s, latency_s=latency_s, retry_after_s=1 if pause else None)
    pages = min(12_000, int(calls * 60 / latency_s)) if pause else calls * 250
    load = replace(load, processes=processes, pages=pages)
    return Scenario(f"{calls} in flight", partial(limits.Concurrency, calls, latency_s), load)


def changing_rate(dice: random.Random) -> Scenario:
    """Draw a bucket whose rate halves or doubles."""
    rate, burst, factor = dice.randint(40, 100), dice.choice((5, 10, 30)), dice.choice((0.5, 2))
    load = drawn_load(dice, rate * max(1, factor), retry_after_s=dice.choice((None, None, 1)))
    load = replace(load, pages=int(rate * (20 + 30 * factor)))
    limit = partial(changing_bucket, rate, rate * factor, burst=burst)
    return Scenario(f"bucket {rate}/s, burst {burst}, x {factor}", limit, load)


def changing_concurrency(dice: random.Random) -> Scenario:
    """Draw a limit of the calls in flight that halves or doubles at 15 s."""
    calls, latency_s, factor = dice.randint(4, 16) * 2, dice.choice((0.1, 0.2)), dice.choice((0.5, 2))
    after = int(calls * factor)
    load = drawn_load(dice, calls / latency_s * max(1, factor), latency_s=latency_s)
    pages = int((15 * calls + 25 * after) / latency_s)
    limit = partial(limits.ConcurrencyChange, calls, after, latency_s, at_s=15)
    return Scenario(f"{calls} in flight, then {after}", limit, replace(load, pages=pages))


def unlimited(dice: random.Random) -> Scenario:
    """Draw a service without a limit."""
    load = drawn_load(dice, 1)
    load = replace(load, jobs=dice.choice((8, 16, 32, 64)), latency_s=dice.choice((0.1, 0.2, 0.5)))
    load = replace(load, pages=int(load.jobs / load.latency_s * 30))
    return Scenario("no limit", partial(limits.Concurrency, 1_000, 0.0), load)


def noisy(scenario: Scenario, dice: random.Random) -> Scenario:
    """Draw a promised service on a busy machine: timer delays, a slower network, varying latencies."""
    load = replace(
        scenario.load,
        jitter=dice.choice((0.0, 0.05, 0.3)),
        round_trip_s=dice.choice((0.001, 0.003, 0.006)),
        noise_s=dice.choice((0.001, 0.003, 0.006)),
    )
    return replace(scenario, load=load)


FAMILIES = [
    *(
        Family(scenario.name, partial(noisy, scenario), scenario.promise)
        for scenario in PROMISED
        if not scenario.load.jitter
    ),
    Family("near 50/s, burst 10", partial(near_promise, duration_s=20), Promise(0.97, 0.015)),
    Family(
        "near 50/s, burst 10, Retry-After 1 s",
        partial(near_promise, duration_s=60, retry_after_s=1),
        Promise(0.92, refusals_at_most=4),
    ),
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
    Family("bucket that changes", changing_rate),
    Family("in flight that changes", changing_concurrency),
    Family("no limit", unlimited),
    Family("bucket, 2 processes", partial(bucket, bursts=(5, 10, 30), processes=2)),
    Family("bucket, 8 processes", partial(bucket, bursts=(5, 10, 30), processes=8)),
    Family("bucket, 8 processes, Retry-After", partial(bucket, bursts=(5, 10, 30), processes=8, pause=True)),
    Family("in flight, 3 processes", partial(concurrency, processes=3)),
]


def main() -> int:
    """Print the table; return 1 when a draw breaks its family's promise."""
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
    """Print a family's line; return whether a draw breaks the promise."""
    draws = family.draws(DRAWS)
    results = [draw.run() for draw in draws]
    reached = sorted(result.efficiency for result in results)
    refused = sorted(result.refused_share for result in results)
    kept = sum(draw.kept(result) for draw, result in zip(draws, results, strict=True))
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
