"""Sabotages of the ledger, the workspace and their disk; `tests.faults.sabotage` applies them by name."""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.batch import accounts
from pipeline.ledger.attempt_state import AttemptState, OpenAttempt
from pipeline.ledger.operations import Answer, Operation, Permit, Reserve, Settle
from pipeline.ledger.sqlite import ledger
from pipeline.ledger.sqlite.ledger import SqliteLedger
from pipeline.ledger.sqlite.schema import LEDGER
from pipeline.storage import sqlite
from pipeline.workspace import index, lock
from pipeline.workspace.ballast import Ballast
from pipeline.workspace.index import Index
from pipeline.workspace.jsonl_file import JsonlFile, RescueFile
from pipeline.workspace.paths import INDEX
from pipeline.workspace.read_position import Span
from pipeline.workspace.sink import Sink


def sync_nothing() -> None:
    """Lines are written and never synced."""

    def fdatasync(fd: object) -> None:
        pass

    os.fdatasync = fdatasync


def sync_no_directory() -> None:
    """Files are synced; directories are not."""
    fsync = os.fsync

    def fsync_files(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(fd)

    os.fsync = fsync_files  # type: ignore[assignment]


def sync_no_ledger() -> None:
    """Reservations are committed and never synced."""
    prepare = sqlite.DurableDatabase._prepare

    def prepare_unsynced(self: sqlite.DurableDatabase) -> None:
        prepare(self)
        self.db.execute("PRAGMA synchronous = OFF")

    sqlite.DurableDatabase._prepare = prepare_unsynced  # type: ignore[method-assign]


def count_before_writing() -> None:
    """A page counts as done before its line is written: lines are buffered in memory, sixteen at a time."""
    append = JsonlFile.append
    buffered: dict[int, list[bytes]] = {}

    async def append_later(self: JsonlFile, line: bytes) -> Span:
        lines = buffered.setdefault(id(self), [])
        lines.append(line)
        if len(lines) == 16:
            span = await append(self, b"".join(lines))
            lines.clear()
            return span
        return Span(0, 0)

    JsonlFile.append = append_later  # type: ignore[method-assign]


def reserve_nothing() -> None:
    """Calls are sent without a reservation in the ledger."""

    def execute(
        _: SqliteLedger, operations: Sequence[Operation], __: str, ___: str, new_id: Callable[[], str]
    ) -> list[Answer]:
        return [Permit(new_id()) if isinstance(operation, Reserve) else None for operation in operations]

    SqliteLedger.execute = execute  # type: ignore[method-assign,assignment]


def check_no_texts() -> None:
    """No run compares its lines with the ledger's accepted calls."""
    accounts.require_texts = lambda *_, **__: None  # type: ignore[attr-defined]


def check_no_ledger() -> None:
    """No run compares its ledger with that of the last one."""
    accounts.require_same_ledger = lambda *_, **__: None  # type: ignore[attr-defined]


def void_the_lost() -> None:
    """A call whose outcome was lost in a crash becomes void."""
    recover = SqliteLedger.recover

    def void_unproven(self: SqliteLedger, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        recover(self, proven, ())
        voided = [Settle(attempt.id, AttemptState.VOID) for attempt in unproven]
        self.execute(voided, "", "", lambda: "")

    SqliteLedger.recover = void_unproven  # type: ignore[method-assign]


def lock_nothing() -> None:
    """Two runs may use one workspace; the second one gets an index of its own, because SQLite locks the first."""
    connect = sqlite3.connect

    def connect_elsewhere(path: str | Path, **options: Any) -> sqlite3.Connection:
        second: sqlite3.Connection = connect(f"{path}.second" if str(path).endswith(INDEX) else path, **options)
        return second

    class NoLock(FileLock):
        def _acquire(self) -> None:
            self._context.lock_file_fd = os.open(os.devnull, os.O_RDONLY)

        def _release(self) -> None:
            pass

    lock.FileLock = NoLock  # type: ignore[attr-defined]
    sqlite3.connect = connect_elsewhere  # type: ignore[assignment]


def wait_briefly_for_the_ledger() -> None:
    """Removes no guarantee: the wait for a locked ledger is short."""
    ledger.LEDGER = replace(LEDGER, busy_timeout_s=0.5)  # type: ignore[attr-defined]


def forget_parts() -> None:
    """The text of a tile is not written."""

    async def append_nothing(*_: object) -> Span:
        return Span(0, 0)

    Sink.append_part = append_nothing  # type: ignore[method-assign,assignment]


def forget_records() -> None:
    """A run ignores the records of earlier runs."""
    Index.settled_states = lambda *_, **__: None  # type: ignore[method-assign]
    Index.find_record = lambda *_: None  # type: ignore[method-assign]
    Index.has_result = lambda *_: False  # type: ignore[method-assign]


def keep_the_ballast() -> None:
    """The ballast file is not deleted when the disk is full."""
    Ballast.make_room = lambda *_: False  # type: ignore[method-assign]


def ignore_a_full_disk() -> None:
    """The ballast file is deleted, but the run does not end when the disk is full."""
    Ballast.report_full = lambda *_: None  # type: ignore[method-assign]


def rescue_nothing() -> None:
    """Lines that a failing disk did not take are not written to another file."""

    def fail(*_: object) -> Path:
        raise OSError(errno.EIO, "no rescue")

    RescueFile.append = fail  # type: ignore[assignment,method-assign]


def trust_a_failed_descriptor() -> None:
    """An error of fdatasync is ignored: the next fdatasync succeeds."""
    sync = os.fdatasync

    def fdatasync(fd: int) -> None:
        with suppress(OSError):
            sync(fd)

    os.fdatasync = fdatasync  # type: ignore[assignment]


def remove_before_naming() -> None:
    """The plain segments are removed before the compressed one has its name."""
    rename = Path.rename

    def rename_last(self: Path, target: Path) -> Path:
        if self.name.endswith(".zst.new"):
            for path in self.parent.glob("results-*.jsonl"):
                path.unlink()
        return rename(self, target)

    Path.rename = rename_last  # type: ignore[method-assign,assignment]


def commit_often() -> None:
    """Removes no guarantee: the index commits after every eight changes."""
    index._COMMIT_EVERY = 8  # type: ignore[misc]
