"""Memory does not grow with the number of pages: a short version of `tests.benchmarks.memory`."""

from pathlib import Path

import pytest

from tests.benchmarks.fast_server import fast_server
from tests.benchmarks.memory import measure


@pytest.mark.parametrize("kind", ["missing paths", "tiny images"])
def test_ten_times_the_pages_need_about_the_same_memory(tmp_path: Path, kind: str) -> None:
    """The limit is 5 kB for each of the 1,800 additional pages: a list of all pages would exceed it."""
    with fast_server() as url:
        few, many = (measure(tmp_path, kind, pages, url) for pages in (200, 2000))
    assert {few.exit_code, many.exit_code} <= {0, 3}
    assert many.peak_mb - few.peak_mb < 9
