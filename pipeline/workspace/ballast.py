"""Room on disk that is kept for the replies in flight: on a full disk it is given back, and they still land.

It is given back slice by slice, each when a write needs it: what is free may be taken by anybody else on that disk.
Precedent: the ballast files of CockroachDB.
"""

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.workspace.paths import BALLAST

_MIN_BYTES: Final = 4 << 20
"""Also for the last commits of the index and of a ledger on the same disk, with their journals."""
_BYTES_A_JOB: Final = 64 << 10
"""A dense page has some 5,000 characters, 15 kB of Chinese in UTF-8; four of these."""
_SLICE_BYTES: Final = 256 << 10
_BLOCK: Final = bytes(1 << 20)
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV})
"""What `posix_fallocate` answers on file systems that cannot."""


class Ballast:
    """A file whose only use is its size.

    Args:
        path: The file, allocated.
        size_bytes: Its size.
        on_full: Told once, at the first write that finds no room.
    """

    def __init__(self, path: Path, size_bytes: int, on_full: Callable[[StorageError], object]) -> None:
        self._path = path
        self._left_bytes = size_bytes
        self._on_full = on_full
        self._reported_full = False

    def __repr__(self) -> str:
        return f"<Ballast {self._left_bytes} bytes left>"

    def tell_full(self, problem: OSError) -> None:
        """Say that a write found no room; nothing new should begin."""
        if not self._reported_full:
            self._reported_full = True
            place = self._path.parent
            self._on_full(StorageError(f"{place}: disk full ({problem.strerror}); make room and run again to resume"))

    def make_room(self, needed_bytes: int) -> bool:
        """Give back enough for a write, and return True; False when there is nothing left to give."""
        if self._left_bytes == 0:
            return False
        self._left_bytes = max(0, self._left_bytes - max(_SLICE_BYTES, 2 * needed_bytes))
        try:
            with self._path.open("rb+") as file:
                file.truncate(self._left_bytes)
                os.fsync(file.fileno())  # a journaling file system frees blocks no sooner than it commits
        except OSError:
            self._left_bytes = 0
            return False
        return True

    def release(self) -> None:
        """Give back all of it: what follows is small, and can be done again."""
        self._left_bytes = 0
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def is_disk_full(problem: OSError) -> bool:
    """Return True when there is no room, or no quota for more."""
    return problem.errno in {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def hold_ballast(workspace: Path, jobs: int, on_full: Callable[[StorageError], object]) -> Generator[Ballast]:
    """Allocate the reserve; one that a crash left behind is taken over.

    Args:
        workspace: Whose disk it is.
        jobs: So many replies may be in flight.
        on_full: See `Ballast`.

    Raises:
        StorageError: there is no room for it.
    """
    path = workspace / BALLAST
    size_bytes = max(_MIN_BYTES, jobs * _BYTES_A_JOB)
    ballast = Ballast(path, size_bytes, on_full)
    try:
        _allocate(path, size_bytes)
    except OSError as exc:
        ballast.release()
        reason = f"disk full, {size_bytes >> 20} MiB are needed" if is_disk_full(exc) else exc.strerror or str(exc)
        raise StorageError(f"{workspace}: {reason}; nothing was sent") from exc
    try:
        yield ballast
    finally:
        ballast.release()


def _allocate(path: Path, size_bytes: int) -> None:
    with path.open("ab") as file:
        file.truncate(min(size_bytes, os.fstat(file.fileno()).st_size))
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except (AttributeError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno not in _UNSUPPORTED:
                raise
            file.truncate(0)
            for start in range(0, size_bytes, len(_BLOCK)):
                file.write(_BLOCK[: size_bytes - start])
            file.flush()
            os.fsync(file.fileno())
