"""Calls are spaced when none was admitted that followed more closely than a refused one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.pace.calls import CallLog
from pipeline.remote.pace.gaps import Gaps
from pipeline.remote.pace.window import Window
from tests.remote.pace.tokens import token


def judge(gaps_s: list[tuple[float, bool]], *, others: int = 1) -> tuple[Gaps, Window | None]:
    """Return the evidence of calls sent after these gaps, admitted or refused, and what it says of the last one."""
    gaps, log, now_s, last_admitted_s = Gaps(), CallLog(), 0.0, 0.0
    spacing = None
    for serial, (gap_s, is_admitted) in enumerate(gaps_s):
        now_s = last_admitted_s + gap_s
        call = token(serial, now_s, others=others)
        if is_admitted:
            log.add(call)
            gaps.report_accepted(call)
            last_admitted_s, spacing = now_s, None
        else:
            gaps.report_refused(call, log)
            spacing = gaps.spacing(call)
    return gaps, spacing


def spaced(admitted_s: float, refused_s: float, refusals: int = 2) -> list[tuple[float, bool]]:
    """Return calls of which every eighth follows too closely."""
    return [*([(admitted_s, True)] * 7), (refused_s, False)] * refusals


def test_a_gap_is_found_between_the_refused_and_the_admitted_ones() -> None:
    _, spacing = judge(spaced(0.022, 0.019))
    assert spacing is not None
    assert 0.019 <= spacing.length_s <= 0.022


def test_one_refusal_proves_nothing() -> None:
    assert judge(spaced(0.022, 0.019, refusals=1))[1] is None


def test_refusals_in_a_row_are_one() -> None:
    assert judge([*spaced(0.022, 0.019, refusals=1), (0.019, False)])[1] is None


def test_a_refused_first_call_has_no_gap() -> None:
    """The calls of another run have kept it out."""
    assert judge([(0.5, False), *spaced(0.022, 0.019)])[1] is not None


def test_late_arrivals_may_overlap_a_little() -> None:
    assert judge(spaced(0.0195, 0.0205))[1] is not None


@pytest.mark.parametrize("burst_s", [0.001, 0.01, 0.017])
def test_a_burst_that_was_admitted_refutes_it(burst_s: float) -> None:
    gaps, spacing = judge([(0.022, True), (burst_s, True), *spaced(0.022, 0.021)])
    assert spacing is None
    assert gaps.are_refuted == (burst_s < 0.85 * 0.021)


def test_a_limit_of_calls_in_flight_is_none() -> None:
    """Its admitted calls have fewer others in flight, whatever their gaps."""
    gaps, log = Gaps(), CallLog()
    spacing = None
    for serial in range(16):
        call = token(serial, 0.1 * serial, others=int(serial % 8 == 7))
        if serial % 8 == 7:
            call = call._replace(sent_s=call.sent_s - 0.05)
            gaps.report_refused(call, log)
            spacing = gaps.spacing(call)
        else:
            log.add(call)
            gaps.report_accepted(call)
    assert spacing is None


@given(
    limit_s=st.floats(0.005, 0.06),
    shares=st.lists(st.floats(0.5, 2.0), min_size=30, max_size=80),
)
def test_a_spacing_is_between_its_bounds_whenever_it_is_found(limit_s: float, shares: list[float]) -> None:
    """A limiter without a burst, and calls of any gaps."""
    _, spacing = judge([(share * limit_s, share >= 1) for share in shares])
    if spacing is not None:
        assert spacing.shut_s <= limit_s <= spacing.open_s * (1 + 1e-9)
