"""Windows hold back the call after the last admitted one; spacings are bisected."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.pace.calls import Start
from pipeline.remote.pace.window import Window, likely_counter_s, likely_length_s
from tests.remote.pace.tokens import log_of, token

HERE = Start(0.0, 0)


@pytest.mark.parametrize(
    ("shut_s", "open_s", "length_s"),
    [
        pytest.param(45.0, 60.0, 60.0, id="a-minute"),
        pytest.param(5.0, 20.0, 10.0, id="the-shortest-usual-length-first"),
        pytest.param(60.1, 80.0, 80.0, id="none-between"),
        pytest.param(59.4, 60.4, 60.0, id="a-named-pause-that-is-rounded-up"),
    ],
)
def test_the_length_is_a_usual_one_if_there_is_one(shut_s: float, open_s: float, length_s: float) -> None:
    assert likely_length_s(shut_s, open_s) == pytest.approx(length_s, abs=0.05)


def test_a_counter_opens_after_its_length() -> None:
    assert likely_counter_s(68.0, 78.0, 100, 20) == 60.0


def test_a_counter_of_refused_calls_opens_later_by_their_share() -> None:
    assert likely_counter_s(15.0, 20.0, 20, 20) == 10.0
    assert likely_counter_s(15.0, 20.0, 20, 0) == 15.0


def test_the_call_after_the_last_admitted_one_waits_for_the_end() -> None:
    window = Window(3 + 1, 45.0, 60.0, HERE)
    assert window.ready_at(log_of([0.0, 0.1, 0.2])) == -math.inf
    assert window.ready_at(log_of([0.0, 0.1, 0.2, 0.3])) == pytest.approx(60.0, abs=0.1)
    assert window.ready_at(log_of([0.0, 0.1, 0.2, 0.3, 60.1])) == pytest.approx(60.1, abs=0.1)


def test_calls_before_its_start_do_not_count() -> None:
    window = Window(4, 45.0, 60.0, Start(0.2, 2))
    assert window.ready_at(log_of([0.0, 0.1, 0.2, 0.3])) == -math.inf


def test_it_explains_a_refusal_only_when_it_was_full() -> None:
    window = Window(4, 9.0, 10.0, HERE)
    log = log_of([0.0, 0.1, 0.2, 0.3])
    assert window.is_full(token(4, 0.4), log)
    assert not window.is_full(token(3, 0.3), log)
    assert not window.is_full(token(4, 30.0), log)


@given(st.floats(0.2, 100), st.floats(0.01, 0.99), st.floats(1.01, 3))
def test_a_spacing_is_bisected(length_s: float, shut: float, opened: float) -> None:
    """Each call that is refused or accepted halves what is left, as far as timers and arrivals are exact."""
    window = Window(1, shut * length_s, opened * length_s, HERE)
    send_spaced(window, length_s, calls=10)
    assert 0.9 * length_s <= window.length_s <= 1.1 * length_s


def test_a_window_is_outdated_after_ten_minutes_and_ten_lengths() -> None:
    assert not Window(4, 9.0, 10.0, HERE).is_outdated(599.0)
    assert Window(4, 9.0, 10.0, HERE).is_outdated(601.0)
    assert not Window(4, 200.0, 300.0, HERE).is_outdated(2999.0)
    assert Window(4, 200.0, 300.0, HERE).is_outdated(3010.0)


def test_a_named_end_is_an_upper_bound() -> None:
    """Some services name their whole window, whenever they refuse."""
    window = Window(60, 58.6, 60.6, HERE)
    window.report_named(15.0, 75.0)
    assert window.length_s == pytest.approx(60, abs=0.1)
    window.report_named(61.0, 90.5)  # it was shut after what was believed
    assert window.length_s == pytest.approx(90, abs=1)


@pytest.mark.parametrize("length_s", [0.02, 0.2])
@pytest.mark.parametrize("believed_s", [0.5, 1.01, 1.3])
def test_a_spacing_follows_the_shortest_gap_that_is_admitted(length_s: float, believed_s: float) -> None:
    """Also where arrivals are late by chance, so that no refusal is a bound."""
    window = Window(1, believed_s * length_s, believed_s * length_s, HERE)
    send_spaced(window, length_s, calls=1500, late=0.05)
    gaps_s, refused = send_spaced(window, length_s, calls=3000, late=0.05)
    assert refused <= 0.015 * 3000
    assert 0.99 * length_s <= sum(gaps_s) / len(gaps_s) <= 1.07 * length_s


def test_calls_far_apart_do_not_shorten_a_spacing() -> None:
    """The client has been slow; once it is fast again, the spacing still holds."""
    window = Window(1, 0.02, 0.02, HERE, is_close=True)
    for _ in range(1000):
        window.report_spaced(token(1, 1.0), log_of([0.0]))
    assert window.length_s == 0.02


def test_refusals_in_a_row_lengthen_a_spacing_fast() -> None:
    """The limit was lowered."""
    window = Window(1, 0.02, 0.02, HERE)
    _, refused = send_spaced(window, 0.05, calls=30)
    assert refused <= 25
    assert window.length_s >= 0.05


def send_spaced(window: Window, length_s: float, *, calls: int, late: float = 0.0) -> tuple[list[float], int]:
    """Send calls to a service that admits such gaps; return the gaps at the client, and how many were refused.

    Arrivals are early or late by up to half of `late`, a share of the length.
    """
    dice, gaps_s, refused = random.Random(8), [], 0
    for _ in range(calls):
        gap_s = window.length_s
        gaps_s.append(gap_s)
        if gap_s + length_s * late * dice.uniform(-0.5, 0.5) < length_s:
            window.report_shut(gap_s)
            refused += 1
        else:
            window.report_spaced(token(1, gap_s), log_of([0.0]))
    return gaps_s, refused
