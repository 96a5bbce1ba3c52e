"""Does every page end when replies are broken? Runs the real command against a server that breaks one reply in five.

    python -m tests.benchmarks.broken_replies [PAGES]

The kinds of breakage take turns. One page's replies are always broken. Prints the verdict and the number of replies per
kind; exit code 1 when the accounts do not add up.
"""

import asyncio
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pipeline.remote.verdict import Accepted, Blocked, Failed, PageRejected, Refused
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import read_run_file
from tests.faults.accounts import count_used
from tests.faults.breakage import NOT_THE_SERVICES
from tests.faults.broken_replies import BREAKAGES
from tests.faults.raw_server import GOOD, Behaviour, RawServer, serve_raw
from tests.pages import write_page, write_pages
from tests.runs import KEY, failures, results, run_arguments, run_command

PAGES = 1000
BROKEN_SHARE = 0.2
SEED = 20260131
ALWAYS_BROKEN = "body-half-json"
VERDICTS = {GOOD.name: Accepted, **{breakage.name: breakage.verdict for breakage in BREAKAGES}}
HOW_PAGES_FAIL = {("attempts-exhausted", 3), ("rejected", 1), ("rejected", 2), ("rejected", 3)}
DEADLINES = {"PAGEMILL_API_TIMEOUT_S": "1.5", "PAGEMILL_API_READ_TIMEOUT_S": "0.5"}


