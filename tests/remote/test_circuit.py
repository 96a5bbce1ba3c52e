"""The circuit without I/O: what an outage costs, and that failures at random do not end a run."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.remote.circuit import FREE_CALLS, PROBES, Circuit

DOZEN = 12


@dataclass(frozen=True, slots=True)
class Ended:
    """How a simulated run ended.

    Attributes:
        answered: Calls that succeeded.
        failed: Calls that failed since the outage began.
        in_flight: Calls in flight when it began.
        outage_s: How long it lasted when the circuit was over; None when it never was.
        longest_pause_s: Longest time without a call in flight.
    """

    answered: int
    failed: int
    in_flight: int
    outage_s: float | None
    longest_pause_s: float


def simulate(
    fails: Callable[[int], bool],
    *,
    calls: int,
    jobs: int,
    success_s: float = 0.2,
    failure_s: float = 0.2,
    seed: int = 1,
    jitter: float = 0.5,
) -> Ended:
    """Send calls as the circuit permits, until so many have succeeded or the circuit is over.

    Args:
        fails: From a call's number, from 0, to whether it fails.
        calls: Successes after which the run is done.
        jobs: Most calls in flight.
        success_s: Time to a text.
        failure_s: Time to a failure.
        seed: Of the latencies.
        jitter: Of the latencies, as a share of them.
    """
    dice, circuit = random.Random(seed), Circuit()
    ends: list[tuple[float, int]] = []
    now_s = longest_s = 0.0
    sent = answered = failed = in_flight_then = 0
    has_begun = False
    while answered < calls:
        while len(ends) < jobs and (ready_s := circuit.ready_at(now_s)) < math.inf:
            if ready_s > now_s and ends:
                break
            longest_s = max(longest_s, ready_s - now_s)
            now_s = max(now_s, ready_s)
            circuit.report_sent()
            latency_s = failure_s if fails(sent) else success_s
            heapq.heappush(ends, (now_s + latency_s * (1 + jitter * dice.uniform(-1, 1)), sent))
            if fails(sent) and not has_begun:
                has_begun, in_flight_then = True, len(ends)
            sent += 1
        now_s, number = heapq.heappop(ends)
        if fails(number):
            failed += 1
            circuit.report_failed(now_s, number)
            if (outage_s := circuit.outage_s(now_s)) is not None:
                return Ended(answered, failed + len(ends), in_flight_then, outage_s, longest_s)
        else:
            answered += 1
            circuit.report_accepted(number)
    return Ended(answered, failed, in_flight_then, None, longest_s)


@pytest.mark.parametrize("jobs", [1, 2, 8, 64])
def test_a_dead_service_costs_eight_calls(jobs: int) -> None:
    ended = simulate(lambda _: True, calls=60, jobs=jobs)
    assert (ended.answered, ended.failed) == (0, PROBES)
    assert ended.outage_s is not None
    assert 60 < ended.outage_s < 90


@pytest.mark.parametrize("jobs", [1, 2, 8, 64])
@pytest.mark.parametrize(
    ("success_s", "failure_s"),
    [
        pytest.param(0.2, 0.2, id="alike"),
        pytest.param(5.0, 0.001, id="fast-failures-overtake-slow-texts"),
        pytest.param(0.2, 60.0, id="timeouts"),
    ],
)
def test_an_outage_costs_at_most_a_dozen_calls_beyond_those_in_flight(
    jobs: int, success_s: float, failure_s: float
) -> None:
    """Slow texts of the service that has just failed still arrive, and are no evidence that it works."""
    for seed in range(10):
        begins = 100 + seed
        ended = simulate(
            lambda number, begins=begins: number >= begins,  # type: ignore[misc]
            calls=1000,
            jobs=jobs,
            success_s=success_s,
            failure_s=failure_s,
            seed=seed,
        )
        assert ended.answered == begins
        assert ended.failed - ended.in_flight <= DOZEN
        assert ended.outage_s is not None
        assert ended.outage_s > 60


def test_every_text_as_evidence_would_cost_more() -> None:
    """Negative control: a circuit that any text closes."""

    class Gullible(Circuit):
        def report_accepted(self, serial: int) -> None:
            super().report_accepted(10**9 + serial)

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(simulate.__globals__, "Circuit", Gullible)
        ended = simulate(lambda number: number >= 100, calls=1000, jobs=8, success_s=5.0, failure_s=0.001)
    assert ended.failed - ended.in_flight > DOZEN


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("jobs", [4, 8, 64])
def test_failures_at_random_end_no_run(share: float, jobs: int) -> None:
    for seed in range(10):
        broken = random.Random(seed)
        fates = [broken.random() < share for _ in range(20_000)]
        ended = simulate(fates.__getitem__, calls=2000, jobs=jobs, seed=seed)
        assert (ended.answered, ended.outage_s) == (2000, None)


@pytest.mark.parametrize("failure_s", [0.001, 0.2, 2.0])
def test_failures_of_one_call_in_a_hundred_cost_no_pause(failure_s: float) -> None:
    broken = random.Random(7)
    fates = [broken.random() < 0.01 for _ in range(20_000)]
    ended = simulate(fates.__getitem__, calls=5000, jobs=64, failure_s=failure_s)
    assert (ended.answered, ended.longest_pause_s) == (5000, 0.0)


def test_the_pauses_grow_and_a_success_forgets_them() -> None:
    circuit, pauses_s = Circuit(), []
    now_s = 0.0
    for serial in range(7):
        pauses_s.append(circuit.ready_at(now_s) - now_s)
        now_s = circuit.ready_at(now_s)
        circuit.report_sent()
        assert circuit.ready_at(now_s) == math.inf
        circuit.report_failed(now_s, serial)
    assert pauses_s == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    circuit.report_sent()
    circuit.report_accepted(7)
    assert not circuit.is_probing
    assert circuit.ready_at(now_s) == now_s


def test_the_patience_ends_an_outage_before_a_pause_that_would_exceed_it() -> None:
    circuit, now_s, failed = Circuit(patience_s=5.0), 0.0, 0
    while circuit.outage_s(now_s) is None:
        now_s = circuit.ready_at(now_s)
        circuit.report_sent()
        circuit.report_failed(now_s, failed)
        failed += 1
    assert failed == 4
    assert now_s == 0.5 + 1.0 + 2.0


def test_refusals_and_rejected_pages_are_no_evidence_in_an_outage() -> None:
    circuit = Circuit()
    circuit.report_sent()
    circuit.report_accepted(0)
    for serial in range(1, 6):
        circuit.report_sent()
        circuit.report_failed(0.0, serial)
    assert circuit.is_probing
    for report in (circuit.report_ended, circuit.report_answered):
        circuit.report_sent()
        report()
        assert circuit.is_probing
        assert circuit.ready_at(1.0) == circuit.ready_at(2.0) - 1.0 or circuit.ready_at(1.0) >= 1.0


def test_a_rejected_page_shows_before_the_first_text_that_the_service_can_be_called() -> None:
    circuit = Circuit()
    assert circuit.is_probing
    circuit.report_sent()
    circuit.report_answered()
    assert not circuit.is_probing


def test_its_repr_names_its_state() -> None:
    circuit = Circuit()
    assert repr(circuit) == "<Circuit probing, 0 failed, 0 in flight>"
    circuit.report_sent()
    circuit.report_accepted(0)
    assert repr(circuit) == "<Circuit closed, 0 failed, 0 in flight>"
    circuit.report_sent()
    circuit.report_failed(0.0, 1)
    assert repr(circuit) == "<Circuit suspect, 1 failed, 0 in flight>"


class AnyHistory(RuleBasedStateMachine):
    """Calls that end in any way, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now_s = 0.0
        self.sent = 0
        self.open: list[int] = []
        self.is_over = False
        self.failures_since = 0
        self.allowed = PROBES

    @precondition(lambda self: not self.is_over and len(self.open) < 16)
    @rule()
    def send(self) -> None:
        ready_s = self.circuit.ready_at(self.now_s)
        if ready_s == math.inf:
            assert self.open
            return
        self.now_s = ready_s
        self.circuit.report_sent()
        self.open.append(self.sent)
        self.sent += 1

    @rule()
    def wait(self) -> None:
        self.now_s += 1.0

    @precondition(lambda self: self.open)
    @rule(position=st.integers(0, 15), way=st.sampled_from(["accepted", "failed", "failed", "ended", "answered"]))
    def end(self, position: int, way: str) -> None:
        serial = self.open.pop(position % len(self.open))
        self.now_s += 0.01
        match way:
            case "accepted":
                self.circuit.report_accepted(serial)
            case "failed":
                if not self.circuit.is_probing and "closed" in repr(self.circuit):
                    self.failures_since, self.allowed = 0, len(self.open) + 1 + FREE_CALLS + PROBES
                self.failures_since += 1
                self.circuit.report_failed(self.now_s, serial)
                self.is_over = self.is_over or self.circuit.outage_s(self.now_s) is not None
            case "ended":
                self.circuit.report_ended()
            case _:
                self.circuit.report_answered()

    @invariant()
    def at_most_a_dozen_fail_beyond_those_in_flight(self) -> None:
        assert self.failures_since <= self.allowed

    @invariant()
    def calls_in_flight_are_counted(self) -> None:
        assert f"{len(self.open)} in flight" in repr(self.circuit)


TestAnyHistory = AnyHistory.TestCase


@given(st.floats(0, 1e9), st.floats(0.1, 1e6))
def test_without_a_failure_there_is_no_outage(now_s: float, patience_s: float) -> None:
    circuit = Circuit(patience_s)
    circuit.report_sent()
    assert circuit.outage_s(now_s) is None
