"""The retry budget: ten retries at once, one more per ten successes, and two per second beyond that; backoff."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.retry_budget import RetryBudget, backoff_s


def emptied(at_s: float = 0.0) -> RetryBudget:
    """Return a budget whose ten saved retries are spent."""
    budget = RetryBudget()
    for _ in range(10):
        budget.schedule_retry(at_s)
    return budget


def test_ten_retries_go_out_at_once() -> None:
    budget = RetryBudget()
    assert [budget.schedule_retry(7.0) for _ in range(10)] == [7.0] * 10


def test_an_empty_budget_spaces_the_retries_of_all_pages() -> None:
    budget = emptied()
    assert [budget.schedule_retry(100.0) for _ in range(3)] == [100.5, 101.0, 101.5]


def test_ten_successes_pay_for_one_retry() -> None:
    budget = emptied()
    for _ in range(9):
        budget.count_success()
    assert budget.schedule_retry(100.0) == 100.5
    budget.count_success()
    assert budget.schedule_retry(200.0) == 200.0
    assert budget.schedule_retry(200.0) == 200.5


def test_an_hour_without_a_success_pays_for_no_retry() -> None:
    assert emptied().schedule_retry(3600.0) == 3600.5


def test_at_most_ten_retries_are_saved_up() -> None:
    budget = RetryBudget()
    for _ in range(100_000):
        budget.count_success()
    assert [budget.schedule_retry(5.0) for _ in range(11)] == [5.0] * 10 + [5.5]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_retries_never_exceed_what_is_paid_for(history: list[tuple[bool, float]]) -> None:
    """Until any moment: at most ten, plus a tenth of the successes, plus two per second."""
    budget, now_s, successes, releases = RetryBudget(), 0.0, 0, list[float]()
    for succeeded, wait_s in history:
        now_s += wait_s
        if succeeded:
            budget.count_success()
            successes += 1
        else:
            release_s = budget.schedule_retry(now_s)
            assert release_s >= now_s
            releases.append(release_s)
    for moment_s in releases:
        out = sum(release_s <= moment_s for release_s in releases)
        assert out <= 10 + successes / 10 + 2 * moment_s + 1e-6


class TestBackoff:
    @pytest.mark.parametrize(
        ("attempt", "bound_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 20.0), (50, 20.0), (100_000, 20.0)]
    )
    def test_the_bound_doubles_up_to_the_cap(self, attempt: int, bound_s: float) -> None:
        assert backoff_s(attempt, 0.5) == bound_s / 2

    @given(
        st.integers(1, 100_000),
        st.floats(0, 1, exclude_max=True),
        st.floats(0.001, 100),
        st.floats(0.001, 1000),
    )
    def test_the_wait_is_proportional_to_the_jitter_and_never_above_the_cap(
        self, attempt: int, jitter: float, base_s: float, cap_s: float
    ) -> None:
        wait_s = backoff_s(attempt, jitter, base_s=base_s, cap_s=cap_s)
        assert 0 <= wait_s <= cap_s
        assert backoff_s(attempt, 0.0, base_s=base_s, cap_s=cap_s) == 0
        assert wait_s <= backoff_s(attempt + 1, jitter, base_s=base_s, cap_s=cap_s)
        assert backoff_s(1, jitter, base_s=base_s, cap_s=cap_s) == jitter * min(base_s, cap_s)