class Chooser:
    """Chooses a breakage for a fifth of the requests: each kind in turn, in an order that the seed decides."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        self._dice = random.Random(SEED)
        chosen = [each for each in BREAKAGES if each.in_runs and (names is None or each.name in names)]
        self._behaviours = [each.behaviour for each in chosen]
        self._next: list[Behaviour] = []

    def __call__(self, number: int) -> Behaviour:
        """Return the behaviour for the request with that number."""
        del number
        if self._dice.random() >= BROKEN_SHARE:
            return GOOD
        if not self._next:
            self._next = self._dice.sample(self._behaviours, len(self._behaviours))
        return self._next.pop()


@dataclass(slots=True)
class Faults:
    """The facts that were expected and do not hold."""

    found: list[str] = field(default_factory=list)

    def expect(self, fact: object, otherwise: str) -> None:
        """Add the fault unless the fact holds."""
        if not fact:
            self.found.append(otherwise)


@dataclass(frozen=True, slots=True)
class BrokenRun:
    """A run with broken replies, after its end.

    Attributes:
        exit_code: The command's exit code.
        faults: The checks that failed.
        server: The server, with all requests it received.
    """

    exit_code: int
    faults: list[str]
    server: RawServer


Runner = Callable[[Path, str], Awaitable[int]]
"""Takes a directory and a URL; runs on `in` into `out` with the ledger in `ledger`, and returns the exit code."""


async def run_broken(place: Path, pages: int, run: Runner, *, names: frozenset[str] | None = None) -> BrokenRun:
    """Run on new pages with broken replies, and check all accounts.

    Args:
        place: An empty directory.
        pages: Number of pages, including the one whose replies are always broken.
        run: Makes the run.
        names: The kinds of breakage; None takes all.
    """
    write_pages(place / "in", pages)
    always_broken = write_page(place / "in" / f"page-{pages // 2:04}.png", pages, size_px=(1000, 1000))
    digest = sha256(always_broken.read_bytes()).hexdigest()
    async with serve_raw() as redirected, serve_raw(Chooser(names)) as server:
        server.redirect_url = redirected.url
        server.large_from_bytes = always_broken.stat().st_size
        server.large_behaviour = next(breakage.behaviour for breakage in BREAKAGES if breakage.name == ALWAYS_BROKEN)
        exit_code = await run(place, server.url)
    faults = Faults()
    faults.expect(exit_code == 3, f"exit {exit_code} instead of 3")
    faults.expect(redirected.connections == 0, f"{redirected.connections} redirects were followed")
    _check_pages(faults, place / "out", pages, server)
    _check_always_broken(faults, place / "out", digest)
    _check_ledger(faults, place / "ledger", server)
    faults.found.extend(f"verify: {fault}" for fault in audit(place / "out", read_run_file(place / "out")))
    for path in place.rglob("*"):
        faults.expect(path.is_dir() or KEY.encode() not in path.read_bytes(), f"the key is in {path.name}")
    return BrokenRun(exit_code, faults.found, server)


async def run_the_command(place: Path, url: str) -> int:
    """Run the real command; its output goes to the file `output`, which must not contain the key."""
    ran = await run_command(*run_arguments(place / "in", place, url, "-j", "16", "-v"), **DEADLINES)
    (place / "output").write_bytes(ran.stdout + ran.stderr)
    return ran.returncode


def _check_pages(faults: Faults, out: Path, pages: int, server: RawServer) -> None:
    """Check that every page ends once, in the state that its replies demand, and with its own text."""
    done, failed = results(out), failures(out)
    ends = Counter(line["source"] for line in done + failed)
    expected = {f"page-{number:04}.png" for number in range(pages)}
    faults.expect(set(ends) == expected, f"{len(expected - set(ends))} pages did not end")
    faults.expect(set(ends.values()) == {1}, f"{sum(times > 1 for times in ends.values())} pages ended twice")
    for line in done:
        own = line["text"].startswith(f"text of {line['sha256'][:12]}")
        faults.expect(own, f"{line['source']} has the text {line['text'][:40]!r}")
    answered = {each.digest for each in server.exchanges if VERDICTS[each.behaviour] is Accepted}
    for line in failed:
        how = (line["class"], line["attempts"])
        faults.expect(how in HOW_PAGES_FAIL, f"{line['source']} failed as {how}")
        faults.expect(line["id"][7:71] not in answered, f"{line['source']} failed although a text was received")


def _check_always_broken(faults: Faults, out: Path, digest: str) -> None:
    """Check that the page whose replies are always broken is in failures.jsonl with its class."""
    lines = [line for line in failures(out) if line["id"] == f"sha256:{digest}#1"]
    ends = [(line["class"], line["attempts"], "not JSON" in line["message"]) for line in lines]
    faults.expect(ends == [("attempts-exhausted", 3, True)], f"the always broken page failed as {ends}")


def _check_ledger(faults: Faults, ledgers: Path, server: RawServer) -> None:
    """Check that the ledger counts every call that may have been billed, and no other."""
    used, billed = count_used(ledgers), sum(server.billed.values())
    faults.expect(used >= billed, f"the ledger counts {used} calls, the server billed {billed}")
    chargeable = sum(
        VERDICTS[exchange.behaviour] in {Accepted, Failed} and exchange.behaviour not in NOT_THE_SERVICES
        for exchange in server.exchanges
    )
    faults.expect(used == chargeable, f"the ledger counts {used} calls, {chargeable} may have been billed")


def print_table(ran: BrokenRun) -> None:
    """Print a line per kind of breakage."""
    exchanges: dict[str, list[str]] = defaultdict(list)
    for exchange in ran.server.exchanges:
        exchanges[exchange.behaviour].append(exchange.digest)
    names = {
        Accepted: "accepted",
        Blocked: "sent again, void",
        Failed: "failed, charged",
        PageRejected: "page rejected",
        Refused: "account waits",
    }
    print(f"{'reply':<38}{'verdict':<18}{'replies':>8}{'pages':>8}")
    for name in sorted(exchanges, key=lambda name: (name != GOOD.name, name)):
        pages = len({digest for digest in exchanges[name] if digest})
        known = pages or "-"  # an early answer is sent before the server knows the page
        print(f"{name:<38}{names[VERDICTS[name]]:<18}{len(exchanges[name]):>8}{known:>8}")


async def main() -> int:
    """Run and print the table; return 1 when the accounts do not add up."""
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else PAGES
    with tempfile.TemporaryDirectory() as directory:
        ran = await run_broken(Path(directory), pages, run_the_command)
        done, failed = len(results(Path(directory) / "out")), len(failures(Path(directory) / "out"))
        used = count_used(Path(directory) / "ledger")
    print_table(ran)
    print(f"\n{pages} pages: {done} done, {failed} failed; {len(ran.server.exchanges)} replies, ", end="")
    print(f"{sum(ran.server.billed.values())} billed at most, {used} in the ledger; exit {ran.exit_code}")
    for fault in ran.faults:
        print(f"FAULT: {fault}")
    return 1 if ran.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
