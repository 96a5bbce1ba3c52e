"""The simulation itself: what it counts, and that its noise is noise of the line and not of the yardstick."""

from pipeline.remote.pace import Pace
from tests.benchmarks.limits import Concurrency, TokenBucket
from tests.benchmarks.neighbours import FAMILIES
from tests.simulation import Load, simulate


def test_the_same_seed_gives_the_same_run() -> None:
    """Noise and latencies come from the seed alone."""
    load = Load(300, jitter=0.3, noise_s=0.003)
    one, again, other = (simulate(Pace, TokenBucket(50, 10), load, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_limit_that_is_asked_late_refuses_after_the_latency() -> None:
    """The second of two calls to a bucket of one comes to it only when its work is done."""
    prompt, late = (
        simulate(Pace, TokenBucket(0.5, 1), Load(2, latency_s=1.0, checks_late=checks_late))
        for checks_late in (False, True)
    )
    assert late.admitted_s[0] >= 1.0 > prompt.admitted_s[0]
    assert late.answered == prompt.answered == 2


def test_jobs_bound_the_ideal_too() -> None:
    """Eight calls of 100 ms at a time are 80/s, however much the service would permit."""
    assert simulate(Pace, Concurrency(1000, 0.0), Load(160, jobs=8)).ideal_s == 2.0


def test_noise_does_not_ease_the_ideal() -> None:
    """A slow line and late timers count against the pace: what was promised is the limit's own time."""
    noisy = Load(400, jobs=64, latency_s=0.5, round_trip_s=0.01, noise_s=0.006)
    assert simulate(Pace, Concurrency(64, 0.5), noisy).ideal_s == 400 / 64 * 0.5


def test_draws_are_the_same_every_time() -> None:
    """A family's figures can be compared between two versions of the pace."""
    assert all(
        [(draw.name, draw.load, draw.seed) for draw in family.draws(3)]
        == [(draw.name, draw.load, draw.seed) for draw in family.draws(3)]
        for family in FAMILIES
    )
