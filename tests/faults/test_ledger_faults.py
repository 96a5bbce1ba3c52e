"""A ledger that is deleted, damaged, replaced or read-only during a run: no call goes out without a reservation."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pipeline.billing import Calendar
from pipeline.errors import LedgerError, UsageError
from pipeline.ledger.budget import Budget
from pipeline.ledger.operations import Answer, Operation, Permit, Reserve
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import State
from pipeline.verify.audit import audit
from pipeline.workspace.run_file import read_run_file
from tests.fakes import Call, accept, answer_error, serve_fake
from tests.faults.tracing import QUICK_STRACE
from tests.pages import write_pages
from tests.runs import COMMAND, KEY, results, run_command, run_here

PAGES = 30
JOBS = 3
HARM_AT_CALL = 8

Harm = Callable[[Path], object]


def put_other(path: Path) -> None:
    """Put a valid but empty ledger in its place."""
    other = path.with_name("other")
    SqliteLedger(other, Calendar(), None).close()
    other.replace(path)


HARMS = [
    pytest.param(lambda path: path.unlink(), id="deleted"),
    pytest.param(lambda path: path.rename(path.with_name("moved")), id="moved"),
    pytest.param(put_other, id="replaced"),
    pytest.param(lambda path: path.write_bytes(os.urandom(path.stat().st_size)), id="overwritten"),
    pytest.param(lambda path: os.truncate(path, 0), id="emptied"),
    pytest.param(lambda path: os.truncate(path, path.stat().st_size // 2), id="cut"),
    pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a-directory-in-its-place"),
]


@dataclass(slots=True)
class Seen:
    """A run whose ledger was harmed.

    Attributes:
        reserved: Calls that were reserved before the harm.
        calls: Calls that the server received in total.
        exit_code: Of the run.
        reason: The run's message.
    """

    reserved: int = 0
    calls: int = 0
    exit_code: int = 0
    reason: str = ""


async def run_and_harm(scans: Path, out: Path, harm: Harm) -> Seen:
    """Run, and harm the ledger while the server answers one of the calls."""
    seen = Seen()
    path = ledger_path(out.parent / "ledger", KEY, "127.0.0.1")

    def answer(call: Call) -> web.StreamResponse:
        if call.number == HARM_AT_CALL:
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")  # no reservation is made meanwhile
                seen.reserved = db.execute("SELECT count(*) FROM attempt").fetchone()[0]
                harm(path)
        return accept(call)

    async with serve_fake(answer) as fake:
        try:
            summary = await run_here(scans, out, fake.url, run={"jobs": JOBS})
            seen.exit_code, seen.reason = summary.exit_code, summary.reason or ""
        except LedgerError as exc:
            seen.exit_code, seen.reason = exc.exit_code, str(exc)
        seen.calls = len(fake.calls)
    return seen


@pytest.mark.parametrize("harm", HARMS)
async def test_a_harmed_ledger_ends_the_run_and_loses_nothing(scans: Path, tmp_path: Path, harm: Harm) -> None:
    """Only reserved calls go out; exit 1 names the ledger; each answer that came is recorded."""
    write_pages(scans, PAGES)
    out = tmp_path / "out"
    seen = await run_and_harm(scans, out, harm)
    assert HARM_AT_CALL <= seen.calls <= seen.reserved < PAGES
    assert seen.exit_code == 1
    assert str(ledger_path(tmp_path / "ledger", KEY, "127.0.0.1")) in seen.reason
    assert len(results(out)) == seen.calls
    run_file = read_run_file(out)
    assert run_file is not None
    assert (run_file.exit_code, run_file.totals[State.DONE]) == (1, seen.calls)
    assert [fault for fault in audit(out, run_file) if "ledger" not in fault] == []


async def test_a_budget_that_swallows_the_error_is_found_out(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: calls go out without a reservation, and the same comparison finds them."""
    commit = Budget._commit

    async def commit_or_not(self: Budget, group: Sequence[Operation]) -> Sequence[Answer]:
        try:
            return await commit(self, group)
        except LedgerError:
            return [Permit(self._new_id()) if isinstance(operation, Reserve) else None for operation in group]

    monkeypatch.setattr(Budget, "_commit", commit_or_not)
    write_pages(scans, PAGES)
    seen = await run_and_harm(scans, tmp_path / "out", lambda path: path.unlink())
    assert seen.calls == PAGES > seen.reserved


