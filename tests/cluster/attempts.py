"""Attempts at shards in tests: as a coroutine here, or in a process of its own that a test may stop or kill."""

import pickle
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

from pipeline.cluster.attempt import ShardOrder, ShardOutcome, attempt_shard
from pipeline.cluster.shard_folder import ShardFolder
from pipeline.config import Config, InputConfig
from pipeline.inputs.resolve import resolve_inputs
from pipeline.inputs.source import walk
from pipeline.records import IgnoredFiles
from pipeline.service import Service
from tests.runs import KEY, start_command

JOB = "job-of-the-tests"


async def list_shards(scans: Path, out: Path, shard_files: int) -> int:
    """List a folder into shard files; return their number."""
    inputs = resolve_inputs([str(scans)], cwd=scans)
    with ShardFolder(out, inputs.root, shard_files) as folder:
        async for file in walk(inputs, InputConfig(), stdin=None, null_separated=False):
            if not isinstance(file, IgnoredFiles):
                folder.add(file)
        folder.finish()
        return folder.last


def order(out: Path, shard: int, url: str, config: Config, run_id: str = "run") -> ShardOrder:
    """Return the order to recognise a shard."""
    return ShardOrder(out, shard, JOB, run_id, Service(url, KEY, "127.0.0.1"), config)


@asynccontextmanager
async def start_attempt(made: ShardOrder, outcome: Path) -> AsyncGenerator[Process]:
    """Start an attempt in a process of its own, which pickles its outcome into a file."""
    outcome.with_suffix(".order").write_bytes(pickle.dumps(made))
    command = (sys.executable, "-m", "tests.cluster.attempts")
    async with start_command(outcome.with_suffix(".order"), outcome, command=command) as process:
        yield process


def read_outcome(path: Path) -> ShardOutcome:
    """Return the outcome that a process has left."""
    outcome = pickle.loads(path.read_bytes())
    assert isinstance(outcome, ShardOutcome)
    return outcome


def main() -> None:
    """Make the attempt of a file, and write its outcome to another one."""
    made = pickle.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_bytes(pickle.dumps(anyio.run(attempt_shard, made)))


if __name__ == "__main__":
    main()
