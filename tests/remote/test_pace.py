"""As fast as is allowed: the pace against simulated services, in virtual time, with one setting for all."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.remote.pace import Pace, Token
from tests.benchmarks.limits import Concurrency, FixedWindow, Limit, TokenBucket
from tests.benchmarks.neighbours import FAMILIES
from tests.benchmarks.pace import PROMISED, SCENARIOS, Scenario
from tests.simulation import Load, Result, simulate

SEEDS = [1, 2]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class HalvingPace:
    """The negative control: as many jobs as there are, a second's pause, doubled at every refusal in a row."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._row = 0

    def ready_at(self, now_s: float) -> float:
        return max(now_s, self._next_s)

    def send(self, now_s: float) -> float:
        return now_s

    def accepted(self, now_s: float, token: float) -> None:
        self._row = 0

    def refused(self, now_s: float, token: float, wait_s: float | None) -> None:
        if now_s >= self._next_s:
            self._row += 1
            self._next_s = now_s + (0.5 * 2**self._row if wait_s is None else wait_s)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", PROMISED, ids=lambda scenario: scenario.name)
def test_it_is_as_fast_as_is_allowed(scenario: Scenario, seed: int) -> None:
    """Efficiency, refusals and pauses are as promised, for each kind of limit."""
    result = scenario.run(seed=seed)
    assert scenario.kept(result), summary(result)


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in PROMISED if "no limit" not in scenario.name], ids=lambda s: s.name
)
def test_a_naive_pace_is_not(scenario: Scenario) -> None:
    """Negative control: a pause that doubles fails every promise that a limited account gets."""
    assert not scenario.kept(scenario.run(HalvingPace))


def test_no_window_is_sent_at_once() -> None:
    """The ramp spaces its sends: 64 jobs do not go out in one burst."""
    sent_s = BY_NAME["no limit, 64 jobs, 500 ms"].run().admitted_s
    assert max(sum(at_s <= other_s < at_s + 0.01 for other_s in sent_s[:200]) for at_s in sent_s[:200]) <= 5


@pytest.mark.parametrize(
    ("name", "at_least", "refused_at_most"),
    [
        pytest.param("bucket halves, 50/s to 25/s", 0.97, 0.02, id="a-limit-that-halves"),
        pytest.param("bucket doubles, 50/s to 100/s", 0.93, 0.02, id="a-limit-that-doubles"),
        pytest.param("sliding window 50 in 1 s", 0.90, 0.02, id="a-sliding-window"),
        pytest.param("fixed window 50 in 1 s", 0.90, 0.02, id="a-fixed-window"),
        pytest.param("fixed window 600 in 60 s", 0.85, 0.02, id="a-minute"),
        pytest.param("3 in flight, 200 ms exponential", 0.90, 0.02, id="three-in-flight"),
        pytest.param("bucket 50/s, burst 10, 4 processes", 0.97, 0.04, id="four-processes"),
        pytest.param("bucket 50/s, burst 10, 4 processes, Retry-After 1 s", 0.90, 0.02, id="four-paused-processes"),
    ],
)
def test_other_limits_are_found_too(name: str, at_least: float, refused_at_most: float) -> None:
    """What is not promised is still near what is permitted."""
    result = BY_NAME[name].run()
    assert result.answered == BY_NAME[name].load.pages
    assert result.efficiency >= at_least, summary(result)
    assert result.refused_share <= refused_at_most, summary(result)


@pytest.mark.parametrize(
    ("name", "at_least", "refused_at_most"),
    [
        pytest.param("bucket 50/s, burst 10", 0.97, 0.015, id="the-promise-with-noise"),
        pytest.param("near 50/s, burst 10", 0.96, 0.025, id="buckets-near-the-promise"),
        pytest.param("near 50/s, burst 10, Retry-After 1 s", 0.88, 0.005, id="pauses-near-the-promise"),
    ],
)
def test_neighbours_of_the_promises_fare_well(name: str, at_least: float, refused_at_most: float) -> None:
    """Other rates, bursts, latencies and late timers do not make it collapse."""
    family = next(family for family in FAMILIES if family.name == name)
    for draw in family.draws(6):
        result = draw.run()
        assert result.answered == draw.load.pages
        assert result.inside_pause == 0
        assert result.efficiency >= at_least, f"{draw}: {summary(result)}"
        assert result.refused_share <= refused_at_most, f"{draw}: {summary(result)}"


def test_a_pause_is_rarely_provoked() -> None:
    """Three refusals find a bucket's rate when each costs a second: the second tells it to 1 %."""
    result = BY_NAME["bucket 50/s, burst 10, Retry-After 1 s"].run()
    assert result.refusals <= 3, summary(result)


def test_a_refusal_that_comes_late_is_judged_by_the_rate_of_its_sending() -> None:
    """The pace has climbed on meanwhile; what was refused was sent at the lower rate."""
    prompt, late = Pace(), Pace()
    for pace, more in ((prompt, 0), (late, 20)):
        tokens = [pace.send(number / 50) for number in range(30)]
        for number in range(more):
            pace.send(0.6 + number / 200)
        pace.refused(0.7, tokens[-1], 1.0)
    assert late.rate_per_s == prompt.rate_per_s


