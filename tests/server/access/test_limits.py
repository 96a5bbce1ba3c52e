"""The burst limit, by an invented clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.access.limits import BurstLimit, retry_after_s


def test_a_burst_is_let_in_and_the_next_call_waits() -> None:
    """Three at once, then one each half second."""
    limit = BurstLimit(2.0, burst=3)
    assert [limit.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("a", 100.5) == 0
    assert limit.take("a", 100.5) == pytest.approx(0.5)


def test_a_refused_call_takes_nothing() -> None:
    """Who knocks again and again waits no longer than who waits."""
    limit = BurstLimit(1.0, burst=1)
    limit.take("a", 0.0)
    for _ in range(100):
        assert limit.take("a", 0.5) == pytest.approx(0.5)
    assert limit.take("a", 1.0) == 0


def test_keys_do_not_share_a_bucket() -> None:
    """One caller's burst costs the others nothing."""
    limit = BurstLimit(1.0, burst=1)
    assert [limit.take(name, 0.0) for name in ("a", "b", "a")] == [0, 0, 1.0]


@pytest.mark.parametrize(("rate_per_s", "burst"), [(10.0, 10), (2.5, 3), (0.1, 1)])
def test_without_a_burst_a_second_s_worth_may_come_at_once(rate_per_s: float, burst: int) -> None:
    """At least one call, however slow the rate."""
    limit = BurstLimit(rate_per_s)
    assert [limit.take("a", 0.0) == 0 for _ in range(burst + 1)] == [True] * burst + [False]


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_its_share(
    rate_per_s: float, burst: int, gaps_s: list[float]
) -> None:
    """The definition of a token bucket, and a wait that was kept is enough."""
    limit = BurstLimit(rate_per_s, burst)
    now_s, taken = 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = limit.take("a", now_s)
        if wait_s == 0:
            taken.append(now_s)
        else:
            assert BurstLimit.take(limit, "a", now_s + wait_s) == 0
            now_s += wait_s
            taken.append(now_s)
    for first, begin_s in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + rate_per_s * (taken[last] - begin_s)
            assert last - first + 1 <= allowed + 1e-6


def test_memory_does_not_grow_with_the_names() -> None:
    """A bucket that is full again is forgotten."""
    limit = BurstLimit(10.0)
    for number in range(20_000):
        limit.take(f"key {number}", number * 1.0)
    assert repr(limit).endswith(" buckets>")
    assert int(repr(limit).split()[-2]) <= 1024


@pytest.mark.parametrize(("wait_s", "header"), [(0.01, 1), (1.0, 1), (1.01, 2), (59.5, 60)])
def test_retry_after_is_whole_seconds_and_never_too_early(wait_s: float, header: int) -> None:
    """RFC 9110 knows no fractions; 0 would mean at once."""
    assert retry_after_s(wait_s) == header
