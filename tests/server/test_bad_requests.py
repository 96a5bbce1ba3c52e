"""One in nine of the benchmark's thousand bad requests, against the real server and its engine."""

import pytest

from tests.benchmarks.bad_requests import COUNTS, run_bad_requests


@pytest.mark.engine
async def test_bad_requests_cost_the_caller_an_error_and_the_server_nothing() -> None:
    """Each gets a documented 4xx; memory stays within its bound, no worker dies, nothing connects to the canary."""
    result = await run_bad_requests(step=9)
    assert result.faults == []
    assert set(result.statuses) == {*COUNTS, "URL"}
    assert {status for statuses in result.statuses.values() for status in statuses} == {400, 401}
