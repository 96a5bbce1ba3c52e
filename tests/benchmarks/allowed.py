"""How near to what is allowed? Real runs against real servers that limit; prints what was reached and what was refused.

python -m tests.benchmarks.allowed [WORD ...]     only the scenarios whose name has a word in it
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from aiohttp import web

from tests.benchmarks.memory import write_tiny
from tests.fakes import Call, accept, serve_fake
from tests.runs import COMMAND, KEY, environment

Limit = Callable[[float, int], bool]


class Bucket:
    """Admits `rate` calls a second, and `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at_s = float(burst), 0.0

    def __call__(self, now_s: float, in_flight: int) -> bool:
        """Return whether a call is admitted."""
        del in_flight
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Scenario:
    """A server, and what a run against it must reach."""

    name: str
    pages: int
    jobs: int
    latency_s: float
    limit: Callable[[], Limit]
    ideal_s: float
    must_reach: float
    must_refuse_at_most: int
    retry_after_s: int | None = None


SCENARIOS = (
    Scenario("bucket 50/s, burst 10", 1000, 32, 0.1, lambda: Bucket(50, 10), 990 / 50, 0.97, 15),
    Scenario("8 in flight", 2000, 32, 0.1, lambda: lambda _, in_flight: in_flight < 8, 2000 / 8 * 0.1, 0.95, 40),
    Scenario("no limit, 64 x 500 ms", 4000, 64, 0.5, lambda: lambda *_: True, 4000 / 64 * 0.5, 0.94, 0),
    Scenario("bucket, Retry-After 1 s", 3000, 32, 0.1, lambda: Bucket(50, 10), 2990 / 50, 0.92, 4, 1),
)


async def main() -> int:
    """Print a line a scenario; return 1 when one falls short."""
    words = sys.argv[1:]
    heads = f"{'scenario':<26}{'reached':>9}{'must':>7}{'refused':>9}{'at most':>9}{'inside Retry-After':>20}"
    print(f"{heads}{'s':>8}{'ideal':>8}")
    short = 0
    for scenario in SCENARIOS:
        if not words or any(word in scenario.name for word in words):
            short += await run_scenario(scenario)
    return 1 if short else 0


async def run_scenario(scenario: Scenario) -> bool:
    """Run one, print it, and return whether it fell short."""
    limit = scenario.limit()
    refusals: list[float] = []
    admitted: list[float] = []
    inside = in_service = 0

    async def answer(call: Call) -> web.StreamResponse:
        nonlocal in_service, inside
        wait_s = scenario.retry_after_s
        # what arrives within 50 ms of a refusal was on the wire
        inside += bool(wait_s and refusals and 0.05 < call.at_s - refusals[-1] < wait_s)
        if not limit(call.at_s, in_service):
            refusals.append(call.at_s)
            headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
            return web.json_response({"statusText": "Too Many Requests"}, status=429, headers=headers)
        in_service += 1
        admitted.append(call.at_s)
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
    taken_s = admitted[-1] + scenario.latency_s - admitted[0]
    reached = scenario.ideal_s / taken_s
    print(
        f"{scenario.name:<26}{reached:>9.1%}{scenario.must_reach:>7.0%}{len(refusals):>9}"
        f"{scenario.must_refuse_at_most:>9}{inside:>20}{taken_s:>8.1f}{scenario.ideal_s:>8.1f}",
        flush=True,
    )
    return reached < scenario.must_reach or len(refusals) > scenario.must_refuse_at_most or inside > 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
