"""Does every page end when replies break? Runs the real command against a server that breaks one reply in five.

    python -m tests.benchmarks.broken_replies [PAGES]

Each way to break one comes up in its turn; one page is poisoned: its replies are always broken. Prints what became of
each way, and returns 1 when the accounts do not add up.
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

from pipeline.remote.verdict import Accepted, Failed, PageRejected, Refused
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import read_run_file
from tests.faults.accounts import count_used
from tests.faults.broken import BREAKAGES
from tests.faults.raw_server import WELL, RawServer, Way, serve_raw
from tests.pages import write_page, write_pages
from tests.runs import KEY, failures, results, run_command

PAGES = 1000
BROKEN = 0.2
SEED = 20260131
POISON = "body-half-json"
VERDICTS = {WELL.name: Accepted, **{breakage.name: breakage.verdict for breakage in BREAKAGES}}
HOW_PAGES_FAIL = {("attempts-exhausted", 3), ("rejected", 1), ("rejected", 2), ("rejected", 3)}
DEADLINES = {"PAGEMILL_API_TIMEOUT_S": "1.5", "PAGEMILL_API_READ_TIMEOUT_S": "0.5"}


class Chooser:
    """Breaks so many replies, each way in its turn, in an order that the seed decides."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        self._dice = random.Random(SEED)
        self._ways = [each.way for each in BREAKAGES if each.in_runs and (names is None or each.name in names)]
        self._next: list[Way] = []

    def __call__(self, number: int) -> Way:
        """Return how the request with that number is answered."""
        del number
        if self._dice.random() >= BROKEN:
            return WELL
        if not self._next:
            self._next = self._dice.sample(self._ways, len(self._ways))
        return self._next.pop()


@dataclass(slots=True)
class Faults:
    """What does not add up."""

    found: list[str] = field(default_factory=list)

    def expect(self, fact: object, otherwise: str) -> None:
        """Note the fault unless the fact holds."""
        if not fact:
            self.found.append(otherwise)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that ended.

    Attributes:
        exit_code: Of the command.
        faults: What does not add up.
        server: What it saw.
    """

    exit_code: int
    faults: list[str]
    server: RawServer


Runner = Callable[[Path, str], Awaitable[int]]
"""Runs over `in` of a place into `out`, with its ledger in `ledger`, against this URL; returns the exit code."""


async def run_broken(place: Path, pages: int, run: Runner, *, ways: frozenset[str] | None = None) -> Ran:
    """Run over so many pages and check all accounts.

    Args:
        place: An empty directory.
        pages: How many, the poisoned one included.
        run: Makes the run.
        ways: The names of the ways to break a reply; None takes all.
    """
    write_pages(place / "in", pages)
    poisoned = write_page(place / "in" / f"page-{pages // 2:04}.png", pages, size_px=(1000, 1000))
    digest = sha256(poisoned.read_bytes()).hexdigest()
    async with serve_raw() as elsewhere, serve_raw(Chooser(ways)) as server:
        server.elsewhere = elsewhere.url
        server.poisoned_from_bytes = poisoned.stat().st_size
        server.poison = next(breakage.way for breakage in BREAKAGES if breakage.name == POISON)
        exit_code = await run(place, server.url)
    faults = Faults()
    faults.expect(exit_code == 3, f"exit {exit_code} instead of 3")
    faults.expect(elsewhere.connections == 0, f"{elsewhere.connections} redirects were followed")
    _check_pages(faults, place / "out", pages, server)
    _check_poisoned(faults, place / "out", digest)
    _check_ledger(faults, place / "ledger", server)
    faults.found.extend(f"verify: {fault}" for fault in audit(place / "out", read_run_file(place / "out")))
    for path in place.rglob("*"):
        faults.expect(path.is_dir() or KEY.encode() not in path.read_bytes(), f"the key is in {path.name}")
    return Ran(exit_code, faults.found, server)


async def run_the_command(place: Path, url: str) -> int:
    """Run the real command; what it says goes to `said`."""
    places = (place / "in", "-o", place / "out", "--ledger", place / "ledger")
    ran = await run_command("run", *places, "--api-url", url, "-j", "16", "-v", **DEADLINES)
    (place / "said").write_bytes(ran.stdout + ran.stderr)
    return ran.returncode


def _check_pages(faults: Faults, out: Path, pages: int, server: RawServer) -> None:
    """Every page ends once, in the state that its replies call for, with its own text."""
    done, failed = results(out), failures(out)
    ends = Counter(line["source"] for line in done + failed)
    expected = {f"page-{number:04}.png" for number in range(pages)}
    faults.expect(set(ends) == expected, f"{len(expected - set(ends))} pages did not end")
    faults.expect(set(ends.values()) == {1}, f"{sum(times > 1 for times in ends.values())} pages ended twice")
    for line in done:
        own = line["text"].startswith(f"text of {line['sha256'][:12]}")
        faults.expect(own, f"{line['source']} has the text {line['text'][:40]!r}")
    answered = {each.digest for each in server.exchanges if VERDICTS[each.breakage] is Accepted}
    for line in failed:
        how = (line["class"], line["attempts"])
        faults.expect(how in HOW_PAGES_FAIL, f"{line['source']} failed as {how}")
        faults.expect(line["id"][7:71] not in answered, f"{line['source']} failed although its text came")


def _check_poisoned(faults: Faults, out: Path, digest: str) -> None:
    """The page whose replies never come right stands in failures.jsonl with its class."""
    lines = [line for line in failures(out) if line["id"] == f"sha256:{digest}#1"]
    message = [(line["class"], line["attempts"], "not JSON" in line["message"]) for line in lines]
    faults.expect(message == [("attempts-exhausted", 3, True)], f"the poisoned page stands there as {message}")


def _check_ledger(faults: Faults, ledgers: Path, server: RawServer) -> None:
    """The ledger counts every call that may have been billed, and no other."""
    used, billed = count_used(ledgers), sum(server.billed.values())
    faults.expect(used >= billed, f"the ledger counts {used} calls, the server billed {billed}")
    chargeable = sum(VERDICTS[exchange.breakage] in {Accepted, Failed} for exchange in server.exchanges)
    faults.expect(used == chargeable, f"the ledger counts {used} calls, {chargeable} may have been billed")


def print_table(ran: Ran) -> None:
    """Print a line for each way to break a reply."""
    exchanges: dict[str, list[str]] = defaultdict(list)
    for exchange in ran.server.exchanges:
        exchanges[exchange.breakage].append(exchange.digest)
    names = {Accepted: "accepted", Failed: "failed, charged", PageRejected: "page rejected", Refused: "all wait"}
    print(f"{'reply':<38}{'verdict':<18}{'replies':>8}{'pages':>8}")
    for name in sorted(exchanges, key=lambda name: (name != WELL.name, name)):
        pages = len({digest for digest in exchanges[name] if digest})
        known = pages or "-"  # who answers before the body does not know the page
        print(f"{name:<38}{names[VERDICTS[name]]:<18}{len(exchanges[name]):>8}{known:>8}")


async def main() -> int:
    """Run, print, and return 1 when the accounts do not add up."""
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
