"""How much of the permitted rate does the pace use? Prints a table and draws rates over time; all in virtual time.

    python -m tests.benchmarks.pace [WORD]

The same constants are used for all services. A row is the worst of three seeds; `must` is the project's promise. With a
WORD only the rows whose name contains it run. Exit code 1 when a promise is broken.
"""

import sys
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw

from tests.benchmarks import limits
from tests.benchmarks.gateway_models import COUNTED
from tests.benchmarks.scenario import Promise, Scenario
from tests.benchmarks.windows import ClockWindow, MovingWindow
from tests.simulation import Load, Result

SEEDS = (1, 2, 3)
PICTURE = Path("test-output/pace.png")
shared_load = partial(Load, jitter=0.1, noise_s=0.002)
"""Without noise the calls of processes that share a key fall into step, and all seeds are one."""


fifty_per_second = partial(limits.TokenBucket, 50, 10)
eight_in_flight = partial(limits.Concurrency, 8, 0.1)


def changing_bucket(before: float, after: float, *, burst: float = 10) -> limits.Limit:
    """Return a bucket whose rate changes at 20 s."""
    return limits.BucketChange(limits.TokenBucket(before, burst), limits.TokenBucket(after, burst), at_s=20)


PROMISED = [
    Scenario("bucket 50/s, burst 10", fifty_per_second, Load(1000), Promise(0.97, 0.015), drawn=True),
    Scenario(
        "bucket 50/s, burst 10, Retry-After 1 s",
        fifty_per_second,
        Load(3000, retry_after_s=1),
        Promise(0.92, refusals_at_most=4),
        drawn=True,
    ),
    Scenario("8 in flight, 100 ms", eight_in_flight, Load(2000), Promise(0.95, 0.02), drawn=True),
    Scenario("8 in flight, 100 ms +-30 %", eight_in_flight, Load(2000, jitter=0.3), Promise(0.95, 0.02)),
    Scenario(
        "no limit, 64 jobs, 500 ms",
        partial(limits.Concurrency, 64, 0.5),
        Load(4000, jobs=64, latency_s=0.5),
        Promise(0.94, 0.0),
        drawn=True,
    ),
]

BUCKETS = [
    Scenario(f"bucket {rate}/s, burst {burst}", partial(limits.TokenBucket, rate, burst), Load(max(600, rate * 30), 64))
    for rate in (5, 20, 50, 200)
    for burst in (1, 10, 100)
    if (rate, burst) != (50, 10)
]

PAUSED = [
    Scenario(
        f"bucket {rate}/s, burst {burst}, Retry-After 1 s",
        partial(limits.TokenBucket, rate, burst),
        Load(rate * 60, 64, retry_after_s=1),
    )
    for rate in (5, 50, 200)
    for burst in (1, 10, 100)
    if (rate, burst) != (50, 10)
]

OTHERS = [
    Scenario("bucket 50/s, burst 10, latency +-50 %", fifty_per_second, Load(1000, jitter=0.5)),
    Scenario("bucket 50/s, burst 10, exponential latency", fifty_per_second, Load(2000, jitter=1)),
    Scenario("bucket 50/s, burst 10, 50 ms round trip", fifty_per_second, Load(1000, round_trip_s=0.05)),
    Scenario("sliding window 50 in 1 s", partial(MovingWindow, 50, 1), Load(3000), drawn=True),
    Scenario("fixed window 50 in 1 s", partial(ClockWindow, 50, 1), Load(3000), drawn=True),
    Scenario("sliding window 600 in 60 s", partial(MovingWindow, 600, 60), Load(6000), drawn=True),
    Scenario("fixed window 600 in 60 s", partial(ClockWindow, 600, 60), Load(6000)),
    Scenario(
        "fixed window 600 in 60 s, Retry-After 10 s",
        partial(ClockWindow, 600, 60),
        Load(6000, retry_after_s=10),
    ),
    Scenario("bucket halves, 50/s to 25/s", lambda: changing_bucket(50, 25), Load(2000), drawn=True),
    Scenario("bucket doubles, 50/s to 100/s", lambda: changing_bucket(50, 100), Load(4000), drawn=True),
    Scenario("3 in flight, 200 ms", partial(limits.Concurrency, 3, 0.2), Load(1000, latency_s=0.2)),
    Scenario(
        "3 in flight, 200 ms exponential", partial(limits.Concurrency, 3, 0.2), Load(1000, latency_s=0.2, jitter=1)
    ),
    Scenario("8 in flight, 100 ms exponential", eight_in_flight, Load(2000, jitter=1)),
    Scenario("8 in flight, 100 ms, 50 ms round trip", eight_in_flight, Load(2000, round_trip_s=0.05)),
    Scenario("8 in flight, 100 ms, Retry-After 1 s", eight_in_flight, Load(3000, retry_after_s=1)),
    Scenario("32 in flight, 500 ms", partial(limits.Concurrency, 32, 0.5), Load(3000, 64, latency_s=0.5)),
    Scenario(
        "32 in flight, 500 ms exponential",
        partial(limits.Concurrency, 32, 0.5),
        Load(3000, 64, latency_s=0.5, jitter=1),
    ),
]

