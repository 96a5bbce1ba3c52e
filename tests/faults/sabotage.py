"""The negative controls: the real command with one guarantee taken out.

    python -m tests.faults.sabotage NAME[,NAME...] run INPUT... -o OUT …

A fault test that passes with the guarantee taken out proves nothing, so each is run with its sabotage too, and must
fail then.
"""

import asyncio
import errno
import io
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import anyio
import anyio.to_thread
from filelock import FileLock

from pipeline.batch.dispatcher import Dispatcher
from pipeline.cli import main as cli
from pipeline.errors import StopError
from pipeline.inputs import image, source
from pipeline.ledger import ledger
from pipeline.ledger.ledger import Ledger, Reserve, Settle
from pipeline.ledger.schema import LEDGER
from pipeline.records import AttemptState, OpenAttempt, Payload, Span
from pipeline.shutdown import Shutdown
from pipeline.storage import files, sqlite
from pipeline.workspace import index, lock
from pipeline.workspace.ballast import Ballast
from pipeline.workspace.index import Index
from pipeline.workspace.paths import INDEX
from pipeline.workspace.sink import JsonlFile, RescueFile


def _sync_nothing() -> None:
    """Lines are written and never synced."""

    def fdatasync(fd: object) -> None:
        pass

    os.fdatasync = fdatasync


