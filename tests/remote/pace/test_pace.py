"""The pace against simulated services in virtual time, with the same constants for all kinds of limits."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.remote.pace import Pace, Token
from pipeline.remote.pace.hypotheses import Hypotheses
from pipeline.remote.pace.rate import Rate
from tests.benchmarks.gateway_models import COUNTED
from tests.benchmarks.limits import Concurrency, Limit, TokenBucket
from tests.benchmarks.neighbours import FAMILIES
from tests.benchmarks.pace import PROMISED, SCENARIOS
from tests.benchmarks.scenario import Scenario
from tests.benchmarks.windows import ClockWindow, CountedWindow, SlidingCounter
from tests.simulation import Load, Result, simulate

SEEDS = [1, 2]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class HalvingPace:
    """The negative control: no spacing, and a pause of 1 s that doubles with each consecutive refusal."""

    def __init__(self) -> None:
        self._next_send_s = 0.0
        self._consecutive_refusals = 0

    def ready_at(self, now_s: float) -> float:
        return max(now_s, self._next_send_s)

    def report_sent(self, now_s: float) -> float:
        return now_s

    def report_accepted(self, now_s: float, token: float) -> None:
        self._consecutive_refusals = 0

    def report_refused(self, now_s: float, token: float, wait_s: float | None) -> None:
        if now_s >= self._next_send_s:
            self._consecutive_refusals += 1
            self._next_send_s = now_s + (0.5 * 2**self._consecutive_refusals if wait_s is None else wait_s)


class BucketHypotheses(Hypotheses):
    """Nothing is sounded, and no spacing measured."""

    def _sound(self, *_: object) -> None: ...

    def _space(self, *_: object) -> None: ...


class BucketPace(Pace):
    """The negative control of windows."""

    def __init__(self) -> None:
        super().__init__()
        self._hypotheses = BucketHypotheses(Rate())


class Changed(Limit):
    """A limit that is replaced by another one at a time."""

    def __init__(self, before: Limit, after: Limit, *, at_s: float) -> None:
        self._before, self._after, self._at_s = before, after, at_s

    def admit(self, now_s: float, in_service: int) -> bool:
        return (self._before if now_s < self._at_s else self._after).admit(now_s, in_service)

    def ideal_s(self, pages: int) -> float:
        return self._after.ideal_s(pages)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", PROMISED, ids=lambda scenario: scenario.name)
def test_the_pace_is_as_fast_as_promised_for_each_kind_of_limit(scenario: Scenario, seed: int) -> None:
    result = scenario.run(seed=seed)
    assert scenario.kept(result), summary(result)


@pytest.mark.parametrize(
    "scenario", [scenario for scenario in PROMISED if "no limit" not in scenario.name], ids=lambda s: s.name
)
def test_a_doubling_pause_breaks_the_promise_of_each_kind_of_limit(scenario: Scenario) -> None:
    """Negative control."""
    assert not scenario.kept(scenario.run(HalvingPace))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", COUNTED, ids=lambda scenario: scenario.name)
def test_the_pace_is_as_fast_as_promised_for_each_gateway_that_counts(scenario: Scenario, seed: int) -> None:
    result = scenario.run(seed=seed)
    assert scenario.kept(result), summary(result)


@pytest.mark.parametrize(("pacer", "within"), [(Pace, True), (BucketPace, False)], ids=["pace", "negative-control"])
def test_few_calls_are_refused_by_gateways_that_count(pacer: type[Pace], *, within: bool) -> None:
    """The control learns no window, and is refused each time that one closes."""
    results = [scenario.run(pacer) for scenario in COUNTED]
    refused = sum(result.refusals for result in results)
    assert (refused <= 0.05 * sum(result.refusals + result.answered for result in results)) == within


@pytest.mark.parametrize(("round_trip_s", "most"), [(0.05, 0.08), (0.1, 0.1), (0.2, 0.13)])
def test_long_round_trips_cost_few_refusals(round_trip_s: float, most: float) -> None:
    """While a refusal comes back, calls go out that are refused, too: thousands, when probes do not go alone."""
    slow = [replace(scenario, load=replace(scenario.load, round_trip_s=round_trip_s)) for scenario in COUNTED]
    results = [scenario.run() for scenario in slow]
    assert all(result.answered == scenario.load.pages for scenario, result in zip(slow, results, strict=True))
    refused = sum(result.refusals for result in results)
    assert refused <= most * sum(result.refusals + result.answered for result in results)


@pytest.mark.parametrize("wait_s", [0.0, 1.0])
def test_a_retry_after_that_is_too_short_is_not_repeated_a_thousand_times(wait_s: float) -> None:
    result = simulate(Pace, CountedWindow(60, 60), Load(200, 64, retry_after_s=wait_s, round_trip_s=0.05))
    assert result.answered == 200
    assert result.refusals < 200


def test_a_limit_of_calls_in_flight_that_nothing_tests_does_not_grow_for_ever() -> None:
    """After 6,000 calls it was too large for a float."""
    pace = Pace()
    for number in range(20_000):
        token = pace.report_sent(number / 100)
        if number == 20:
            pace.report_refused(number / 100, token, None)
        else:
            pace.report_accepted(number / 100, token)
        assert (pace.learned().in_flight or 0) < 10_000


@pytest.mark.parametrize(("before", "after"), [(20, 60), (60, 20)], ids=["raised", "lowered"])
def test_a_window_that_changes_is_learned_anew(before: int, after: int) -> None:
    """A raised one is noticed after ten minutes at the latest."""
    limit = Changed(CountedWindow(before, 10), CountedWindow(after, 10), at_s=400)
    result = simulate(Pace, limit, Load(20_000, 16), give_up_s=1500)
    last_minutes = sum(1200 <= at_s < 1500 for at_s in result.admitted_s)
    assert last_minutes >= 0.9 * after * 30


def test_what_was_learned_is_told_as_a_window() -> None:
    paces: list[Pace] = []

    def make() -> Pace:
        paces.append(Pace())
        return paces[-1]

    simulate(make, CountedWindow(60, 60), Load(200, 16))
    assert [(calls, round(length_s)) for calls, length_s in paces[0].learned().windows] == [(60, 60)]


def test_the_ramp_does_not_send_64_jobs_in_one_burst() -> None:
    sent_s = BY_NAME["no limit, 64 jobs, 500 ms"].run().admitted_s
    assert max(sum(at_s <= other_s < at_s + 0.01 for other_s in sent_s[:200]) for at_s in sent_s[:200]) <= 5


@pytest.mark.parametrize(
    ("name", "at_least", "refused_at_most"),
    [
        pytest.param("bucket halves, 50/s to 25/s", 0.97, 0.02, id="bucket-halves"),
        pytest.param("bucket doubles, 50/s to 100/s", 0.93, 0.02, id="bucket-doubles"),
        pytest.param("bucket 20/s, burst 1", 0.93, 0.02, id="no-burst-slow"),
        pytest.param("bucket 50/s, burst 1", 0.95, 0.02, id="no-burst"),
        pytest.param("bucket 200/s, burst 1", 0.97, 0.02, id="no-burst-fast"),
        pytest.param("sliding window 50 in 1 s", 0.90, 0.02, id="sliding-window"),
        pytest.param("fixed window 50 in 1 s", 0.90, 0.02, id="fixed-window-of-a-second"),
        pytest.param("fixed window 600 in 60 s", 0.85, 0.02, id="fixed-window-of-a-minute"),
        pytest.param("3 in flight, 200 ms exponential", 0.90, 0.02, id="three-in-flight"),
        pytest.param("bucket 50/s, burst 10, 4 processes", 0.97, 0.02, id="four-processes"),
        pytest.param("bucket 50/s, burst 10, 4 processes, Retry-After 1 s", 0.90, 0.02, id="four-paused-processes"),
    ],
)
def test_limits_without_a_promise_are_nearly_used_up_too(name: str, at_least: float, refused_at_most: float) -> None:
    result = BY_NAME[name].run()
    assert result.answered == BY_NAME[name].load.pages
    assert result.efficiency >= at_least, summary(result)
    assert result.refused_share <= refused_at_most, summary(result)


def test_eight_processes_use_up_one_key_with_few_refusals() -> None:
    """Which calls of the others come first is chance, most of all in the first seconds."""
    results = [BY_NAME["bucket 50/s, burst 10, 8 processes"].run(seed=seed) for seed in range(5)]
    assert min(result.efficiency for result in results) >= 0.97
    assert sum(result.refused_share for result in results) / len(results) <= 0.03


@pytest.mark.parametrize(
    ("name", "at_least", "refused_at_most"),
    [
        pytest.param("bucket 50/s, burst 10", 0.97, 0.015, id="the-promise-with-noise"),
        pytest.param("near 50/s, burst 10", 0.96, 0.025, id="buckets-near-the-promise"),
        pytest.param("near 50/s, burst 10, Retry-After 1 s", 0.88, 0.005, id="pauses-near-the-promise"),
    ],
)
def test_services_near_the_promised_ones_are_nearly_used_up_too(
    name: str, at_least: float, refused_at_most: float
) -> None:
    """Rates, bursts, latencies and timer delays are drawn at random."""
    family = next(family for family in FAMILIES if family.name == name)
    for draw in family.draws(6):
        result = draw.run()
        assert result.answered == draw.load.pages
        assert result.inside_pause == 0
        assert result.efficiency >= at_least, f"{draw}: {summary(result)}"
        assert result.refused_share <= refused_at_most, f"{draw}: {summary(result)}"


def test_at_most_three_pauses_of_a_second_find_a_buckets_rate() -> None:
    """After the second refusal the estimate is within 1 %."""
    result = BY_NAME["bucket 50/s, burst 10, Retry-After 1 s"].run()
    assert result.refusals <= 3, summary(result)


def test_a_late_refusal_is_measured_by_the_rate_at_which_its_call_was_sent() -> None:
    """By the time it arrives, the pacing rate is higher."""
    prompt, late = Pace(), Pace()
    for pace, more in ((prompt, 0), (late, 20)):
        tokens = [pace.report_sent(number / 50) for number in range(30)]
        for number in range(more):
            pace.report_sent(0.6 + number / 200)
        pace.report_refused(0.7, tokens[-1], 1.0)
    assert late.rate_per_s == prompt.rate_per_s


@settings(max_examples=40, deadline=None)
@given(
    limit=st.one_of(
        st.builds(lambda rate, burst: lambda: TokenBucket(rate, burst), st.floats(1, 300), st.integers(1, 200)),
        st.builds(lambda calls, window_s: lambda: ClockWindow(calls, window_s), st.integers(5, 500), st.floats(1, 20)),
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
def test_every_page_gets_through_and_no_call_is_sent_inside_a_pause(
    limit: Callable[[], Limit], load: Load, seed: int
) -> None:
    result = simulate(Pace, limit(), load, seed=seed, give_up_s=100_000)
    assert result.answered == load.pages
    assert result.inside_pause == 0


WAITS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 10)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["sent", "accepted", "refused", "refused", "ended"]),
        st.integers(0, 5),
        st.one_of(st.just(0.0), st.floats(0, 100), st.floats(0, 0.01)),
        WAITS,
    ),
    max_size=150,
)


@settings(deadline=None)
@given(steps=STEPS, bound=st.none() | st.floats(0.001, 1000))
def test_any_history_keeps_the_pauses_and_waits_no_longer_than_it_has_lasted(
    steps: list[tuple[str, int, float, float | None]], bound: float | None
) -> None:
    """Calls are sent at any time and end in any order, with any Retry-After."""
    pace, now_s, paused_until_s = Pace(bound), 0.0, 0.0
    in_flight: list[Token] = []
    for step, which, later_s, wait_s in steps:
        now_s += later_s
        if step == "sent":
            in_flight.append(pace.report_sent(now_s))
        elif in_flight:
            token = in_flight.pop(which % len(in_flight))
            if step == "refused":
                pace.report_refused(now_s, token, wait_s)
                if wait_s is not None and wait_s > 0:
                    paused_until_s = max(paused_until_s, now_s + min(wait_s, 366 * 86400))
            elif step == "accepted":
                pace.report_accepted(now_s, token)
            else:
                pace.report_ended(now_s, token)
        ready_s = pace.ready_at(now_s)
        assert ready_s >= max(now_s, paused_until_s)
        assert ready_s < math.inf or in_flight
        if ready_s < math.inf:
            known_s = max(now_s, paused_until_s)  # no window that was met is longer than the time until then
            assert ready_s <= known_s + max(150.0, 1.3 * known_s, 1 / (bound or 1)) + 1e-6
        assert repr(pace).startswith("<Pace ")


def test_after_thousands_of_refusals_a_call_is_sent_every_150_s() -> None:
    """An accepted call raises the rate again."""
    pace, now_s = Pace(), 0.0
    for _ in range(5000):
        now_s = pace.ready_at(now_s)
        pace.report_refused(now_s + 0.01, pace.report_sent(now_s), None)
    assert pace.ready_at(now_s) <= now_s + 150.02
    began_s = now_s
    for _ in range(200):
        now_s = pace.ready_at(now_s)
        pace.report_accepted(now_s + 0.01, pace.report_sent(now_s))
    assert now_s - began_s < 600


def test_a_clock_that_does_not_advance_is_no_division_by_zero() -> None:
    pace = Pace()
    for number in range(300):
        token = pace.report_sent(1.0)
        if number % 3:
            pace.report_accepted(1.0, token)
        else:
            pace.report_refused(1.0, token, None)
    assert pace.ready_at(1.0) <= 21.0


def test_ten_refusals_of_calls_in_flight_lower_the_rate_once() -> None:
    one, ten = Pace(), Pace()
    for pace, refusals in ((one, 1), (ten, 10)):
        tokens = [pace.report_sent(number / 10) for number in range(30)]
        for token in tokens[:20]:
            pace.report_accepted(3.0, token)
        for token in tokens[20 : 20 + refusals]:
            pace.report_refused(3.01, token, 1.0)
    assert one.rate_per_s == ten.rate_per_s


@given(rate=st.floats(0.5, 200))
@settings(deadline=None, max_examples=25)
def test_the_users_rate_is_an_upper_bound(rate: float) -> None:
    """`--rate` holds from the first call on."""
    pace, now_s = Pace(rate), 0.0
    for _ in range(200):
        now_s = pace.ready_at(now_s)
        pace.report_accepted(now_s, pace.report_sent(now_s))
    assert now_s >= 199 / rate * 0.999


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(lambda: CountedWindow(5, 10), id="window"),
        pytest.param(lambda: TokenBucket(0.3, 1), id="spacing"),
        pytest.param(lambda: SlidingCounter(8, 10, counts_refused=True), id="counter"),
    ],
)
def test_probes_keep_the_users_rate_too(limit: Callable[[], Limit], rate: float) -> None:
    """A send may be early by as much as the one before it was late."""
    result = simulate(partial(Pace, rate), limit(), Load(40, 16, round_trip_s=0.003))
    arrived_s = sorted([*result.admitted_s, *result.refused_s])
    assert min(later - earlier for earlier, later in pairwise(arrived_s)) >= 0.75 / rate


def summary(result: Result) -> str:
    """Return the figures that a failed assertion shows."""
    return (
        f"{result.efficiency:.1%}, {result.refusals} refused ({result.refused_share:.2%}) in {result.elapsed_s:.1f} s"
    )
