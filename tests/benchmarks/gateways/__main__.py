"""How do real runs fare behind real limiters? nginx, HAProxy, Envoy, Traefik, a library's limiter, and imitations.

    python -m tests.benchmarks.gateways [REGEX] [--clients pagemill,threads,tenacity] [--parallel N] [--repeat N]

Prints a line per limiter and client: the pages, the calls that the limiter accepted and refused, the pages that are
missing although the limit permits them, the exit code, the seconds from the first arrival to the last accepted one, the
least possible seconds, the share of what was permitted, the calls inside a Retry-After, and the ledger's count beside
the calls let through. With --repeat, each line is the worst of N runs. Ends with totals and broken promises; exit code
1 when pagemill breaks one. Envoy and Traefik come with the extra `gateways`.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from tests.benchmarks.gateways.measure import CLIENTS, PAGEMILL, Run, measure, worst_of
from tests.benchmarks.gateways.scenarios import SCENARIOS, Scenario
from tests.benchmarks.gateways.table import HEAD, broken_promises, line_of, total_of
from tests.gateways.envoy import Envoy, find_envoy
from tests.gateways.haproxy import Haproxy
from tests.gateways.nginx import Nginx
from tests.gateways.programs import find_program
from tests.gateways.traefik import Traefik, find_traefik
from tests.pages import write_pages


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("regex", nargs="?", default="", type=re.compile, help="run only the limiters with such names")
    parser.add_argument("--clients", default=PAGEMILL, help=f"separated by commas, of {', '.join(CLIENTS)}")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="runs side by side [default: 2]")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each; the worst is printed")
    parser.add_argument("--cap", type=float, default=900, metavar="S", help="longest time of a run [default: 900]")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keep the runs' logs there")
    options = parser.parse_args(arguments)
    options.clients = options.clients.split(",")
    if unknown := set(options.clients) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    return options


def require_programs(scenarios: Sequence[Scenario]) -> None:
    """Fail before the first run when the program of a limiter is not installed.

    Raises:
        StartError: it is not; the message says how to install it.
    """
    kinds = {type(scenario.limiter) for scenario in scenarios}
    if Nginx in kinds:
        find_program("nginx")
    if Haproxy in kinds:
        find_program("haproxy")
    if Envoy in kinds:
        find_envoy()
    if Traefik in kinds:
        find_traefik()


async def run_all(scenarios: Sequence[Scenario], options: argparse.Namespace, directory: Path) -> list[Run]:
    """Run each client behind each limiter, print the lines as they come, and return all runs."""
    scans = {pages: directory / "scans" / str(pages) for pages in {scenario.pages for scenario in scenarios}}
    for pages, place in scans.items():  # before the first run, whose service answers in this thread
        write_pages(place, pages)
    slots = anyio.CapacityLimiter(options.parallel)
    runs: list[Run] = []

    async def run_pair(number: int, scenario: Scenario, client: str) -> None:
        async with slots:
            repeated = []
            for repetition in range(options.repeat):
                place = directory / f"{number:03}-{client}-{repetition}"
                place.mkdir(parents=True)
                repeated.append(await measure(scenario, client, scans[scenario.pages], place, options.cap))
        runs.extend(repeated)
        print(line_of(worst_of(repeated)), flush=True)

    async with anyio.create_task_group() as group:
        for number, scenario in enumerate(scenarios):
            for client in options.clients:
                group.start_soon(run_pair, number, scenario, client)
    return runs


def main() -> int:
    """Print the table; return 1 when a promise is broken."""
    options = parse(sys.argv[1:])
    chosen = [scenario for scenario in SCENARIOS if options.regex.search(scenario.name)]
    chosen.sort(
        key=lambda scenario: -scenario.ideal(scenario.expected_done, scenario.latency_s, 1)
    )  # the longest first
    require_programs(chosen)
    print(HEAD)
    with tempfile.TemporaryDirectory() as temporary:
        runs = asyncio.run(run_all(chosen, options, (options.directory or Path(temporary)).resolve()))
    for client in options.clients:
        print(total_of(client, [run for run in runs if run.client == client]))
    broken = broken_promises(runs)
    print(f"promises broken: {len(broken)}", *broken, sep="\n  ")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
