"""Closures: when probes go alone, and when they go out."""

from itertools import pairwise

from pipeline.remote.pace.calls import CallLog, Start
from pipeline.remote.pace.closure import Closure
from pipeline.remote.pace.rate import Rate
from tests.remote.pace.tokens import token


def closure(calls: int = 60, *, others: int = 0) -> Closure:
    """Return a closure after calls that took 0.6 s."""
    return Closure(token(calls, 0.6, others=others), calls, Start(0.0, 0), Rate())


def probes_s(one: Closure, number: int) -> list[float]:
    """Refuse as many probes, and return when they were sent."""
    times_s, now_s = list[float](), 0.6
    for serial in range(number):
        one.add(token(100 + serial, now_s), 0.0)
        one.plan_probe(now_s, 100.0, CallLog())
        times_s.append(now_s)
        now_s = one.probe_s
    return times_s


def test_the_third_refusal_in_a_row_makes_probes_go_alone() -> None:
    one = closure()
    probes_s(one, 2)
    assert not one.is_lone
    one.add(token(102, 0.7), 0.0)
    assert one.is_lone


def test_probes_do_not_wait_for_calls_in_flight_that_may_be_what_is_limited() -> None:
    one = closure(others=15)
    for serial in range(5):
        one.add(token(100 + serial, 0.7, others=14), 0.0)
    assert not one.is_lone
    one.add(token(106, 0.8, others=3), 0.0)
    assert one.is_lone


def test_a_named_pause_needs_no_probe() -> None:
    one = closure()
    one.add(token(100, 0.7), 10.0)
    assert not one.is_lone


def test_a_named_pause_that_was_too_short_is_followed_by_a_lone_probe() -> None:
    one = closure()
    one.add(token(100, 0.7), 1.0)
    one.add(token(101, 1.8), 1.0)
    assert one.is_lone


def test_probes_meet_the_usual_lengths_of_windows() -> None:
    times_s = probes_s(closure(), 25)
    for length_s in (2.0, 5.0, 10.0, 30.0, 60.0):
        assert any(length_s < at_s < length_s + 0.05 for at_s in times_s)
    assert max(later - earlier for earlier, later in pairwise(times_s)) <= 30.0


def test_few_calls_are_probed_more_seldom() -> None:
    """A limiter that counts refused calls opens later for each of them."""
    few, many = (sum(at_s <= 60.1 for at_s in probes_s(closure(calls), 40)) for calls in (10, 100))
    assert few <= many - 3


def test_the_rate_before_the_closure_can_be_restored() -> None:
    rate = Rate()
    one = Closure(token(60, 0.6), 60, Start(0.0, 0), rate)
    rate.report_refused(0.6, token(60, 0.6), 0.0)
    assert not rate.is_ramping
    assert one.restore_rate(Start(60.0, 70), 60.0).is_ramping
