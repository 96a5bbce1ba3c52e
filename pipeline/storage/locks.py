"""Lock files that processes of several users share: made with the umask's mode, tested through a reading descriptor."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


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