async def test_with_a_limit_and_a_deleted_ledger_no_call_goes_out(scans: Path, tmp_path: Path) -> None:
    """After `--already-used` the next run continues from that number."""
    write_pages(scans, 6)
    path = ledger_path(tmp_path / "ledger", KEY, "127.0.0.1")
    options: dict[str, Any] = {"budget": {"quota": 4}, "run": {"limit": 2}}
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url, **options)
        path.unlink()
        with pytest.raises(UsageError, match="--already-used"):
            await run_here(scans, tmp_path / "out", fake.url, **options)
        assert (len(fake.calls), path.exists()) == (2, False)
        with closing(SqliteLedger(path, Calendar(), 4)) as ledger:
            ledger.set_used(2)
        summary = await run_here(scans, tmp_path / "out", fake.url, budget={"quota": 4}, accept_ledger=True)
        assert (summary.exit_code, len(fake.calls)) == (8, 4)


async def test_the_next_run_warns_once_of_a_deleted_ledger(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The new ledger does not know the month's calls, so the message names `--already-used`."""
    write_pages(scans, 2)
    path = ledger_path(tmp_path / "ledger", KEY, "127.0.0.1")
    async with serve_fake() as fake:
        await run_here(scans, tmp_path / "out", fake.url)
        path.unlink()
        await run_here(scans, tmp_path / "out", fake.url, accept_ledger=True)
        assert [text for text in caplog.messages if str(path) in text and "--already-used" in text]
        caplog.clear()
        await run_here(scans, tmp_path / "out", fake.url)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("fault", "suffix"),
    [
        pytest.param("openat:error=EROFS:when=16+", "-journal", id="read-only"),
        pytest.param("openat:error=EACCES:when=16+", "-journal", id="not-permitted"),
        pytest.param("pwrite64:error=ENOSPC:when=60+", "-journal", id="disk-full"),
        pytest.param("pwrite64:error=EIO:when=13+", "", id="disk-broken"),
        pytest.param("fdatasync:error=EIO:when=5+", "", id="sync-fails"),
        pytest.param("fdatasync:error=EIO:when=15+", "-journal", id="journal-stays"),
    ],
)
async def test_a_ledger_that_cannot_be_written_ends_the_run(
    scans: Path, tmp_path: Path, fault: str, suffix: str
) -> None:
    """From one system call of a thread on, all fail: exit 1, and each call that went out is in the ledger."""
    write_pages(scans, PAGES)
    out, path = tmp_path / "out", ledger_path(tmp_path / "ledger", KEY, "127.0.0.1")
    path.parent.mkdir()
    SqliteLedger(path, Calendar(), None).close()
    trace = ["-o", str(tmp_path / "log"), "-P", f"{path}{suffix}", "-e", f"trace={fault.split(':', maxsplit=1)[0]}"]
    command = [*QUICK_STRACE, *trace, "-e", f"inject={fault}", *COMMAND]
    async with serve_fake() as fake:
        flags = ("--api-url", fake.url, "--ledger", path.parent, "-j", str(JOBS), "--no-progress")
        done = await run_command("run", scans, "-o", out, *flags, command=command)
        calls = len(fake.calls)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert str(path) in said
    assert "Traceback" not in said
    assert "INJECTED" in (tmp_path / "log").read_text()
    assert 0 < calls < PAGES
    assert len(results(out)) == calls
    with closing(SqliteLedger(path, Calendar(), None)) as ledger:
        assert calls <= ledger.usage().used <= calls + 2 * JOBS


async def test_failed_calls_count_unless_count_failed_calls_is_false(scans: Path, tmp_path: Path) -> None:
    """With `count_failed_calls = false` a call without a text is not counted; by default it is."""
    write_pages(scans, 1)
    async with serve_fake(answer_error(500, "oops")) as fake:
        kept = await run_here(scans, tmp_path / "out", fake.url, run={"retries": 0})
        free = await run_here(
            scans, tmp_path / "other", fake.url, run={"retries": 0}, budget={"count_failed_calls": False, "quota": 1}
        )
    assert (kept.calls, free.calls) == (1, 0)
    assert free.exit_code == 8
    async with serve_fake(answer_error(500, "oops")) as fake:
        budget = {"count_failed_calls": False, "quota": 2}
        again = await run_here(scans, tmp_path / "other", fake.url, run={"retries": 0}, budget=budget)
        assert (len(fake.calls), again.calls, again.calls_left) == (1, 0, 1)
