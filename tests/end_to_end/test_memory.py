"""A small slice of `tests.benchmarks.memory`: memory does not grow with the number of pages."""

from pathlib import Path

import pytest

from tests.benchmarks.memory import fast_server, measure


@pytest.mark.parametrize("kind", ["missing paths", "tiny images"])
def test_ten_times_the_pages_take_about_the_same_memory(tmp_path: Path, kind: str) -> None:
    """What a page costs is given back when it ends: 1,800 more of them at a list entry of 5 kB each would show."""
    with fast_server() as url:
        few, many = (measure(tmp_path, kind, pages, url) for pages in (200, 2000))
    assert {few.exit_code, many.exit_code} <= {0, 3}
    assert many.peak_mb - few.peak_mb < 9
