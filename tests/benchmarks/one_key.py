"""Several processes share one key and some are killed: is the quota kept, and is it used?

    python -m tests.benchmarks.one_key [SEED ...]

Each process has its own workspace and more pages than the quota allows. At random moments, which the seed decides, one
of them is killed with SIGKILL and started again. The server counts a call as billed when it arrives.
"""

import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from aiohttp import web
from anyio.abc import Process

from pipeline.billing import Calendar, Usage
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from tests.benchmarks.limits import TokenBucket
from tests.fakes import Call, FakeOcr, accept, serve_fake
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, SABOTAGE, environment

QUOTA_EXIT = 8
DEADLINE_S = 240


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of one round.

    Attributes:
        seed: Decides which process is killed, and when.
        processes: Number of processes, each with its own workspace.
        pages: Pages per process.
        quota: Calls of the key.
        kills: Number of kills.
        jobs: `--jobs` of each process.
        latency_s: The server's time per page.
        limit: Which calls the server admits; others get 429.
        command: The command; a sabotaged one lacks a guarantee.
    """

    seed: int = 1
    processes: int = 8
    pages: int = 501
    quota: int = 500
    kills: int = 10
    jobs: int = 4
    latency_s: float = 0.05
    limit: Callable[[float, int], bool] = lambda *_: True
    command: Sequence[str] = COMMAND


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one round.

    Attributes:
        billed: Calls that reached the server.
        usage: The ledger's count.
        in_flight: Calls of the killed processes that the server was answering at the kills.
        killed: Number of processes killed.
        refused: Calls that got 429.
        short: (billed, used) for each kill after which the ledger counted fewer calls than were billed.
        exit_codes: Of the processes that were not killed.
    """

    billed: int
    usage: Usage
    in_flight: int
    killed: int
    refused: int
    short: Sequence[tuple[int, int]]
    exit_codes: Sequence[int]


def find_faults(plan: Plan, outcome: Outcome) -> list[str]:
    """Return one sentence for each rule that was broken."""
    lost, used = outcome.usage.unknown, outcome.usage.used
    rules = {
        f"{outcome.billed} calls were billed, {plan.quota} were allowed": outcome.billed <= plan.quota,
        f"{outcome.billed} calls were billed of {plan.quota}, and only {lost} are without an outcome": (
            outcome.billed >= plan.quota - lost
        ),
        f"the ledger counts {used} calls of {plan.quota}": used == plan.quota,
        f"the ledger counted too few calls after a kill (billed, used): {outcome.short}": not outcome.short,
        f"{lost} calls are without an outcome, {outcome.in_flight} were in flight at the kills": (
            outcome.in_flight <= lost <= outcome.killed * plan.jobs
        ),
        f"{outcome.usage.pending} reservations are left open": outcome.usage.pending == 0,
        f"{outcome.killed} processes were killed, not {plan.kills}": outcome.killed == plan.kills,
        f"exit codes {outcome.exit_codes}": list(outcome.exit_codes) == [QUOTA_EXIT] * plan.processes,
    }
    return [fault for fault, kept in rules.items() if not kept]


async def play(plan: Plan, directory: Path) -> Outcome:
    """Run the processes to their ends, and kill some of them before."""
    for number in range(plan.processes):
        write_pages(directory / f"scans-{number}", plan.pages, first_seed=number * plan.pages)
    async with serve_fake() as fake:
        fleet = _Fleet(plan, directory, fake)
        fake.script = fleet.answer
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fleet.kill_some)
                for number in range(plan.processes):
                    tasks.start_soon(fleet.run, number)
    return fleet.outcome()


