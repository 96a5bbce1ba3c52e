"""How much of the permitted rate do real runs use? Runs the real command against real servers with limits.

    python -m tests.benchmarks.allowed [WORD ...]

Prints the share of the permitted rate that was reached and the number of refused calls. With WORDs only the scenarios
whose name contains one of them run. Exit code 1 when a scenario breaks its promise.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from aiohttp import web

from tests.benchmarks.limits import Concurrency, Limit, TokenBucket
from tests.benchmarks.memory import write_tiny
from tests.fakes import Call, accept, serve_fake
from tests.runs import COMMAND, KEY, environment


@dataclass(frozen=True, slots=True)
class Scenario:
    """A limited server, and what a run against it must reach.

    Attributes:
        name: Names it in the table.
        pages: Pages of the run.
        jobs: Most calls in flight.
        latency_s: Time to an answer.
        limit: Makes the server's limiter.
        must_reach: Least share of the permitted rate.
        most_refused: Most calls that may be refused.
        retry_after_s: The Retry-After of a refusal; None sends none.
    """

    name: str
    pages: int
    jobs: int
    latency_s: float
    limit: Callable[[], Limit]
    must_reach: float
    most_refused: int
    retry_after_s: int | None = None


SCENARIOS = (
    Scenario("bucket 50/s, burst 10", 1000, 32, 0.1, lambda: TokenBucket(50, 10), 0.97, 15),
    Scenario("8 in flight", 2000, 32, 0.1, lambda: Concurrency(8, 0.1), 0.95, 40),
    Scenario("no limit, 64 x 500 ms", 4000, 64, 0.5, lambda: Concurrency(64, 0.5), 0.94, 0),
    Scenario("bucket, Retry-After 1 s", 3000, 32, 0.1, lambda: TokenBucket(50, 10), 0.92, 4, 1),
)


async def main() -> int:
    """Print a line per scenario; return 1 when one breaks its promise."""
    words = sys.argv[1:]
    heads = f"{'scenario':<26}{'reached':>9}{'must':>7}{'refused':>9}{'at most':>9}{'inside Retry-After':>20}"
    print(f"{heads}{'s':>8}{'ideal':>8}")
    broken = 0
    for scenario in SCENARIOS:
        if not words or any(word in scenario.name for word in words):
            broken += await run_scenario(scenario)
    return 1 if broken else 0


async def run_scenario(scenario: Scenario) -> bool:
    """Run and print one scenario; return whether it broke its promise."""
    limit = scenario.limit()
    refused_s: list[float] = []
    admitted_s: list[float] = []
    inside = in_service = 0

    async def answer(call: Call) -> web.StreamResponse:
        nonlocal in_service, inside
        wait_s = scenario.retry_after_s
        # a call that arrives within 50 ms of a refusal was already in flight
        inside += bool(wait_s and refused_s and 0.05 < call.at_s - refused_s[-1] < wait_s)
        if not limit.admit(call.at_s, in_service):
            refused_s.append(call.at_s)
            headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
            return web.json_response({"statusText": "Too Many Requests"}, status=429, headers=headers)
        in_service += 1
        admitted_s.append(call.at_s)
        await asyncio.sleep(scenario.latency_s)
        in_service -= 1
        return accept(call)

    with tempfile.TemporaryDirectory() as directory:
        scans = Path(directory) / "scans"
        for number in range(scenario.pages):
            write_tiny(scans / f"{number // 1000:04}" / f"page-{number:07}.png", number)
        async with serve_fake(answer) as fake:
            arguments = ["run", str(scans), "-o", f"{directory}/out", "--api-url", fake.url, "-j", str(scenario.jobs)]
            command = [*COMMAND, *arguments, "--ledger", directory, "-qq"]
            await anyio.run_process(command, env=environment(KEY))
    taken_s = admitted_s[-1] + scenario.latency_s - admitted_s[0]
    ideal_s = limit.ideal_s(scenario.pages)
    reached = ideal_s / taken_s
    print(
        f"{scenario.name:<26}{reached:>9.1%}{scenario.must_reach:>7.0%}{len(refused_s):>9}"
        f"{scenario.most_refused:>9}{inside:>20}{taken_s:>8.1f}{ideal_s:>8.1f}",
        flush=True,
    )
    return reached < scenario.must_reach or len(refused_s) > scenario.most_refused or inside > 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
