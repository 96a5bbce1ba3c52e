"""One run of one client behind one limiter, and what it came to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL
from typing import Final

import anyio
import anyio.to_thread

from tests.benchmarks.gateways.scenarios import Scenario
from tests.faults.accounts import count_used
from tests.gateways.gateway import Gateway, count_inside_retry_after
from tests.gateways.programs import end_group
from tests.runs import COMMAND, KEY, environment, failures, read_lines, results, run_arguments

JOBS: Final = 16
PAGEMILL: Final = "pagemill"
SCRIPTS: Final = ("threads", "tenacity")
CLIENTS: Final = (PAGEMILL, *SCRIPTS)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to.

    Attributes:
        scenario: The limiter and the pages.
        client: One of CLIENTS.
        exit_code: Of the client; None when it was ended at the cap.
        done: Pages with a text.
        failed: Pages that pagemill lists as failed.
        accepted: Calls that the limiter logged as answered with a text.
        refused: Its other calls.
        took_s: From the first arrival to the last accepted one.
        ideal_s: The least possible time for so many accepted calls.
        inside: Calls inside a Retry-After.
        let_through: Calls that the service answered.
        counted: Calls in pagemill's ledger; None for a script.
    """

    scenario: Scenario
    client: str
    exit_code: int | None
    done: int
    failed: int
    accepted: int
    refused: int
    took_s: float
    ideal_s: float
    inside: int
    let_through: int
    counted: int | None

    @property
    def missing(self) -> int:
        """Pages that the limit permits and that have no text."""
        return max(0, self.scenario.expected_done - self.done)

    @property
    def refused_share(self) -> float:
        """Share of the calls that were refused, 0 to 1."""
        return self.refused / max(1, self.accepted + self.refused)

    @property
    def share(self) -> float:
        """Share of the permitted rate, about 0 to 1; more where a window of the wall clock began favourably."""
        if not self.accepted:
            return 0.0
        return self.ideal_s / self.took_s if self.took_s > 0 else 1.0

    @property
    def faults(self) -> Sequence[str]:
        """The promises about each of pagemill's runs that this one breaks."""
        if self.client != PAGEMILL:
            return ()
        promises = {
            f"{self.missing} pages missing": self.missing == 0,
            f"{self.failed} pages failed": self.failed == 0,
            f"exit {self.exit_code}": self.exit_code in self.scenario.exit_codes,
            f"{self.inside} inside a Retry-After": self.inside == 0,
            f"ledger {self.counted} for {self.let_through}": self.counted == self.let_through,
            f"below {self.scenario.least_share:.0%}": self.share >= self.scenario.least_share,
        }
        return [fault for fault, is_kept in promises.items() if not is_kept]


async def measure(scenario: Scenario, client: str, scans: Path, directory: Path, cap_s: float) -> Run:
    """Run a client once.

    Args:
        scenario: The limiter.
        client: One of CLIENTS.
        scans: The scenario's pages.
        directory: An empty directory for logs and results.
        cap_s: Longest time of the client; then it is ended.
    """
    async with scenario.limiter.serve(directory, scenario.latency_s) as gateway:
        exit_code = await _run_client(_command(client, scans, directory, gateway.url), scenario, directory, cap_s)
    # in a thread: other runs' services answer in this one
    return await anyio.to_thread.run_sync(_account, scenario, client, exit_code, gateway, directory)


def _command(client: str, scans: Path, directory: Path, url: str) -> Sequence[str]:
    if client == PAGEMILL:
        options = ("-j", str(JOBS), "--tier", "ultra", "--no-progress", "-v")
        return [*COMMAND, *map(str, run_arguments(scans, directory, url, *options))]
    script = (sys.executable, "-m", "tests.benchmarks.gateways.scripts")
    return [*script, client, str(scans), url, str(directory / "lines.jsonl"), str(JOBS)]


async def _run_client(command: Sequence[str], scenario: Scenario, directory: Path, cap_s: float) -> int | None:
    """Return the client's exit code; None when it was ended at the cap."""
    env = environment(KEY, HOME=str(directory), PAGEMILL_RUN_PATIENCE_S=str(scenario.patience_s))
    with (directory / "client.log").open("wb") as log:
        process = await anyio.open_process(
            command, stdin=DEVNULL, stdout=DEVNULL, stderr=log, env=env, start_new_session=True
        )
    try:
        with anyio.move_on_after(cap_s):
            return await process.wait()
        return None
    finally:
        with anyio.CancelScope(shield=True):
            await end_group(process)


def _account(scenario: Scenario, client: str, exit_code: int | None, gateway: Gateway, directory: Path) -> Run:
    calls = gateway.calls()
    accepted = [call for call in calls if call.is_accepted]
    is_pagemill = client == PAGEMILL
    lines = results(directory / "out") if is_pagemill else read_lines(directory / "lines.jsonl")
    run = Run(
        scenario=scenario,
        client=client,
        exit_code=exit_code,
        done=len({line["source"] for line in lines}),
        failed=len(failures(directory / "out")) if is_pagemill else 0,
        accepted=len(accepted),
        refused=len(calls) - len(accepted),
        took_s=0.0,
        ideal_s=0.0,
        inside=count_inside_retry_after(calls),
        let_through=gateway.let_through,
        counted=count_used(directory / "ledger") if is_pagemill else None,
    )
    if not accepted:
        return run
    ideal_s = scenario.ideal(len(accepted), scenario.latency_s, JOBS)
    return replace(run, took_s=accepted[-1].arrived_s - calls[0].arrived_s, ideal_s=ideal_s)


def worst_of(runs: Sequence[Run]) -> Run:
    """Return the run with the most broken promises, and of these the slowest."""
    return max(runs, key=lambda run: (len(run.faults), run.missing, -run.share))