@dataclass(slots=True)
class _Fleet:
    """The processes, and the server's view of them."""

    plan: Plan
    directory: Path
    fake: FakeOcr
    running: dict[int, Process] = field(default_factory=dict)
    exit_codes: dict[int, int] = field(default_factory=dict)
    in_service: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    killed: int = 0
    billed: int = 0
    refused: int = 0
    short: list[tuple[int, int]] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def answer(self, call: Call) -> web.Response:
        """Bill the call and answer it after the latency, or refuse it."""
        if not self.plan.limit(call.at_s, self.fake.in_flight):
            self.refused += 1
            return web.json_response({"statusText": "Too Many Requests"}, status=429)
        self.billed += 1
        self._wake()
        number = int(call.filename.removeprefix("page-").removesuffix(".png")) // self.plan.pages
        self.in_service[number] += 1
        await anyio.sleep(self.plan.latency_s)
        self.in_service[number] -= 1
        return accept(call)

    async def run(self, number: int) -> None:
        """Start a process, and restart it after each kill."""
        arguments = ["run", f"{self.directory}/scans-{number}", "-o", f"{self.directory}/out-{number}", "-qq"]
        arguments += ["--api-url", self.fake.url, "--ledger", f"{self.directory}/ledger"]
        arguments += ["--quota", str(self.plan.quota), "-j", str(self.plan.jobs)]
        while number not in self.exit_codes:
            async with await anyio.open_process(
                [*self.plan.command, *arguments], env=environment(KEY), stdout=None, stderr=None
            ) as process:
                self.running[number] = process
                code = await process.wait()
                del self.running[number]
            if code != -signal.SIGKILL:
                self.exit_codes[number] = code
        self._wake()

    async def kill_some(self) -> None:
        """Kill a running process, shortly after the calls that the seed chooses."""
        chance = random.Random(self.plan.seed)
        for calls in sorted(chance.sample(range(1, self.plan.quota * 9 // 10), self.plan.kills)):
            while self.billed < calls and len(self.exit_codes) < self.plan.processes:
                await self.changed.wait()
            await anyio.sleep(chance.uniform(0, self.plan.latency_s))
            if self.running:
                number = chance.choice(sorted(self.running))
                self.in_flight += self.in_service[number]
                self.killed += 1
                with suppress(ProcessLookupError):
                    self.running[number].kill()
                await self._compare()

    async def _compare(self) -> None:
        """Compare the ledger's count with the calls billed before it was read."""
        billed = self.billed
        used = (await asyncio.to_thread(self._usage)).used
        if used < billed:
            self.short.append((billed, used))

    def outcome(self) -> Outcome:
        """Return the result."""
        return Outcome(
            billed=self.billed,
            usage=self._usage(),
            in_flight=self.in_flight,
            killed=self.killed,
            refused=self.refused,
            short=self.short,
            exit_codes=[self.exit_codes[number] for number in sorted(self.exit_codes)],
        )

    def _usage(self) -> Usage:
        ledger = SqliteLedger(ledger_path(self.directory / "ledger", KEY, "127.0.0.1"), Calendar(), self.plan.quota)
        try:
            return ledger.usage()
        finally:
            ledger.close()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


async def main() -> int:
    """Print one line per seed and two for sabotaged commands; return 1 when one did not end as expected."""
    seeds = [int(argument) for argument in sys.argv[1:]] or [1, 2, 3]
    heads = ("billed", "quota", "used", "unknown", "in flight", "kills", "refused", "exits")
    print(f"{'':<26}" + "".join(f"{head:>10}" for head in heads))
    broken = 0
    for seed in seeds:
        broken += bool(await _show(f"seed {seed}", Plan(seed)))
    broken += bool(await _show("bucket 50/s, burst 10", Plan(seeds[0], limit=TokenBucket(50, 10).admit)))
    for name in ("reserve-nothing", "void-the-lost"):
        faults = await _show(f"without: {name}", Plan(seeds[0], command=(*SABOTAGE, name)))
        broken += not any("billed" in fault for fault in faults)
    return 1 if broken else 0


async def _show(name: str, plan: Plan) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        outcome = await play(plan, Path(directory))
    exits = "".join(f" {code}x{count}" for code, count in sorted(Counter(outcome.exit_codes).items()))
    usage = outcome.usage
    counted = (outcome.billed, plan.quota, usage.used, usage.unknown)
    figures = (*counted, outcome.in_flight, outcome.killed, outcome.refused)
    print(f"{name:<26}" + "".join(f"{figure:>10}" for figure in figures) + f"{exits:>10}", flush=True)
    faults = find_faults(plan, outcome)
    for fault in faults:
        print(f"    {fault}")
    return faults


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
