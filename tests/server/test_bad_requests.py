"""A ninth of the thousand bad requests, against the real server and its engine."""

import pytest

from tests.benchmarks.bad_requests import COUNTS, run_bad


@pytest.mark.engine
async def test_bad_requests_cost_the_caller_an_error_and_the_server_nothing() -> None:
    """Each a documented 4xx, memory stays, no worker dies, nobody knocks at the canary."""
    outcome = await run_bad(step=9)
    assert outcome.faults == []
    assert set(outcome.statuses) == {*COUNTS, "URL"}
    assert {status for statuses in outcome.statuses.values() for status in statuses} == {400, 401}
