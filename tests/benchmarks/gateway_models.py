"""Gateways that count calls, for the simulated pace: the limiters of `tests.benchmarks.gateways`, and others like them.

The latency is 100 ms, the round trip 3 ms, timers and arrivals are late by up to 2 ms, and 16 calls are in flight.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from tests.benchmarks.limits import Limit, TokenBucket
from tests.benchmarks.scenario import Promise, Scenario
from tests.benchmarks.windows import Block, ClockWindow, CountedWindow, MovingWindow, SlidingCounter, Stack
from tests.simulation import Load

_USUAL: Final = 0.9
_AFTER_PENALTY: Final = 0.79
"""One closure that nobody can foresee, and one by which the window is found."""


def _counted(name: str, limit: Callable[[], Limit], *pages: int, at_least: float = _USUAL) -> Iterator[Scenario]:
    for number in pages:
        load = Load(number, 16, jitter=0.02, round_trip_s=0.003, noise_s=0.002)
        yield Scenario(f"{name}, {number} pages", limit, load, Promise(at_least))


counter = partial(partial, SlidingCounter)
fixed = partial(partial, CountedWindow)
moving = partial(partial, MovingWindow)
bucket = partial(partial, TokenBucket)

COUNTED: Final = [
    *_counted("bucket 5/s, burst 1", bucket(5, 1), 150, 1500),
    *_counted("bucket 1/s, burst 6", bucket(1, 6), 120),
    *_counted("bucket 10/min, burst 1", bucket(1 / 6, 1), 40),
    *_counted("bucket 10/min, burst 1, named", bucket(1 / 6, 1, named=True), 40),
    *_counted("bucket 10/min, burst 10", bucket(1 / 6, 10), 40),
    *_counted("bucket 60/min, burst 60", bucket(1, 60), 200),
    *_counted("bucket 60/min, burst 20, named", bucket(1, 20, named=True), 120),
    *_counted("fixed 5 in 1 s", fixed(5, 1), 200),
    *_counted("fixed 5 in 1 s, named", fixed(5, 1, exact=True), 200),
    *_counted("fixed 10 in 60 s", fixed(10, 60), 40, 120),
    *_counted("fixed 10 in 60 s, named", fixed(10, 60, exact=True), 40),
    *_counted("fixed 60 in 60 s", fixed(60, 60), 200, 600),
    *_counted("fixed 60 in 60 s, named", fixed(60, 60, exact=True), 200, 600),
    *_counted("fixed 100 in 10 s", fixed(100, 10), 600),
    *_counted("fixed 30 in 15 s", fixed(30, 15), 200),
    *_counted("fixed 100 in 30 s", fixed(100, 30), 500),
    *_counted("fixed 300 in 300 s, named", fixed(300, 300, exact=True), 700),
    *_counted("fixed 60 in 60 s of a clock, at 20 %", partial(ClockWindow, 60, 60, began=0.2), 200),
    *_counted("fixed 60 in 60 s of a clock, at 90 %", partial(ClockWindow, 60, 60, began=0.9), 200),
    *_counted("fixed 60 in 60 s of a clock, named", partial(ClockWindow, 60, 60, began=0.3, exact=True), 200),
    *_counted("moving 5 in 1 s", moving(5, 1), 200),
    *_counted("moving 20 in 5 s", moving(20, 5), 200),
    *_counted("moving 60 in 60 s", moving(60, 60), 200, 600),
    *_counted("moving 60 in 60 s, named", moving(60, 60, exact=True), 200),
    *_counted("moving 100 in 10 s", moving(100, 10), 600),
    *_counted("counter 60 in 60 s", counter(60, 60), 200),
    *_counted("counter 100 in 10 s", counter(100, 10), 600),
    *_counted("counter 10 in 10 s", counter(10, 10), 60),
    *_counted("counter 20 in 1 s, all counted", counter(20, 1, counts_refused=True), 600),
    *_counted("counter 20 in 10 s, all counted", counter(20, 10, counts_refused=True), 120, 600),
    *_counted("counter 100 in 10 s, all counted", counter(100, 10, counts_refused=True), 500),
    *_counted("counter 50 in 30 s, all counted", counter(50, 30, counts_refused=True), 300),
    *_counted("counter 20 in 60 s, all counted", counter(20, 60, counts_refused=True), 60, at_least=0.85),
    *_counted("counter 20 in 60 s, all counted", counter(20, 60, counts_refused=True), 200),
    *_counted(
        "counter 100 in 10 s, Retry-After 10 s",
        counter(100, 10, counts_refused=True, wait_s=10),
        500,
        3000,
        at_least=_AFTER_PENALTY,
    ),
    *_counted("stack 5 in 1 s, 100 in 60 s", lambda: Stack(CountedWindow(5, 1), CountedWindow(100, 60)), 300, 900),
    *_counted("moving stack 5 in 1 s, 100 in 60 s", lambda: Stack(MovingWindow(5, 1), MovingWindow(100, 60)), 300),
    *_counted(
        "moving stack 5 in 1 s, 100 in 60 s, named",
        lambda: Stack(MovingWindow(5, 1, exact=True), MovingWindow(100, 60, exact=True)),
        300,
    ),
    *_counted("block of 30 s after 50 in 5 s", partial(Block, 50, 5, 30, named=False), 3000, at_least=_AFTER_PENALTY),
    *_counted(
        "block of 30 s after 50 in 5 s, named", partial(Block, 50, 5, 30, named=True), 3000, at_least=_AFTER_PENALTY
    ),
    *_counted(
        "block of 60 s after 20 in 10 s, named", partial(Block, 20, 10, 60, named=True), 1200, at_least=_AFTER_PENALTY
    ),
]
