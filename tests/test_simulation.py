"""The simulation of limited services: what it counts, and that noise does not change the ideal time."""

from pipeline.remote.pace import Pace
from tests.benchmarks.limits import Concurrency, TokenBucket
from tests.benchmarks.neighbours import FAMILIES
from tests.simulation import Load, simulate


def test_the_same_seed_gives_the_same_run() -> None:
    load = Load(300, jitter=0.3, noise_s=0.003)
    one, again, other = (simulate(Pace, TokenBucket(50, 10), load, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_limit_that_is_checked_late_refuses_after_the_latency() -> None:
    prompt, late = (
        simulate(Pace, TokenBucket(0.5, 1), Load(2, latency_s=1.0, checks_late=checks_late))
        for checks_late in (False, True)
    )
    assert late.admitted_s[0] >= 1.0 > prompt.admitted_s[0]
    assert late.answered == prompt.answered == 2


def test_the_number_of_jobs_bounds_the_ideal_rate() -> None:
    """Eight calls of 100 ms at a time are at most 80 calls/s."""
    assert simulate(Pace, Concurrency(1000, 0.0), Load(160, jobs=8)).ideal_s == 2.0


def test_noise_does_not_lengthen_the_ideal_time() -> None:
    noisy = Load(400, jobs=64, latency_s=0.5, round_trip_s=0.01, noise_s=0.006)
    assert simulate(Pace, Concurrency(64, 0.5), noisy).ideal_s == 400 / 64 * 0.5


def test_a_family_draws_the_same_services_every_time() -> None:
    assert all(
        [(draw.name, draw.load, draw.seed) for draw in family.draws(3)]
        == [(draw.name, draw.load, draw.seed) for draw in family.draws(3)]
        for family in FAMILIES
    )
