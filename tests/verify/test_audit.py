"""The audit: a workspace without a fault has none, and every planted one is named."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from pipeline.billing import Calendar
from pipeline.errors import StorageError
from pipeline.ledger.attempt_state import AttemptState
from pipeline.ledger.operations import Reserve, Settle
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.records import Failure, Record, Reply, State
from pipeline.verify.audit import audit, count_pages
from pipeline.workspace import snapshot
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.lock import lock_workspace
from pipeline.workspace.page_counts import PageCounts
from pipeline.workspace.part_lines import encode_part
from pipeline.workspace.paths import FAILURES, INDEX, PARTS, RESULTS
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.run_file import RunFile
from tests.factories import make_failure, make_record, on_disk, page_id
from tests.workspace.test_part_lines import make_part

DONE, DUPLICATES = 40, 2


@dataclass(frozen=True, slots=True)
class Sound:
    """A workspace without a fault."""

    path: Path
    run_file: RunFile

    def faults(self) -> list[str]:
        with lock_workspace(self.path):
            return list(audit(self.path, self.run_file))

    def lines(self) -> list[bytes]:
        return (self.path / RESULTS).read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes]) -> None:
        (self.path / RESULTS).write_bytes(b"".join(lines))


@pytest.fixture
def sound(tmp_path: Path) -> Sound:
    """Forty pages done, two duplicates, two failures, one uncertain, one pending; the ledger has the calls."""
    workspace = tmp_path / "out"
    workspace.mkdir()
    records: list[Record] = [make_record(f"{number}.png", number, added=number) for number in range(DONE)]
    records += [
        replace(make_record(f"copy-{number}.png", 3, duplicate_of="3.png", added=99), attempts=records[3].attempts)
        for number in range(DUPLICATES)
    ]
    failures: list[Failure] = [
        make_failure("bad.png", 100),
        make_failure("gone.png", None, error="missing", retryable=True),
        make_failure("lost.png", 101, error="uncertain"),
    ]
    (workspace / RESULTS).write_bytes(b"".join(map(encode_record, records)))
    (workspace / FAILURES).write_bytes(b"".join(map(encode_failure, failures)))
    with Index.open(workspace) as index:
        index.mark_file_pending(on_disk("waiting.png"))
        totals = {state.value: number for state, number in index.count_pages().totals.items()}
    attempts = [record.attempts[0] for record in records[:DONE]]
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", Calendar(), None)
    ids = iter(attempts)
    ledger.execute([Reserve(page_id(number)) for number in range(DONE)], "w", "o", lambda: next(ids))
    ledger.execute([Settle(attempt, AttemptState.ACCEPTED) for attempt in attempts], "w", "o", str)
    ledger.close()
    finished = "2026-01-31T12:00:00.000000Z"
    run_file = RunFile(
        workspace_id="w",
        version="1",
        service="vendor",
        ledger=str(ledger.path),
        ledgers=(str(ledger.path),),
        totals=totals,
        finished=finished,
    )
    return Sound(workspace, run_file)


def test_a_sound_workspace_has_no_fault(sound: Sound) -> None:
    """Negative control of the other tests, with the index and without it."""
    expected = {"done": 40, "duplicate": 2, "skipped": 0, "failed": 2, "uncertain": 1, "pending": 1}
    assert sound.run_file.totals == expected
    assert sound.faults() == []
    (sound.path / INDEX).unlink()
    assert sound.faults() == []


def _flip(sound: Sound, number: int, at: int = 100) -> None:
    lines = sound.lines()
    lines[number] = lines[number][:at] + bytes([lines[number][at] ^ 1]) + lines[number][at + 1 :]
    sound.rewrite(lines)


def _delete(sound: Sound, number: int) -> None:
    lines = sound.lines()
    del lines[number]
    sound.rewrite(lines)


def _swap(sound: Sound, first: int, second: int) -> None:
    lines = sound.lines()
    lines[first], lines[second] = lines[second], lines[first]
    sound.rewrite(lines)


def _append(sound: Sound, name: str, content: bytes) -> None:
    with (sound.path / name).open("ab") as file:
        file.write(content)


def _flip_failure(sound: Sound) -> None:
    content = bytearray((sound.path / FAILURES).read_bytes())
    content[30] ^= 1
    (sound.path / FAILURES).write_bytes(content)


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        pytest.param(lambda s: _flip(s, 5), "results.jsonl:6: its checksum does not match", id="flipped-byte"),
        pytest.param(lambda s: _flip(s, 41), "results.jsonl:42: its checksum does not match", id="flipped-in-the-end"),
        pytest.param(lambda s: _delete(s, 7), "run.json: 40 pages done, the files say 39", id="deleted-line"),
        pytest.param(
            lambda s: _delete(s, 3), "copy-0.png: a duplicate of '3.png' without its record", id="deleted-original"
        ),
        pytest.param(
            lambda s: _append(s, RESULTS, s.lines()[9]),
            "results.jsonl:43: 9.png: line 10 has a text of the same call, owner-000009",
            id="duplicated-line",
        ),
        pytest.param(
            lambda s: _append(s, RESULTS, encode_record(make_record("again.png", 9, added=500))),
            "results.jsonl:43: again.png: line 10 has its content, so it was sent twice",
            id="content-paid-twice",
        ),
        pytest.param(
            lambda s: _swap(s, 3, 40),
            "results.jsonl:4: copy-0.png: a duplicate of '3.png' before its record in line 41",
            id="duplicate-before-its-original",
        ),
        pytest.param(
            lambda s: _append(s, RESULTS, b'{"id":"sha'), "results.jsonl:43: it ends without a newline", id="torn-tail"
        ),
        pytest.param(
            lambda s: _append(s, RESULTS, encode_record(make_record("new.png", 77))[:-1]),
            "results.jsonl:43: it ends without a newline",
            id="line-without-newline",
        ),
        pytest.param(lambda s: _append(s, RESULTS, b"\n"), "results.jsonl:43: an empty line", id="empty-line"),
        pytest.param(lambda s: _append(s, RESULTS, b"\0" * 4096), "results.jsonl:43: 4096 zero bytes", id="zeros"),
        pytest.param(_flip_failure, "failures.jsonl:1: its checksum does not match", id="flipped-failure"),
        pytest.param(
            lambda s: (s.path / FAILURES).unlink(), "run.json: 2 pages failed, the files say 0", id="failures-deleted"
        ),
        pytest.param(
            lambda s: (s.path / RESULTS).unlink(), "run.json: 40 pages done, the files say 0", id="results-deleted"
        ),
    ],
)
def test_a_planted_fault_is_named(sound: Sound, plant: Callable[[Sound], object], named: str) -> None:
    """With the index made before the fault, and without an index."""
    plant(sound)
    faults = sound.faults()
    assert [fault for fault in faults if named in fault], faults
    (sound.path / INDEX).unlink()
    faults = sound.faults()
    assert [fault for fault in faults if named in fault], faults


def test_tiles_that_the_index_has_otherwise_are_named(sound: Sound) -> None:
    parts = [
        replace(make_part(number), attempt=f"tile-{number}", reply=Reply("doc", 1, "embedded")) for number in (1, 2)
    ]
    lines = [encode_part(part) for part in parts]
    (sound.path / PARTS).write_bytes(b"".join(lines))
    with Index.open(sound.path):
        pass
    assert sound.faults() == []
    with closing(sqlite3.connect(sound.path / INDEX)) as db, db:
        db.execute("UPDATE part SET offset = 7 WHERE tile = 1")
        db.execute("UPDATE part SET tile = 3 WHERE tile = 2")
    first, second, third = sound.faults()
    assert "tile 1 of 3: byte 7" in first
    assert "in the index; by the lines byte 0" in first
    assert "tile 3 of 3" in second
    assert second.endswith("in the index; no line has it")
    assert f"tile 2 of 3: missing in the index; by the lines byte {len(lines[0])}" in third


def test_a_page_whose_record_is_damaged_is_named(sound: Sound) -> None:
    """The index was made before the line was damaged."""
    _flip(sound, 5)
    assert "5.png page 1: counts as done and has no line that can be read" in sound.faults()


def test_a_call_that_the_ledger_voided_is_named(sound: Sound) -> None:
    """A voided call with a text on disk is under-counted."""
    assert sound.run_file.ledger is not None
    (attempt,) = make_record("", 0, added=11).attempts
    ledger = SqliteLedger(Path(sound.run_file.ledger), Calendar(), None)
    ledger.execute([Settle(attempt, AttemptState.VOID)], "w", "o", str)
    ledger.close()
    assert sound.faults() == [
        f"results.jsonl:12: 11.png: the ledger counts its call {attempt} as never made",
    ]


@pytest.mark.parametrize("state", [pytest.param(state.value, id=state.value) for state in State])
def test_wrong_totals_are_named_with_both_numbers(sound: Sound, state: str) -> None:
    totals = {**sound.run_file.totals, state: sound.run_file.totals[state] + 1}
    wrong = replace(sound, run_file=msgspec.structs.replace(sound.run_file, totals=totals))
    assert wrong.faults() == [f"run.json: {totals[state]} pages {state}, the files say {totals[state] - 1}"]


def test_totals_are_not_compared_after_a_killed_run(sound: Sound) -> None:
    """While `finished` is not set, the totals are those of an earlier run."""
    killed = msgspec.structs.replace(sound.run_file, totals={"done": 1}, finished=None)
    assert replace(sound, run_file=killed).faults() == []


def test_without_a_ledger_the_files_are_still_checked(sound: Sound) -> None:
    """A ledger that run.json names and that is gone is a fault; the audit does not create it."""
    missing = str(sound.path / "missing.sqlite3")
    for ledger, faults in ((None, 0), (missing, 1)):
        run_file = msgspec.structs.replace(sound.run_file, ledger=ledger, ledgers=())
        found = replace(sound, run_file=run_file).faults()
        assert [fault for fault in found if "it is gone" in fault] == found
        assert len(found) == faults
    assert not Path(missing).exists()


def _change_nothing(_: Sound) -> None:
    """The index has read all lines."""


def _end_in_a_crash(sound: Sound) -> None:
    """A line came after the last commit, and another was torn."""
    _append(sound, RESULTS, encode_record(make_record("late.png", 70)) + b'{"id":"sha')


def _lose_the_index(sound: Sound) -> None:
    (sound.path / INDEX).unlink()


def _damage_the_index(sound: Sound) -> None:
    (sound.path / INDEX).write_bytes(b"x" * 5000)


def _swap_the_results(sound: Sound) -> None:
    """The index has read other files."""
    sound.rewrite(sound.lines()[::-1])


def _read(workspace: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.iterdir()}


@pytest.mark.parametrize(
    ("change", "done", "pending"),
    [
        pytest.param(_change_nothing, DONE, 1, id="index-current"),
        pytest.param(_end_in_a_crash, DONE + 1, 1, id="index-behind"),
        pytest.param(_lose_the_index, DONE, 0, id="index-missing"),
        pytest.param(_damage_the_index, DONE, 0, id="index-damaged"),
        pytest.param(_swap_the_results, DONE, 1, id="index-of-other-files"),
    ],
)
def test_counting_pages_disturbs_no_run_and_changes_nothing(
    sound: Sound, monkeypatch: pytest.MonkeyPatch, change: Callable[[Sound], None], done: int, pending: int
) -> None:
    """A run may begin at every access to the index; a run that holds the workspace changes no count."""
    change(sound)
    with lock_workspace(sound.path):
        pass
    before = _read(sound.path)
    count, begun = Index.count_pages, []

    def begin_a_run(index: Index) -> PageCounts:
        with lock_workspace(sound.path):
            begun.append(index)
        return count(index)

    with monkeypatch.context() as patch:
        patch.setattr(Index, "count_pages", begin_a_run)
        free = count_pages(sound.path)
    with lock_workspace(sound.path):
        held = count_pages(sound.path)
    assert begun
    assert free == held
    assert (free.totals[State.DONE], free.totals[State.PENDING]) == (done, pending)
    assert _read(sound.path) == before


def test_without_space_for_a_copy_the_last_commit_is_counted(sound: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an index the count fails."""
    _end_in_a_crash(sound)
    monkeypatch.setattr(snapshot, "TemporaryDirectory", _no_room)
    assert count_pages(sound.path).totals[State.DONE] == DONE
    _lose_the_index(sound)
    with pytest.raises(StorageError, match="No space left"):
        count_pages(sound.path)


def _no_room(**_: str) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
