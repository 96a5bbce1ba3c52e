"""Negative controls: the real command with one guarantee removed.

    python -m tests.faults.sabotage NAME[,NAME...] run INPUT... -o OUT …

A fault test that passes although the guarantee is removed proves nothing. Each fault test is therefore also run with
its sabotage, and its check must fail then. Some sabotages remove no guarantee: they make the environment hostile.
"""

import asyncio
import hashlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import anyio
import anyio.to_thread

from pipeline.batch import dispatcher
from pipeline.batch.listing import Listing
from pipeline.cli import main as cli
from pipeline.cli import running, signals
from pipeline.errors import StopError
from pipeline.inputs import content, image, resolve, source
from pipeline.records import Payload
from pipeline.remote import faults, verdict
from pipeline.remote.deadlines import Deadline
from pipeline.remote.outcome import Outcome
from pipeline.shutdown import Shutdown
from pipeline.storage import files
from tests.faults import storage_sabotage


def _abort_at_once() -> None:
    """A run that is asked to end does not wait for the calls in flight."""

    def request(_: Shutdown, reason: StopError, *, spare_reserved: bool = False) -> None:
        os._exit(reason.exit_code)

    Shutdown.request = request  # type: ignore[method-assign,assignment]


def _hang_reading_a_page() -> None:
    """Removes no guarantee: reading `stuck.png` never ends, as on a network mount whose server is gone."""
    open_stable = files.open_stable

    def open_and_hang(path: Path, max_bytes: int) -> AbstractContextManager[files.StableFile]:
        if path.name == "stuck.png":
            threading.Event().wait()
        return open_stable(path, max_bytes)

    content.open_stable = open_and_hang  # type: ignore[assignment, attr-defined]


def _hang_finding_an_input() -> None:
    """Removes no guarantee: finding an INPUT never ends, as on a network mount whose server is gone."""

    def find_and_hang(text: str, *_: object) -> NoReturn:
        os.write(2, f"looking for {text}\n".encode())
        while True:
            threading.Event().wait()

    resolve._locate = find_and_hang  # type: ignore[assignment]


class _GrowingFile(io.FileIO):
    """A file to which another process appends right after it was read."""

    def readall(self) -> bytes:
        data = super().readall()
        if str(self.name).endswith("copied.png"):
            with Path(str(self.name)).open("ab") as writer:
                writer.write(bytes(100))
        return data


def _open_growing(path: Path, _: str, **options: Any) -> io.FileIO:
    return _GrowingFile(path, opener=options["opener"])


def _append_while_reading() -> None:
    """Removes no guarantee: `copied.png` is still being written while it is read."""
    files.open = _open_growing  # type: ignore[attr-defined]


def _check_no_stability() -> None:
    """A file is read without a check whether it changed meanwhile."""

    def read_unchecked(path: bytes, *_: object) -> content.Read:
        with _GrowingFile(os.fsdecode(path)) as file:
            return _read(path, file.readall())

    image.read_content = read_unchecked  # type: ignore[assignment, attr-defined]


def _ignore_read_errors() -> None:
    """A read error is ignored: the bytes before it count as the whole file."""

    def read_up_to_an_error(path: bytes, *_: object) -> content.Read:
        read = bytearray()
        with Path(os.fsdecode(path)).open("rb", buffering=0) as file, suppress(OSError):
            while block := file.read(1 << 16):
                read += block
        return _read(path, bytes(read))

    image.read_content = read_up_to_an_error  # type: ignore[assignment, attr-defined]


def _read(path: bytes, data: bytes) -> content.Read:
    status = Path(os.fsdecode(path)).stat()
    stamp = files.Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
    return content.Read(hashlib.sha256(data).hexdigest(), data, content.Place(path, stamp))


def _wait_for_names() -> None:
    """A shutdown does not cancel the wait for another path on stdin."""
    wait_readable = source.wait_readable  # type: ignore[attr-defined]

    async def wait_shielded(stdin: int) -> None:
        with anyio.CancelScope(shield=True):
            await wait_readable(stdin)

    source.wait_readable = wait_shielded  # type: ignore[assignment, attr-defined]


