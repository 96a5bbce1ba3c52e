"""The limiters themselves: how many calls of a burst each admits, how it refuses the others, and what it logs."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.gateways import haproxy, imitations, nginx
from tests.gateways.application import Application, limit_by_library
from tests.gateways.gateway import Limiter, LoggedCall, count_inside_retry_after

BURST = 8
BODY = {"document": {"type": "image_url", "image_url": "http://127.0.0.1/page"}, "filename": "page.png"}


async def send_burst(url: str) -> list[int]:
    """Send calls at once; return their statuses, 0 for a connection that is closed unanswered."""
    async with aiohttp.ClientSession() as session:

        async def send() -> int:
            try:
                async with session.post(f"{url}/api/text-recognition?key=k", json=BODY) as response:
                    await response.read()
                    return response.status
            except aiohttp.ClientError:
                return 0

        return await asyncio.gather(*(send() for _ in range(BURST)))


@pytest.mark.parametrize(
    ("limiter", "admitted", "status", "retry_after_s"),
    [
        pytest.param(nginx.limit_requests("1r/m", "burst=2 nodelay"), 3, 503, None, id="nginx-limit_req"),
        pytest.param(nginx.limit_connections(2, status=429), 2, 429, None, id="nginx-limit_conn"),
        pytest.param(nginx.limit_both("1r/m", "burst=4 nodelay", 2, status=429), 2, 429, None, id="nginx-both"),
        pytest.param(
            nginx.limit_requests_and_name_wait("1r/m", "burst=2 nodelay", status=529, retry_after_s=7),
            3,
            529,
            7,
            id="nginx-Retry-After",
        ),
        pytest.param(haproxy.limit_rate(3, "60s"), 3, 429, None, id="haproxy-rate"),
        pytest.param(haproxy.limit_rate(3, "60s", "deny"), 3, 403, None, id="haproxy-403-page"),
        pytest.param(haproxy.limit_rate(3, "60s", haproxy.named_wait(7)), 3, 429, 7, id="haproxy-Retry-After"),
        pytest.param(haproxy.limit_accepted_rate(3, "60s"), 3, 429, None, id="haproxy-accepted-rate"),
        pytest.param(limit_by_library("fixed", "3/minute", "Retry-After"), 3, 429, 60, id="limits-fixed"),
        pytest.param(limit_by_library("fixed", "3/second", "Retry-After rounded down"), 3, 429, 0, id="limits-0"),
        pytest.param(
            limit_by_library("fixed", "3/minute", "Retry-After of the window"), 3, 429, 60, id="limits-whole-window"
        ),
        pytest.param(limit_by_library("moving", "3/minute"), 3, 429, None, id="limits-moving"),
        pytest.param(limit_by_library("counter", "3/minute", "IETF"), 3, 429, None, id="limits-counter"),
        pytest.param(limit_by_library("moving", "9/second;3/minute"), 3, 429, None, id="limits-stacked"),
        pytest.param(Application(lambda: imitations.TokenBucket(1, 3, imitations.aws_refusal)), 3, 429, None, id="aws"),
        pytest.param(
            Application(lambda: imitations.TokenBucket(0.1, 3, imitations.azure_refusal)), 3, 429, 10, id="azure"
        ),
        pytest.param(
            Application(lambda: imitations.Block(3, 60, 30, imitations.cloudflare_refusal)), 3, 429, 30, id="block"
        ),
    ],
)
async def test_a_burst_is_admitted_up_to_the_limit_and_logged(
    tmp_path: Path, limiter: Limiter, admitted: int, status: int, retry_after_s: float | None
) -> None:
    async with limiter.serve(tmp_path, 0.1) as gateway:
        statuses = await send_burst(gateway.url)
    calls = gateway.calls()
    assert Counter(statuses) == {200: admitted, status: BURST - admitted}
    assert gateway.let_through == admitted
    assert Counter(call.status for call in calls) == Counter(statuses)
    refused = [call for call in calls if not call.is_accepted]  # the rest of a window may be a second less
    assert {call.retry_after_s for call in refused} <= {retry_after_s, retry_after_s and retry_after_s - 1}
    assert all(0.09 < call.ended_s - call.arrived_s < 60 for call in calls if call.is_accepted)
    assert abs(calls[0].arrived_s - time.time()) < 60


async def test_haproxy_closes_the_connections_that_it_rejects(tmp_path: Path) -> None:
    async with haproxy.reject_connections(3).serve(tmp_path, 0.1) as gateway:
        statuses = await send_burst(gateway.url)
    assert Counter(statuses) == {200: 3, 0: BURST - 3}
    assert [call.status for call in gateway.calls()] == [200] * 3


@pytest.mark.parametrize(
    ("arrived_s", "inside"),
    [
        pytest.param(10.04, 0, id="under-way"),
        pytest.param(10.5, 1, id="inside"),
        pytest.param(11.9, 1, id="just-before-its-end"),
        pytest.param(11.96, 0, id="within-the-clocks-difference"),
        pytest.param(12.1, 0, id="after"),
    ],
)
def test_a_call_is_inside_a_retry_after_from_when_the_client_knows_it_to_its_end(arrived_s: float, inside: int) -> None:
    refused = LoggedCall(9.9, 10.0, 429, retry_after_s=2)
    assert count_inside_retry_after([refused, LoggedCall(arrived_s, arrived_s + 0.1, 200)]) == inside