def _sync_no_directory() -> None:
    """Files are synced, their names are not."""
    fsync = os.fsync

    def fsync_files(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(fd)

    os.fsync = fsync_files  # type: ignore[assignment]


def _sync_no_ledger() -> None:
    """Reservations are committed and never synced."""
    prepare = sqlite.DurableDatabase._prepare

    def prepare_carelessly(self: sqlite.DurableDatabase) -> None:
        prepare(self)
        self.db.execute("PRAGMA synchronous = OFF")

    sqlite.DurableDatabase._prepare = prepare_carelessly  # type: ignore[method-assign]


def _count_before_writing() -> None:
    """Success is counted before the write: lines gather in memory, sixteen at a time."""
    append = JsonlFile.append
    gathered: dict[int, list[bytes]] = {}

    async def append_later(self: JsonlFile, line: bytes) -> Span:
        lines = gathered.setdefault(id(self), [])
        lines.append(line)
        if len(lines) == 16:
            span = await append(self, b"".join(lines))
            lines.clear()
            return span
        return Span(0, 0)

    JsonlFile.append = append_later  # type: ignore[method-assign]


def _reserve_nothing() -> None:
    """Calls go out without a reservation in the ledger."""

    def execute(
        _: Ledger, operations: Sequence[Reserve | Settle], __: str, ___: str, new_id: Callable[[], str]
    ) -> list[str | None]:
        return [new_id() if isinstance(operation, Reserve) else None for operation in operations]

    Ledger.execute = execute  # type: ignore[method-assign,assignment]


def _void_the_lost() -> None:
    """A call whose outcome a crash took is counted as never made."""
    recover = Ledger.recover

    def forgive(self: Ledger, proven: Sequence[OpenAttempt], unproven: Sequence[OpenAttempt]) -> None:
        recover(self, proven, ())
        voided = [Settle(attempt.id, AttemptState.VOID) for attempt in unproven]
        self.execute(voided, "", "", lambda: "")

    Ledger.recover = forgive  # type: ignore[method-assign]


def _lock_nothing() -> None:
    """Two runs may fill one workspace; and the index, which is locked too, is one of its own."""
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


def _wait_briefly_for_the_ledger() -> None:
    """No guarantee is taken out: only the wait for a locked ledger is short."""
    ledger.LEDGER = replace(LEDGER, busy_timeout_s=0.5)  # type: ignore[attr-defined]


def _abort_at_once() -> None:
    """A run that is asked to end does not wait for the calls under way."""

    def request(_: Shutdown, reason: StopError, *, spare_reserved: bool = False) -> None:
        os._exit(reason.exit_code)

    Shutdown.request = request  # type: ignore[method-assign,assignment]


def _never_read_to_the_end() -> None:
    """No guarantee is taken out: `stuck.png` lies on a network mount whose server is gone."""
    read = files.read_stable

    def read_for_ever(path: Path, max_bytes: int) -> bytes:
        if path.name == "stuck.png":
            threading.Event().wait()
        return read(path, max_bytes)

    image.read_stable = read_for_ever  # type: ignore[attr-defined]


def _never_find_an_input() -> None:
    """No guarantee is taken out: the INPUTs lie on a network mount whose server is gone."""

    def look_for_ever(text: str, _: str) -> NoReturn:
        os.write(2, f"looking for {text}\n".encode())
        while True:
            threading.Event().wait()

    source._locate = look_for_ever  # type: ignore[assignment]


class _StillGrowing(io.FileIO):
    """A file to which its writer appends when it has been read."""

    def readall(self) -> bytes:
        content = super().readall()
        if str(self.name).endswith("copied.tif"):
            with Path(str(self.name)).open("ab") as writer:
                writer.write(bytes(100))
        return content


def _open_growing(path: Path, _: str, **options: Any) -> io.FileIO:
    return _StillGrowing(path, opener=options["opener"])


def _copy_slowly() -> None:
    """No guarantee is taken out: `copied.tif` is still being written when it is read."""
    files.open = _open_growing  # type: ignore[attr-defined]


def _look_once() -> None:
    """A file is read, and nobody looks whether it changed meanwhile."""

    def read_once(path: Path, _: int) -> bytes:
        with _StillGrowing(path) as file:
            return file.readall()

    image.read_stable = read_once  # type: ignore[assignment, attr-defined]


def _take_what_was_read() -> None:
    """A read error is passed over: what came before it passes for the file."""

    def read_up_to_an_error(path: Path, _: int) -> bytes:
        content = bytearray()
        with path.open("rb", buffering=0) as file, suppress(OSError):
            while block := file.read(1 << 16):
                content += block
        return bytes(content)

    image.read_stable = read_up_to_an_error  # type: ignore[assignment, attr-defined]


def _wait_for_names() -> None:
    """The wait for another name on stdin is not called off."""
    wait_readable = source.wait_readable  # type: ignore[attr-defined]

    async def wait_to_the_end(stdin: int) -> None:
        with anyio.CancelScope(shield=True):
            await wait_readable(stdin)

    source.wait_readable = wait_to_the_end  # type: ignore[assignment, attr-defined]


def _wait_for_threads() -> None:
    """No thread is left behind: who waits for one waits for its end."""
    run_sync = anyio.to_thread.run_sync
    prepare_page = Dispatcher._prepare

    async def run_to_the_end(*arguments: Any, abandon_on_cancel: bool = False, **options: Any) -> Any:
        del abandon_on_cancel
        return await run_sync(*arguments, **options)

    async def prepare_to_the_end(*arguments: Any) -> Payload:
        prepared = asyncio.ensure_future(prepare_page(*arguments))
        with anyio.CancelScope(shield=True):
            await asyncio.wait([prepared])
        return prepared.result()

    anyio.to_thread.run_sync = run_to_the_end  # type: ignore[assignment]
    Dispatcher._prepare = prepare_to_the_end  # type: ignore[assignment, method-assign]


def _forget_what_is_done() -> None:
    """A run does not know what earlier runs recorded."""
    Index.settled_states = lambda *_, **__: None  # type: ignore[method-assign]
    Index.find_record = lambda *_: None  # type: ignore[method-assign]
    Index.has_result = lambda *_: False  # type: ignore[method-assign]


def _give_no_room_back() -> None:
    """The reserve stays where it is when the disk is full."""
    Ballast.make_room = lambda *_: False  # type: ignore[method-assign]


def _give_room_in_silence() -> None:
    """The run is not told that the disk is full."""
    Ballast.report_full = lambda *_: None  # type: ignore[method-assign]


def _rescue_nothing() -> None:
    """What a failing disk did not take goes nowhere."""

    def fail(*_: object) -> Path:
        raise OSError(errno.EIO, "no rescue")

    RescueFile.append = fail  # type: ignore[assignment,method-assign]


def _trust_a_failed_descriptor() -> None:
    """An error of fdatasync is passed over, since the next one succeeds."""
    sync = os.fdatasync

    def fdatasync(fd: int) -> None:
        with suppress(OSError):
            sync(fd)

    os.fdatasync = fdatasync  # type: ignore[assignment]


def _commit_often() -> None:
    """No guarantee is taken out: only the index commits after every few changes."""
    index._COMMIT_EVERY = 8  # type: ignore[misc]


SABOTAGES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "abort-at-once": _abort_at_once,
        "commit-often": _commit_often,
        "count-before-writing": _count_before_writing,
        "forget-what-is-done": _forget_what_is_done,
        "go-on-when-full": _give_room_in_silence,
        "half-copied": _copy_slowly,
        "lock-nothing": _lock_nothing,
        "look-once": _look_once,
        "no-rescue": _rescue_nothing,
        "no-reserve": _give_no_room_back,
        "reserve-nothing": _reserve_nothing,
        "short-busy-timeout": _wait_briefly_for_the_ledger,
        "sync-no-directory": _sync_no_directory,
        "sync-no-ledger": _sync_no_ledger,
        "sync-nothing": _sync_nothing,
        "take-what-was-read": _take_what_was_read,
        "trust-failed-descriptor": _trust_a_failed_descriptor,
        "stuck-input": _never_find_an_input,
        "stuck-read": _never_read_to_the_end,
        "void-the-lost": _void_the_lost,
        "wait-for-names": _wait_for_names,
        "wait-for-threads": _wait_for_threads,
    }
)


def main() -> None:
    """Take the named guarantees out, then be the command."""
    names = sys.argv.pop(1)
    for name in names.split(","):
        SABOTAGES[name]()
    sys.argv[0] = "pagemill"
    cli.main()


if __name__ == "__main__":
    main()
