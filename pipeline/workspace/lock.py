"""The lock of a workspace: one run at a time, and no run while `verify` reads."""

import errno
import fcntl
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from pipeline.errors import StorageError, UsageError, WorkspaceLockedError
from pipeline.storage.filesystems import make_directory
from pipeline.workspace.paths import LOCK

NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""Errors of `flock` on a filesystem that has no locks."""


@contextmanager
def lock_workspace(workspace: Path) -> Generator[None]:
    """Create the directory when it is missing, and hold its lock exclusively.

    Raises:
        UsageError: the directory cannot be created, or its filesystem has no locks.
        WorkspaceLockedError: another process holds the lock.
    """
    try:
        make_directory(workspace)
        # filelock's substitute for flock is a mere file: after a crash it stays, and locks nothing on its own.
        lock = FileLock(workspace / LOCK, fallback_to_soft=False)
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise WorkspaceLockedError(f"{workspace}: another run holds this workspace, or verify reads it") from exc
    except OSError as exc:
        reason = "its filesystem has no locks" if exc.errno in NO_LOCKS else exc.strerror or exc
        raise UsageError(f"{workspace}: {reason}") from exc
    try:
        yield
    finally:
        lock.release()


@contextmanager
def share_workspace(workspace: Path) -> Generator[None]:
    """Hold the lock shared with other readers, so that no run starts; write nothing.

    A workspace without a lock file is read without a lock: a copy may lack hidden files.

    Raises:
        WorkspaceLockedError: a run holds the lock.
        StorageError: the lock file cannot be opened or locked.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((workspace / LOCK).open("rb"))
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except BlockingIOError as exc:
            raise WorkspaceLockedError(f"{workspace}: a run holds this workspace") from exc
        except OSError as exc:
            raise StorageError(f"{workspace / LOCK}: {exc.strerror or exc}") from exc
        yield
