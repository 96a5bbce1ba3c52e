"""Lock files that processes of several users share.

`filelock` gives its files one mode whatever the umask, so another user of a group could neither take nor test a lock.
A lock file made here has the mode that the umask allows, and is tested through a descriptor that only reads.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


def create_lock_file(path: Path) -> int:
    """Create a lock file with the umask's permissions unless it exists; return its mode, for `FileLock`.

    Raises:
        OSError: it cannot be created.
    """
    with suppress(FileExistsError, PermissionError):  # another user's file is locked without being written
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666))
    return path.stat().st_mode & 0o777


@contextmanager
def hold_lock(path: Path) -> Generator[None]:
    """Create a lock file, hold it exclusively, and delete it at the end.

    Raises:
        OSError: it cannot be created or locked.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a process, of whatever user, holds a lock file; False when the file does not exist.

    Raises:
        OSError: it cannot be tested.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two tests at once see no lock in each other
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
