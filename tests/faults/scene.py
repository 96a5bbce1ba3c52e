"""One workspace, its ledger and its server: runs the real command there, and checks the accounts whenever it ended."""

import shutil
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from aiohttp import web
from anyio.abc import Process

from pipeline.ledger.budget import ledger_path
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import require_workspace
from tests.fakes import Call, FakeOcr, Script, accept
from tests.faults.accounts import (
    Noted,
    check_every_page_once,
    check_ledger_covers,
    check_nothing_paid_again,
    check_nothing_vanished,
    count_used,
    note,
)
from tests.runs import COMMAND, KEY, start_command, wait_for_end

PAGES = 50
JOBS = 8
_LIMIT_S = 120.0
"""No run of fifty pages takes so long on any machine; one that does, hangs."""


def answer_after(latency_s: float) -> Script:
    """Return a script that accepts every call after a while; with 0.05 s, eight calls are in flight."""

    async def script(call: Call) -> web.StreamResponse:
        await anyio.sleep(latency_s)
        return accept(call)

    return script


@dataclass(frozen=True, slots=True)
class Stopped:
    """How the accounts stood when a run ended before its work was done.

    Attributes:
        noted: What stood on disk.
        unwritten: So many contents the run had sent without a line for them; they are sent again.
        surplus: Calls that the ledger counted beyond those billed.
    """

    noted: Noted
    unwritten: int
    surplus: int


class Scene:
    """A workspace, its ledger and its server.

    Args:
        fake: The server, for this scene alone.
        scans: The pages `page-0000.png`, ….
        directory: Where the workspace and the ledger are made.
    """

    def __init__(self, fake: FakeOcr, scans: Path, directory: Path) -> None:
        self.fake = fake
        self.scans = scans
        self.directory = directory
        self.out = directory / "out"
        self.ledgers = directory / "ledger"
        self.log = directory / "strace.log"
        self.stops: list[Stopped] = []
        self._first_call = 0

    @property
    def files(self) -> Sequence[Path]:
        """The files whose changes matter, and their directories."""
        databases = [ledger_path(self.ledgers, KEY, "127.0.0.1"), self.out / "index.sqlite3"]
        journals = [path.with_name(f"{path.name}-journal") for path in databases]
        names = [".lock", "results.jsonl", "failures.jsonl", "run.json", ".run.json.new"]
        return [self.out, self.ledgers, *databases, *journals, *(self.out / name for name in names)]

    @property
    def repeated(self) -> int:
        """How many calls were for a content that had been sent before."""
        return len(self.fake.calls) - len({call.digest for call in self.fake.calls})

    @asynccontextmanager
    async def start(self, prefix: Iterable[str] = (), *, sabotage: str | None = None) -> AsyncGenerator[Process]:
        """Start the command over the pages; afterwards the server has answered all that it got.

        Args:
            prefix: Stands before the command.
            sabotage: Guarantees to take out.
        """
        self._first_call = len(self.fake.calls)
        command = COMMAND if sabotage is None else (sys.executable, "-m", "tests.faults.sabotage", sabotage)
        place = ("-o", self.out, "--ledger", self.ledgers, "--api-url", self.fake.url, "-j", str(JOBS))
        with anyio.fail_after(_LIMIT_S):
            async with start_command("run", self.scans, *place, command=[*prefix, *command]) as process:
                yield process
            await self.fake.wait_until_quiet()

    async def run(self, prefix: Iterable[str] = (), *, sabotage: str | None = None) -> int:
        """Run to the end, or to a kill, and return the exit status."""
        async with self.start(prefix, sabotage=sabotage) as process:
            code, _ = await wait_for_end(process)
        return code

    def check_stopped(self) -> Stopped:
        """Return how the accounts stand after a run that ended early.

        Raises:
            AssertionError: something recorded is gone or was paid again, the ledger counts less than was billed, or
                more calls are without a line than may be in flight.
        """
        self._check_recorded()
        noted = note(self.out, self.fake.calls)
        unwritten = {call.digest for call in self.fake.calls[self._first_call :]} - noted.contents
        with TemporaryDirectory() as copy:  # opening the ledger would repair it, which is the next run's business
            ledgers = Path(copy, "ledger")
            if self.ledgers.exists():
                shutil.copytree(self.ledgers, ledgers)
            check_ledger_covers(ledgers, self.fake.billed)
            surplus = count_used(ledgers) - self.fake.billed.total()
        assert len(unwritten) <= JOBS, f"{len(unwritten)} pages were sent and have no line; {JOBS} may be in flight"
        self.stops.append(Stopped(noted, len(unwritten), surplus))
        return self.stops[-1]

    def check_finished(self) -> None:
        """Fail unless every page has one line, all accounts add up, and no more was repeated than was in flight."""
        self._check_recorded()
        check_every_page_once(self.out, PAGES)
        check_ledger_covers(self.ledgers, self.fake.billed)
        assert list(audit(self.out, require_workspace(self.out))) == []
        in_flight = sum(stopped.unwritten for stopped in self.stops)
        assert self.repeated <= in_flight, f"{self.repeated} calls repeated, {in_flight} were in flight"

    def _check_recorded(self) -> None:
        for stopped in self.stops:
            check_nothing_vanished(stopped.noted, self.out)
            check_nothing_paid_again(stopped.noted, self.fake.calls)
