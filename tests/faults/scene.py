"""A workspace, its ledger and its server: runs the real command on them and checks the accounts after each end."""

import shutil
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import anyio
from aiohttp import web
from anyio.abc import Process

from pipeline.ledger.places import ledger_path
from pipeline.workspace.repair import find_rescues
from tests.fakes import Call, FakeOcr, Script, accept, serve_fake
from tests.faults.accounts import (
    Noted,
    check_every_page_once,
    check_ledger_covers,
    check_nothing_paid_again,
    check_nothing_vanished,
    count_used,
    list_faults,
    note,
)
from tests.runs import COMMAND, KEY, SABOTAGE, start_command, wait_for_end

PAGES = 50
JOBS = 8
ROTATION = MappingProxyType({"PAGEMILL_OUTPUT_COMPRESSION": "zstd", "PAGEMILL_OUTPUT_ROTATE_BYTES": "4000"})
"""Closes and compresses a segment for each ten pages."""
ROTATION_FILES = (
    *(".results.jsonl.next", ".results.jsonl.zst.new"),
    *(f"results-{number:06}.jsonl{suffix}" for number in range(1, 10) for suffix in ("", ".zst")),
)
_DEADLINE_S = 120.0
"""A run of fifty pages that takes longer hangs."""


def answer_after(latency_s: float) -> Script:
    """Return a script that accepts every call after this latency; with 0.05 s, eight calls are in flight."""

    async def script(call: Call) -> web.StreamResponse:
        await anyio.sleep(latency_s)
        return accept(call)

    return script


@dataclass(frozen=True, slots=True)
class Stopped:
    """The accounts when a run ended early.

    Attributes:
        noted: The records on disk.
        unwritten: Number of contents that the run had sent and not recorded; the next run sends them again.
        surplus: Number of calls that the ledger counted and the server did not bill.
    """

    noted: Noted
    unwritten: int
    surplus: int


class Scene:
    """A workspace, its ledger and its server.

    Args:
        fake: The server; no other scene may use it.
        scans: The directory of the pages `page-0000.png`, ….
        directory: The directory in which the workspace and the ledger are made.
        environ: Variables that set the runs' settings.
    """

    def __init__(
        self, fake: FakeOcr, scans: Path, directory: Path, environ: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.fake = fake
        self.scans = scans
        self.directory = directory
        self.environ = environ
        self.out = directory / "out"
        self.ledgers = directory / "ledger"
        self.log = directory / "strace.log"
        self.stops: list[Stopped] = []
        self._first_call = 0

    @property
    def files(self) -> Sequence[Path]:
        """The files of the workspace and the ledger, and their directories."""
        databases = [ledger_path(self.ledgers, KEY, "127.0.0.1"), self.out / "index.sqlite3"]
        journals = [path.with_name(f"{path.name}-journal") for path in databases]
        names = [".lock", "results.jsonl", "failures.jsonl", "run.json", ".run.json.new"]
        names += ROTATION_FILES if self.environ else ()
        return [self.out, self.ledgers, *databases, *journals, *(self.out / name for name in names)]

    @property
    def repeated(self) -> int:
        """Number of calls for a content that had been sent before."""
        return len(self.fake.calls) - len({call.digest for call in self.fake.calls})

    @asynccontextmanager
    async def start(self, prefix: Iterable[str] = (), *, sabotage: str | None = None) -> AsyncGenerator[Process]:
        """Run the command on the pages; when the context ends, the server has answered all requests.

        Args:
            prefix: A command line put before the command, such as strace's.
            sabotage: Names of the guarantees to remove, separated by commas.
        """
        self._first_call = len(self.fake.calls)
        command = COMMAND if sabotage is None else (*SABOTAGE, sabotage)
        flags = ("-o", self.out, "--ledger", self.ledgers, "--api-url", self.fake.url, "-j", str(JOBS))
        with anyio.fail_after(_DEADLINE_S):
            whole = [*prefix, *command]
            async with start_command("run", self.scans, *flags, command=whole, stdin=None, **self.environ) as process:
                yield process
            await self.fake.wait_until_quiet()

    async def run(self, prefix: Iterable[str] = (), *, sabotage: str | None = None) -> int:
        """Run until the command ends or is killed, and return its exit status."""
        code, _ = await self.run_and_read(prefix, sabotage=sabotage)
        return code

    async def run_and_read(self, prefix: Iterable[str] = (), *, sabotage: str | None = None) -> tuple[int, str]:
        """Run until the command ends or is killed, and return its exit status and stderr."""
        async with self.start(prefix, sabotage=sabotage) as process:
            return await wait_for_end(process)

    def check_stopped(self) -> Stopped:
        """Check and return the accounts after a run that ended early.

        Raises:
            AssertionError: a recorded page is gone or was sent again, the ledger counts fewer calls than were billed,
                or more calls are unrecorded than may be in flight.
        """
        self._check_recorded()
        noted = note(self.out, self.fake.calls)
        unwritten = {call.digest for call in self.fake.calls[self._first_call :]} - noted.contents
        with TemporaryDirectory() as copy:  # opening the ledger itself would repair it before the next run does
            ledgers = Path(copy, "ledger")
            if self.ledgers.exists():
                shutil.copytree(self.ledgers, ledgers)
            check_ledger_covers(ledgers, self.fake.billed)
            surplus = count_used(ledgers) - self.fake.billed.total()
        assert len(unwritten) <= JOBS, f"{len(unwritten)} pages were sent and have no line; {JOBS} may be in flight"
        self.stops.append(Stopped(noted, len(unwritten), surplus))
        return self.stops[-1]

    def check_finished(self) -> None:
        """Fail unless every page has one line, the accounts add up, and only calls in flight were repeated."""
        self._check_recorded()
        check_every_page_once(self.out, PAGES)
        check_ledger_covers(self.ledgers, self.fake.billed)
        assert list_faults(self.out) == []
        in_flight = sum(stopped.unwritten for stopped in self.stops)
        assert self.repeated <= in_flight, f"{self.repeated} calls repeated, {in_flight} were in flight"

    def check_billed_texts_are_recorded(self) -> None:
        """Fail unless each text that was billed is in results.jsonl."""
        missing = self.fake.billed.keys() - note(self.out, self.fake.calls).contents
        assert not missing, f"{len(missing)} texts billed and not in results.jsonl"

    async def check_next_run_finishes(self, *, unsent: int = 0) -> None:
        """Fail unless the next run finishes, no content is billed twice, and the accounts add up.

        Args:
            unsent: Most reservations without a call that may count as spent, because a full disk did not void them.
        """
        assert await self.run() == 0
        self.check_finished()
        assert self.repeated == 0, f"{self.repeated} calls repeated"
        assert set(self.fake.billed.values()) == {1}
        assert PAGES <= count_used(self.ledgers) <= PAGES + unsent
        assert find_rescues(self.out) == []

    def _check_recorded(self) -> None:
        for stopped in self.stops:
            check_nothing_vanished(stopped.noted, self.out)
            check_nothing_paid_again(stopped.noted, self.fake.calls)


@asynccontextmanager
async def open_scene(
    scans: Path, directory: Path, *, latency_s: float = 0.05, environ: Mapping[str, str] = MappingProxyType({})
) -> AsyncGenerator[Scene]:
    """Serve the pages with this latency; with the default, eight calls are in flight."""
    async with serve_fake(answer_after(latency_s)) as fake:
        yield Scene(fake, scans, directory, environ)
