"""The log counts the calls that were not refused, as a list of them does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.pace.calls import CallLog, Token
from tests.remote.pace.tokens import log_of, token

GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0.001, 5)), min_size=1, max_size=60)


@given(GAPS, st.sets(st.integers(0, 59)), st.tuples(*[st.integers(0, 70)] * 2), st.tuples(*[st.floats(0, 100)] * 2))
def test_counts_are_those_of_a_list(
    gaps_s: list[float], refused: set[int], serials: tuple[int, int], times_s: tuple[float, float]
) -> None:
    (first, end), (after_s, until_s) = sorted(serials), times_s
    log, kept, now_s = CallLog(), list[Token](), 0.0
    for serial, gap_s in enumerate(gaps_s):
        now_s += gap_s
        kept.append(token(serial, now_s))
        log.add(kept[-1])
    for serial in refused & set(range(len(gaps_s))):
        log.remove(kept[serial])
        log.remove(kept[serial])
    kept = [one for one in kept if one.serial not in refused]
    assert log.count(first) == sum(one.serial >= first for one in kept)
    assert log.count(first, token(end, 0.0)) == sum(first <= one.serial < end for one in kept)
    assert log.count_sent(after_s, until_s) == sum(after_s < one.sent_s <= until_s for one in kept)
    for back in range(1, len(kept) + 1):
        assert log.sent_s(back) == kept[-back].sent_s


@pytest.mark.parametrize("back", [0, 4, -1])
def test_a_place_outside_the_log_is_an_error(back: int) -> None:
    with pytest.raises(IndexError):
        log_of([1.0, 2.0, 3.0]).sent_s(back)


def test_old_calls_are_forgotten() -> None:
    """A run of a million pages keeps tens of thousands of times."""
    log = log_of(float(number) for number in range(100_000))
    assert 20_000 <= log.count(0) < 40_000
    assert log.sent_s(20_000) == 80_000.0
