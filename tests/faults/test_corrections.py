"""`pagemill correct`, killed at system calls or on a full disk: repeating it mends the workspace, nothing is lost."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.workspace.paths import INDEX, RESULTS
from pipeline.workspace.reader import read_records
from tests.corrections import write_corrections
from tests.export.workspaces import put_records
from tests.factories import make_record
from tests.faults.accounts import list_faults
from tests.faults.tracing import inject, trace
from tests.runs import COMMAND, run_command

PAGES = 150
"""Three groups of records."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return put_records(tmp_path / "out", [make_record(f"{n}.png", n, added=n) for n in range(PAGES)])


@pytest.fixture
def corrections(tmp_path: Path) -> Path:
    lines = [{"source": f"{n}.png", "page": 1, "text": f"new {n}", "checked": n % 2 == 0} for n in range(PAGES)]
    return write_corrections(tmp_path / "corrections.jsonl", *lines)


async def require_repair(workspace: Path, corrections: Path, former: bytes) -> None:
    """Repeat the command, and compare the workspace with that of one that nothing disturbed."""
    repeated = await run_command("correct", workspace, corrections, "--json")
    assert repeated.returncode == 0, repeated.stderr
    done = json.loads(repeated.stdout)
    assert done["corrected"] + done["unchanged"] == PAGES
    assert [record.text for record in read_records(workspace)] == [f"new {n}" for n in range(PAGES)]
    assert (workspace / RESULTS).read_bytes().startswith(former)
    assert list_faults(workspace) == []
    assert (workspace / RESULTS).read_bytes().count(b"\n") == 2 * PAGES


@pytest.mark.parametrize(
    ("kill_at", "file"),
    [
        pytest.param(("write", 1), RESULTS, id="before-the-first-write"),
        pytest.param(("fdatasync", 1), RESULTS, id="before-the-first-sync"),
        pytest.param(("write", 3), RESULTS, id="before-a-later-write"),
        pytest.param(("fdatasync", 3), RESULTS, id="before-a-later-sync"),
        pytest.param(("pwrite64", 4), INDEX, id="while-the-index-is-written"),
    ],
)
async def test_a_kill_is_mended_by_repeating_the_command(
    workspace: Path, corrections: Path, tmp_path: Path, kill_at: tuple[str, int], file: str
) -> None:
    former = (workspace / RESULTS).read_bytes()
    names = ["write", "fdatasync", "pwrite64"]
    strace = trace(tmp_path / "log", names, kill_at=kill_at, files=[workspace / file])
    assert (await run_killed(strace, workspace, corrections)) == 137
    assert (workspace / RESULTS).read_bytes().startswith(former)
    await require_repair(workspace, corrections, former)


async def test_a_full_disk_ends_the_command_and_loses_nothing(
    workspace: Path, corrections: Path, tmp_path: Path
) -> None:
    former = (workspace / RESULTS).read_bytes()
    strace = inject(tmp_path / "log", workspace / RESULTS, "write", errno.ENOSPC, 2)
    ended = await run_command("correct", workspace, corrections, command=(*strace, *COMMAND))
    assert ended.returncode == 1
    assert b"No space left on device" in ended.stderr
    assert b"repeat the command" in ended.stderr
    await require_repair(workspace, corrections, former)


async def run_killed(strace: Sequence[str], workspace: Path, corrections: Path) -> int:
    """Run the command under strace; return the exit status as a shell does."""
    code = (await run_command("correct", workspace, corrections, command=(*strace, *COMMAND))).returncode
    return 128 - code if code < 0 else code
