"""Owners of reservations: a run is alive as long as its process holds its lock file beside the ledger.

A pid is no proof: pids are reused, and containers have their own.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import LedgerError
from pipeline.ledger.operations import new_owner_id
from pipeline.storage.filesystems import make_directory
from pipeline.storage.locks import hold_lock, is_locked


@contextmanager
def own(ledger: Path) -> Generator[str]:
    """Yield a new owner's id; other processes see the owner alive until this context or this process ends.

    Raises:
        LedgerError: the lock file cannot be made or locked.
    """
    owner = new_owner_id()
    path = _lock_file(ledger, owner)
    with ExitStack() as stack:
        try:
            make_directory(path.parent)
            stack.enter_context(hold_lock(path))
        except OSError as exc:
            raise LedgerError(f"ledger {ledger}: cannot lock {path}: {exc.strerror or exc}") from exc
        yield owner


def is_alive(ledger: Path, owner: str) -> bool:
    """Return whether the owner's process is alive; remove the lock file of a dead one.

    Raises:
        LedgerError: its lock cannot be tested.
    """
    path = _lock_file(ledger, owner)
    try:
        if is_locked(path):
            return True
    except OSError as exc:
        raise LedgerError(f"cannot lock {path}: {exc.strerror or exc}") from exc
    with suppress(OSError):  # in a directory with the sticky bit, its user alone may delete it
        path.unlink(missing_ok=True)
    return False


def _lock_file(ledger: Path, owner: str) -> Path:
    return ledger.with_suffix(".owners") / f"{owner}.lock"
