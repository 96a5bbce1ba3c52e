"""The rate at which bodies are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.http.pacing import ACTIVE_S, BURST_BYTES, BYTES_PER_S, DELAY_MAX_S, BodyPacer
from tests.clocks import Clock


def pacer(clock: Clock) -> BodyPacer:
    """Return a pacer with the clock of the test."""
    return BodyPacer(lambda: clock.uptime_s)


def test_a_lone_caller_never_waits() -> None:
    paced = pacer(Clock())
    assert [paced.delay_s("a", BURST_BYTES) for _ in range(10)] == [0.0] * 10


def test_beside_another_caller_one_waits_after_its_burst_and_the_other_does_not() -> None:
    paced = pacer(Clock())
    paced.delay_s("b", 1)
    assert paced.delay_s("a", BURST_BYTES) == 0.0
    assert paced.delay_s("a", BYTES_PER_S // 2) == pytest.approx(0.5)
    assert paced.delay_s("b", BURST_BYTES // 2) == 0.0


def test_a_caller_waits_no_longer_than_the_maximum_whatever_it_sent_while_alone() -> None:
    clock = Clock()
    paced = pacer(clock)
    for _ in range(20):
        paced.delay_s("a", BURST_BYTES)
    paced.delay_s("b", 1)
    assert paced.delay_s("a", BURST_BYTES) == DELAY_MAX_S
    clock.uptime_s += DELAY_MAX_S
    assert paced.delay_s("a", 0) == pytest.approx(0.0)


def test_a_caller_that_sends_no_more_is_forgotten() -> None:
    clock = Clock()
    paced = pacer(clock)
    paced.delay_s("b", 1)
    clock.uptime_s += ACTIVE_S + 1
    assert [paced.delay_s("a", BURST_BYTES) for _ in range(3)] == [0.0] * 3


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=300))
def test_in_the_long_run_a_caller_has_its_burst_and_its_rate(chunks: list[int]) -> None:
    clock = Clock()
    paced = pacer(clock)
    paced.delay_s("b", 1)
    for chunk in chunks:
        clock.uptime_s += paced.delay_s("a", chunk)
    assert sum(chunks) <= BURST_BYTES + clock.uptime_s * BYTES_PER_S + 1
