"""Where the calls of a sounding are refused tells the kind of limit."""

import pytest

from pipeline.remote.pace.rate import Rate
from pipeline.remote.pace.sounding import EvenPace, Sounding
from pipeline.remote.pace.window import Window
from tests.remote.pace.tokens import log_of, token


def send(sounding: Sounding, calls: int) -> list[float]:
    """Send calls as early as the sounding permits, and return when."""
    times_s, now_s = list[float](), 100.0
    for serial in range(calls):
        now_s = max(now_s, sounding.ready_at())
        sounding.report_sent(token(serial, now_s))
        times_s.append(now_s)
    return times_s


def test_the_calls_go_out_at_four_times_the_mean_and_twice_as_fast_each_time_as_many_have_passed() -> None:
    times_s = send(Sounding(60, 45.0, 60.0), 121)
    assert times_s[59] - times_s[0] == pytest.approx(15.0, rel=0.05)
    assert times_s[120] - times_s[60] == pytest.approx(7.5, rel=0.05)


def test_a_refusal_at_the_nth_call_is_a_window() -> None:
    sounding = Sounding(60, 45.0, 60.0)
    found = sounding.judge(token(60, 116.0), log_of(send(sounding, 60)))
    assert isinstance(found, Window)
    assert (found.calls, found.start.sent_s) == (60, 100.0)
    assert found.length_s == pytest.approx(60.0, abs=0.1)


def test_an_earlier_refusal_is_a_counter() -> None:
    sounding = Sounding(60, 60.0, 68.0)
    found = sounding.judge(token(10, 103.0), log_of(send(sounding, 10)))
    assert found == EvenPace(1.0, is_penalty=False)


def test_a_later_refusal_is_a_penalty_for_more_calls_than_in_the_time_of_the_last_n() -> None:
    sounding = Sounding(50, 29.0, 30.0)
    times_s = send(sounding, 120)
    found = sounding.judge(token(120, times_s[-1] + 0.05), log_of(times_s))
    assert isinstance(found, EvenPace)
    assert found.is_penalty
    assert found.rate_per_s == pytest.approx(49 / (times_s[-1] + 0.05 - times_s[-50]), rel=0.01)


def test_a_refusal_is_the_rates_while_a_known_rate_holds_the_sounding_back() -> None:
    """Of two stacked windows, the shorter one may be known by its rate."""
    sounding = Sounding(100, 47.0, 73.0)
    log = log_of(send(sounding, 12))
    rate = Rate()
    assert not sounding.is_slowed(rate, token(12, 104.0), log)
    rate.settle(token(0, 0.0), 5.0, refused=False)
    assert sounding.is_slowed(rate, token(12, 104.0), log)
    assert not sounding.is_slowed(rate, token(100, 120.0), log_of(send(Sounding(100, 47.0, 73.0), 100)))
