"""A driver in a process of its own, which a test may kill, with an engine that makes the attempts in it."""

import sys
from pathlib import Path

import anyio

from tests.cluster.test_driver import run


async def main(*arguments: str) -> None:
    """Run on a cluster: folder, workspace, URL of the service, directory of the ledger."""
    scans, out, url, ledger = arguments
    await run(Path(scans), Path(out), url, budget={"ledger": ledger})


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
