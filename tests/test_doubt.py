"""The figures of the benchmark `doubt`."""

from dataclasses import replace

import pytest

from tests.benchmarks.doubt import JudgedPage, errors_in_worst
from tests.factories import QUALITY


def make_pages(*pages: tuple[float, int]) -> list[JudgedPage]:
    """Return pages of 100 characters with these scores and errors."""
    return [JudgedPage("a page", 100, errors, replace(QUALITY, score=score)) for score, errors in pages]


def test_the_worst_fifth_by_score_is_compared_with_the_fifth_that_has_most_errors() -> None:
    pages = make_pages((0.9, 30), (0.5, 20), (0.8, 0), (1.0, 10), (0.7, 0))
    assert errors_in_worst(pages) == pytest.approx((20 / 60, 30 / 60))
    assert errors_in_worst(pages * 2) == pytest.approx((40 / 120, 60 / 120))


def test_pages_without_errors_leave_nothing_to_find() -> None:
    assert errors_in_worst(make_pages((0.9, 0), (1.0, 0))) == (1.0, 1.0)


def test_more_than_a_tenth_of_wrong_characters_is_bad() -> None:
    assert [page.is_bad for page in make_pages((1.0, 10), (1.0, 11))] == [False, True]