CHANGED = [
    Scenario(
        f"{before} in flight, then {after}, 100 ms{' exponential' if jitter else ''}",
        partial(limits.ConcurrencyChange, before, after, 0.1, at_s=15),
        Load(5000, jitter=jitter),
    )
    for before, after in ((16, 8), (8, 16))
    for jitter in (0, 1)
]

SHARED = [
    Scenario(
        f"bucket 50/s, burst 10, {processes} processes{', Retry-After 1 s' if wait_s else ''}",
        fifty_per_second,
        shared_load(6000, 16, retry_after_s=wait_s, processes=processes),
    )
    for processes in (4, 8)
    for wait_s in (None, 1)
] + [Scenario("8 in flight, 100 ms, 4 processes", eight_in_flight, shared_load(3000, 16, processes=4))]

SCENARIOS = PROMISED + BUCKETS + PAUSED + OTHERS + CHANGED + SHARED + COUNTED


def main() -> int:
    """Print the table and draw the picture; return 1 when a promise is broken."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [scenario for scenario in SCENARIOS if word in scenario.name]
    print(f"{'':<52}{'efficiency':>10}{'must':>7}{'refused':>9}{'calls':>7}{'ideal s':>9}{'took s':>9}")
    broken, efficiency = 0, {}
    for scenario in chosen:
        results = [scenario.run(seed=seed) for seed in SEEDS]
        worst = min(results, key=lambda result: result.efficiency)
        most = max(results, key=lambda result: result.refusals)
        efficiency[scenario.name] = worst.efficiency
        kept = all(scenario.kept(result) for result in results)
        broken += not kept
        must = f"{scenario.promise.at_least:.0%}" if scenario.promise.at_least else ""
        print(
            f"{scenario.name:<52}{worst.efficiency:>10.1%}{must:>7}{most.refused_share:>9.2%}{most.refusals:>7}"
            f"{worst.ideal_s:>9.1f}{worst.elapsed_s:>9.1f}{'' if kept else '  BROKEN'}",
            flush=True,
        )
    name = min(efficiency, key=efficiency.__getitem__)
    print(f"worst: {name}, {efficiency[name]:.1%}; promises broken: {broken}")
    draw([(scenario.name, scenario.run()) for scenario in chosen if scenario.drawn])
    print(f"drawn: {PICTURE}")
    return 1 if broken else 0


def draw(runs: list[tuple[str, Result]], *, width_px: int = 900, panel_px: int = 150) -> None:
    """Draw a panel per run: admitted calls per second over time (blue) and refusals (red ticks)."""
    image = Image.new("RGB", (width_px, panel_px * max(1, len(runs))), "white")
    pen = ImageDraw.Draw(image)
    for number, (name, result) in enumerate(runs):
        top, bottom = number * panel_px + 22, (number + 1) * panel_px - 12
        bin_s = max(0.25, result.elapsed_s / 300)
        counts = [0.0] * (int(result.elapsed_s / bin_s) + 1)
        for at_s in result.admitted_s:
            counts[int(at_s / bin_s)] += 1 / bin_s
        highest = max(sorted(counts)[int(0.98 * (len(counts) - 1))] * 1.25, 1.0)
        scale = (width_px - 20) / result.elapsed_s
        line = [
            (10 + (i + 0.5) * bin_s * scale, bottom - min(1.0, rate / highest) * (bottom - top))
            for i, rate in enumerate(counts[:-1])
        ]
        pen.line([(10, bottom), (width_px - 10, bottom)], fill="silver")
        pen.line(line, fill="royalblue", width=2)
        for at_s in result.refused_s:
            pen.line([(10 + at_s * scale, bottom), (10 + at_s * scale, bottom + 7)], fill="crimson")
        title = f"{name}: {result.efficiency:.1%} in {result.elapsed_s:.0f} s, {result.refusals} refused"
        title += f"; top {highest:.0f}/s"
        pen.text((10, top - 18), title, fill="black")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    image.save(PICTURE)


if __name__ == "__main__":
    sys.exit(main())
