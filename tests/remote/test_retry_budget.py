"""The retry budget: ten at once, one more for ten successes, then two a second."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.remote.retry_budget import RetryBudget


def emptied(at_s: float = 0.0) -> RetryBudget:
    """Return a budget whose ten tokens are spent."""
    budget = RetryBudget()
    for _ in range(10):
        budget.take(at_s)
    return budget


def test_ten_retries_go_out_at_once() -> None:
    """A short trouble costs no time."""
    budget = RetryBudget()
    assert [budget.take(7.0) for _ in range(10)] == [7.0] * 10


def test_an_empty_budget_spaces_the_retries_of_all_pages() -> None:
    """Who comes eleventh, twelfth and thirteenth goes half a second after the one before, whichever page it is of."""
    budget = emptied()
    assert [budget.take(100.0) for _ in range(3)] == [100.5, 101.0, 101.5]


def test_ten_successes_pay_for_one_retry() -> None:
    """Nine do not."""
    budget = emptied()
    for _ in range(9):
        budget.succeed()
    assert budget.take(100.0) == 100.5
    budget.succeed()
    assert budget.take(200.0) == 200.0
    assert budget.take(200.0) == 200.5


def test_time_alone_pays_for_nothing() -> None:
    """After an hour without a success the next retry still waits its half second."""
    assert emptied().take(3600.0) == 3600.5


def test_successes_are_not_hoarded() -> None:
    """A million good pages do not buy a storm of retries: ten is the most."""
    budget = RetryBudget()
    for _ in range(100_000):
        budget.succeed()
    assert [budget.take(5.0) for _ in range(11)] == [5.0] * 10 + [5.5]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_no_history_lets_more_out_than_is_paid_for(history: list[tuple[bool, float]]) -> None:
    """Retries until any moment are at most ten, a tenth of the successes, and two a second."""
    budget, now_s, successes, releases = RetryBudget(), 0.0, 0, list[float]()
    for succeeded, wait_s in history:
        now_s += wait_s
        if succeeded:
            budget.succeed()
            successes += 1
        else:
            release_s = budget.take(now_s)
            assert release_s >= now_s
            releases.append(release_s)
    for moment_s in releases:
        out = sum(release_s <= moment_s for release_s in releases)
        assert out <= 10 + successes / 10 + 2 * moment_s + 1e-6