def _wait_for_threads() -> None:
    """A shutdown abandons no thread: it waits for the end of each."""
    run_sync = anyio.to_thread.run_sync
    prepare_page = dispatcher.prepare_page  # type: ignore[attr-defined]

    async def run_unabandoned(*arguments: Any, abandon_on_cancel: bool = False, **options: Any) -> Any:
        del abandon_on_cancel
        return await run_sync(*arguments, **options)

    async def prepare_shielded(*arguments: Any) -> Payload:
        prepared: asyncio.Future[Payload] = asyncio.ensure_future(prepare_page(*arguments))
        with anyio.CancelScope(shield=True):
            await asyncio.wait([prepared])
        return prepared.result()

    anyio.to_thread.run_sync = run_unabandoned  # type: ignore[assignment]
    dispatcher.prepare_page = prepare_shielded  # type: ignore[assignment, attr-defined]


def _blame_the_page() -> None:
    """A page or a call for which no file descriptor is left fails, as for any other reason."""
    files.require_descriptor = lambda _: None  # type: ignore[assignment]
    faults._lacks_descriptor = lambda _: False  # type: ignore[assignment]


def _list_nothing() -> None:
    """The INPUTs are not listed beside the run: pages that it has not reached are not counted."""

    async def end(*_: object) -> None:
        pass

    Listing.run = end  # type: ignore[assignment, method-assign]
    Listing.wait = end  # type: ignore[assignment, method-assign]


def _let_the_hangup_kill() -> None:
    """SIGHUP is not watched."""
    signals._SIGNALS = tuple(set(signals._SIGNALS) - {signal.SIGHUP})  # type: ignore[misc, assignment]


def _judge_at_once() -> None:
    """A deadline expires as soon as its timer fires, however late that is, and before the sockets are read.

    A punctual loop reads the sockets after each wait, before any timer; asyncio's own may not.
    """

    def start(self: Deadline, timeout_s: float) -> None:
        self.stop()
        self._timer = self._loop.call_later(timeout_s, self._expire)

    Deadline.start = start  # type: ignore[method-assign]
    running.punctual_loop = asyncio.new_event_loop  # type: ignore[attr-defined]


def _fail_on_bare_503() -> None:
    """A 503 without the service's JSON and without a Retry-After is a failed call, as from a service that is down."""
    refusal_verdict = verdict._refusal_verdict

    def judge(status: int, outcome: Outcome, *rest: Any) -> verdict.Refused | None:
        return None if status == 503 and outcome.retry_after_s is None else refusal_verdict(status, outcome, *rest)

    verdict._refusal_verdict = judge  # type: ignore[assignment]


SABOTAGES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "abort-at-once": _abort_at_once,
        "blame-the-page": _blame_the_page,
        "check-no-ledger": storage_sabotage.check_no_ledger,
        "check-no-texts": storage_sabotage.check_no_texts,
        "commit-often": storage_sabotage.commit_often,
        "count-before-writing": storage_sabotage.count_before_writing,
        "fail-on-bare-503": _fail_on_bare_503,
        "forget-parts": storage_sabotage.forget_parts,
        "forget-records": storage_sabotage.forget_records,
        "growing-file": _append_while_reading,
        "hangup-kills": _let_the_hangup_kill,
        "ignore-full-disk": storage_sabotage.ignore_a_full_disk,
        "ignore-read-errors": _ignore_read_errors,
        "judge-at-once": _judge_at_once,
        "list-nothing": _list_nothing,
        "lock-nothing": storage_sabotage.lock_nothing,
        "no-ballast": storage_sabotage.keep_the_ballast,
        "no-rescue": storage_sabotage.rescue_nothing,
        "no-stability-check": _check_no_stability,
        "remove-before-naming": storage_sabotage.remove_before_naming,
        "reserve-nothing": storage_sabotage.reserve_nothing,
        "short-busy-timeout": storage_sabotage.wait_briefly_for_the_ledger,
        "stuck-input": _hang_finding_an_input,
        "stuck-read": _hang_reading_a_page,
        "sync-no-directory": storage_sabotage.sync_no_directory,
        "sync-no-ledger": storage_sabotage.sync_no_ledger,
        "sync-nothing": storage_sabotage.sync_nothing,
        "trust-failed-descriptor": storage_sabotage.trust_a_failed_descriptor,
        "void-the-lost": storage_sabotage.void_the_lost,
        "wait-for-names": _wait_for_names,
        "wait-for-threads": _wait_for_threads,
    }
)


def main() -> None:
    """Apply the named sabotages, then run the command."""
    names = sys.argv.pop(1)
    for name in names.split(","):
        SABOTAGES[name]()
    sys.argv[0] = "pagemill"
    cli.main()


if __name__ == "__main__":
    main()