@settings(max_examples=40, deadline=None)
@given(
    limit=st.one_of(
        st.builds(lambda rate, burst: lambda: TokenBucket(rate, burst), st.floats(1, 300), st.integers(1, 200)),
        st.builds(lambda calls, window_s: lambda: FixedWindow(calls, window_s), st.integers(5, 500), st.floats(1, 20)),
        st.builds(lambda calls: lambda: Concurrency(calls, 0.1), st.integers(1, 64)),
    ),
    load=st.builds(
        Load,
        pages=st.just(300),
        jobs=st.integers(1, 64),
        latency_s=st.floats(0.01, 1),
        jitter=st.sampled_from([0, 0.5, 1]),
        round_trip_s=st.floats(0.0001, 0.2),
        retry_after_s=st.none() | st.floats(0.1, 5),
        processes=st.integers(1, 4),
    ),
    seed=st.integers(0, 9),
)
def test_every_page_gets_through_and_no_pause_is_broken(limit: Callable[[], Limit], load: Load, seed: int) -> None:
    """Whatever the limit: it ends, in bounded time, and nothing is sent inside a Retry-After that has arrived."""
    result = simulate(Pace, limit(), load, seed=seed, give_up_s=100_000)
    assert result.answered == load.pages
    assert result.inside_pause == 0


WAITS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 10)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "accepted", "refused", "refused", "ended"]),
        st.integers(0, 5),
        st.one_of(st.just(0.0), st.floats(0, 100), st.floats(0, 0.01)),
        WAITS,
    ),
    max_size=150,
)


@settings(deadline=None)
@given(steps=STEPS, bound=st.none() | st.floats(0.001, 1000))
def test_nothing_raises_and_the_next_call_is_never_beyond_reach(
    steps: list[tuple[str, int, float, float | None]], bound: float | None
) -> None:
    """Sends at any time, ends in any order, any wait: pauses are kept, and without one a call goes in 20 s."""
    pace, now_s, paused_until_s = Pace(bound), 0.0, 0.0
    in_flight: list[Token] = []
    for what, which, later_s, wait_s in steps:
        now_s += later_s
        if what == "send":
            in_flight.append(pace.send(now_s))
        elif in_flight:
            token = in_flight.pop(which % len(in_flight))
            if what == "refused":
                pace.refused(now_s, token, wait_s)
                if wait_s is not None and wait_s > 0:
                    paused_until_s = max(paused_until_s, now_s + min(wait_s, 366 * 86400))
            elif what == "accepted":
                pace.accepted(now_s, token)
            else:
                pace.ended(now_s, token)
        ready_s = pace.ready_at(now_s)
        assert ready_s >= max(now_s, paused_until_s)
        assert ready_s < math.inf or in_flight
        if ready_s < math.inf:
            assert ready_s <= max(now_s, paused_until_s) + max(20.0, 1 / (bound or 1)) + 1e-6
        assert repr(pace).startswith("<Pace ")


def test_thousands_of_refusals_do_not_stall() -> None:
    """After a day of refusals a call still goes out every 20 s, and an answer speeds it up again."""
    pace, now_s = Pace(), 0.0
    for _ in range(5000):
        now_s = pace.ready_at(now_s)
        pace.refused(now_s + 0.01, pace.send(now_s), None)
    assert pace.ready_at(now_s) <= now_s + 20.02
    began_s = now_s
    for _ in range(200):
        now_s = pace.ready_at(now_s)
        pace.accepted(now_s + 0.01, pace.send(now_s))
    assert now_s - began_s < 600


def test_a_clock_that_stands_still_is_borne() -> None:
    """No time passes between sends, answers and refusals, and nothing divides by it."""
    pace = Pace()
    for number in range(300):
        token = pace.send(1.0)
        if number % 3:
            pace.accepted(1.0, token)
        else:
            pace.refused(1.0, token, None)
    assert pace.ready_at(1.0) <= 21.0


def test_calls_on_the_wire_share_one_refusal() -> None:
    """Ten calls sent before the first refusal came back lower the rate once."""
    one, ten = Pace(), Pace()
    for pace, refusals in ((one, 1), (ten, 10)):
        tokens = [pace.send(number / 10) for number in range(30)]
        for token in tokens[:20]:
            pace.accepted(3.0, token)
        for token in tokens[20 : 20 + refusals]:
            pace.refused(3.01, token, 1.0)
    assert one.rate_per_s == ten.rate_per_s


@given(rate=st.floats(0.5, 200))
@settings(deadline=None, max_examples=25)
def test_the_users_rate_is_an_upper_bound(rate: float) -> None:
    """`--rate` holds from the first call on, however much the service would permit."""
    pace, now_s = Pace(rate), 0.0
    for _ in range(200):
        now_s = pace.ready_at(now_s)
        pace.accepted(now_s, pace.send(now_s))
    assert now_s >= 199 / rate * 0.999


def summary(result: Result) -> str:
    """Return what a failed assertion should show."""
    return (
        f"{result.efficiency:.1%}, {result.refusals} refused ({result.refused_share:.2%}) in {result.elapsed_s:.1f} s"
    )
