"""A process of another user: runs pagemill, or holds calls of a ledger, with that user's rights and umask.

    python -m tests.user_process UID GID UMASK run SCANS OUT LEDGERS QUOTA
    python -m tests.user_process UID GID UMASK hold LEDGER
    python -m tests.user_process UID GID UMASK recover LEDGER

All modules are imported, by a first run, before the process gives up root's rights: the interpreter may lie in a
directory that the user may not enter.
"""

import asyncio
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from pipeline.billing import Calendar
from pipeline.ledger.operations import Reserve
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.owners import is_alive, own
from pipeline.records import PageId
from tests.fakes import serve_fake
from tests.pages import write_pages
from tests.runs import run_here


async def run(scans: Path, out: Path, ledgers: str, quota: int) -> None:
    """Run with a shared ledger; print the exit code and the number of calls."""
    async with serve_fake() as fake:
        summary = await run_here(scans, out, fake.url, budget={"ledger": ledgers, "quota": quota})
        print(summary.exit_code, len(fake.calls), flush=True)  # noqa: T201 - read by the test


async def warm_up() -> None:
    """Import all modules that a run needs."""
    with tempfile.TemporaryDirectory() as directory:
        write_pages(Path(directory, "scans"), 1)
        async with serve_fake() as fake:
            await run_here(Path(directory, "scans"), Path(directory, "out"), fake.url)


def hold(path: Path) -> None:
    """Reserve two calls, print the owner, and hold them until stdin ends."""
    with own(path) as owner, closing(SqliteLedger(path, Calendar(), None)) as ledger:
        ids = iter([f"{owner}-1", f"{owner}-2"])
        ledger.execute([Reserve(PageId("p"))] * 2, "w", owner, lambda: next(ids))
        print(owner, flush=True)  # noqa: T201 - read by the test
        sys.stdin.read()


def recover(path: Path) -> None:
    """Print the number of calls whose owner is dead."""
    with closing(SqliteLedger(path, Calendar(), None)) as ledger:
        print(len(ledger.open_attempts("w", lambda owner: is_alive(path, owner))), flush=True)  # noqa: T201


def main() -> None:
    """Become the user, and act."""
    uid, gid, umask, action, *arguments = sys.argv[1:]
    asyncio.run(warm_up())
    if os.geteuid() == 0:
        os.setgroups([int(gid)])
        os.setgid(int(uid))
        os.setuid(int(uid))
    os.umask(int(umask, 8))
    match action:
        case "run":
            scans, out, ledgers, quota = arguments
            asyncio.run(run(Path(scans), Path(out), ledgers, int(quota)))
        case "hold":
            hold(Path(arguments[0]))
        case _:
            recover(Path(arguments[0]))


if __name__ == "__main__":
    main()
