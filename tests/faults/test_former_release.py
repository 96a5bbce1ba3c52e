"""A workspace and a ledger that release 0.2 wrote (`tests/cases/workspace-0.2`)."""

import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.billing import Calendar
from pipeline.errors import StorageError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import read_miscounts
from pipeline.records import State
from pipeline.verify.audit import audit, count_pages
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.run_file import require_workspace
from tests.fakes import serve_fake
from tests.ledgers import read_attempt_states
from tests.pages import write_pages
from tests.runs import KEY, ROOT, run_here

CASE = ROOT / "tests/cases/workspace-0.2"
WORKSPACE_ID = "4d396a0adfd23050"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The workspace, with its ledger and pages beside it."""
    shutil.copytree(CASE, tmp_path, dirs_exist_ok=True)
    run_file = tmp_path / "out/run.json"
    run_file.write_bytes(run_file.read_bytes().replace(b"@ROOT@", str(tmp_path).encode()))
    write_pages(tmp_path / "scans", 9)
    (tmp_path / "scans/page-0003.png").unlink()
    return tmp_path / "out"


def count_states(out: Path) -> Counter[AttemptState]:
    """Return the number of calls in each state."""
    return Counter(read_attempt_states(ledger_path(out.parent / "ledger", KEY, "127.0.0.1"), WORKSPACE_ID).values())


def test_status_and_verify_read_it(out: Path) -> None:
    """Neither changes the index or the ledger to the new format."""
    before = {path: path.read_bytes() for path in out.parent.rglob("*.sqlite3")}
    assert count_pages(out).totals[State.DONE] == 6
    assert list(audit(out, require_workspace(out))) == []
    assert {path: path.read_bytes() for path in before} == before


async def test_a_run_goes_on_where_the_former_release_was_killed(out: Path) -> None:
    path = ledger_path(out.parent / "ledger", KEY, "127.0.0.1")
    with closing(SqliteLedger(path, Calendar(), None)) as ledger:
        assert (ledger.usage("2026-11").used, ledger.mark().reserved) == (10, 10)
    assert list(read_miscounts(path)) == []
    async with serve_fake() as fake:
        for _ in range(2):
            assert (await run_here(out.parent / "scans", out, fake.url)).exit_code == 0
            assert sorted(call.filename for call in fake.calls) == ["page-0007.png", "page-0008.png"]
    assert count_states(out) == {AttemptState.POSTED: 9, AttemptState.UNKNOWN: 1, AttemptState.ACCEPTED: 2}
    assert list(audit(out, require_workspace(out))) == []


async def test_posted_calls_without_a_line_stop_no_run_and_accepted_ones_do(out: Path) -> None:
    results = out / RESULTS
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:4]))
    async with serve_fake() as fake:
        assert (await run_here(out.parent / "scans", out, fake.url)).exit_code == 0
        assert len(fake.calls) == 4
        results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:5]))
        with pytest.raises(StorageError, match=" 3 texts"):
            await run_here(out.parent / "scans", out, fake.url)
        assert len(fake.calls) == 4
