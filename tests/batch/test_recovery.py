"""Recovery: attempts that a crash left open are settled by the records in results.jsonl, wherever they are in it."""

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import LedgerError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.places import ledger_path
from pipeline.ledger.sqlite.owners import is_alive, own
from pipeline.workspace.index import Index
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import read_run_file
from tests.factories import make_record
from tests.fakes import serve_fake
from tests.ledgers import read_attempt_states
from tests.pages import write_page
from tests.runs import KEY, results, run_here


def forget_settlements(ledger: Path) -> None:
    """Leave the ledger as a crash after the last reply does: no attempt is settled."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("UPDATE attempt SET state = 'pending', until = NULL")


async def crash_and_run_again(scans: Path, out: Path, *, dedup: bool, damage: str | None = None) -> list[AttemptState]:
    """Recognise two copies, forget the settlements, damage a record; return the states after the next run."""
    shutil.copy(write_page(scans / "a.png", 1), scans / "b.png")
    ledger = ledger_path(out.parent / "ledger", KEY, "127.0.0.1")
    async with serve_fake() as fake:
        await run_here(scans, out, fake.url, run={"jobs": 1}, prepare={"dedup": "content" if dedup else "off"})
        forget_settlements(ledger)
        if damage is not None:
            path = out / "results.jsonl"
            first, second = path.read_bytes().splitlines(keepends=True)
            assert damage.encode() in first
            path.write_bytes(first.replace(damage.encode(), b"?" * len(damage)) + second)
        (out / "index.sqlite3").unlink()
        calls = len(fake.calls)
        await run_here(scans / "b.png", out, fake.url, prepare={"dedup": "content" if dedup else "off"})
        assert len(fake.calls) == calls
    run_file = read_run_file(out)
    assert run_file is not None
    return list(read_attempt_states(ledger, run_file.workspace_id).values())


async def test_each_of_several_calls_for_one_content_is_proven_by_its_record(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `--dedup off` a content has one record per copy."""
    states = await crash_and_run_again(scans, tmp_path / "out", dedup=False)
    assert len(results(tmp_path / "out")) == 2
    assert states == [AttemptState.ACCEPTED] * 2
    assert "answer is lost" not in caplog.text


async def test_a_duplicates_record_proves_the_call_of_its_damaged_original(scans: Path, tmp_path: Path) -> None:
    assert await crash_and_run_again(scans, tmp_path / "out", dedup=True, damage='"a.png"') == [AttemptState.ACCEPTED]


async def test_a_call_whose_only_record_is_damaged_is_lost(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Negative control; a message names the page."""
    with caplog.at_level(logging.WARNING, "pagemill"):
        states = await crash_and_run_again(scans, tmp_path / "out", dedup=False, damage='"a.png"')
    assert sorted(states) == [AttemptState.ACCEPTED, AttemptState.UNKNOWN]
    assert "an earlier call may have been billed and its answer is lost" in caplog.text


def test_attempts_are_found_anywhere_in_the_file(tmp_path: Path) -> None:
    """The first, the last and one between; not an id in a text, nor one in a torn line."""
    records = [make_record(f"{number}.png", number, added=number) for number in range(50)]
    quoted = encode_record(make_record("quoted.png", 99, text='"attempt":"missing"', added=50))
    (tmp_path / "results.jsonl").write_bytes(b"".join(map(encode_record, records)) + quoted + b'{"attempt":"torn"')
    there = {records[number].attempts[0] for number in (0, 20, 49)}
    with Index.open(tmp_path) as index:
        assert index.proofs.find([*there, "missing", "torn"]) == there
        assert index.proofs.count() == 51


def test_a_ledger_without_working_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner's lock proves that it lives: without locks no call goes out, and no living owner's is taken for lost."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LedgerError, match=r"cannot lock .*Function not implemented"), own(tmp_path / "ledger.sqlite3"):
        pass
    (tmp_path / "ledger.owners").mkdir(exist_ok=True)
    (tmp_path / "ledger.owners" / "other.lock").touch()
    with pytest.raises(LedgerError, match=r"cannot lock .*Function not implemented"):
        is_alive(tmp_path / "ledger.sqlite3", "other")
