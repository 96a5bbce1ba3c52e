"""Ballast: disk space held for the replies in flight, and freed for their lines when the disk is full.

It is freed in slices, each when a write needs it: any process may take the space that is free.
Precedent: the ballast files of CockroachDB.
"""

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.workspace.paths import BALLAST, FORMER_BALLAST

_MIN_BYTES: Final = 4 << 20
"""Enough, too, for the last commits of the index and of a ledger on the same disk, with their journals."""
_BYTES_PER_JOB: Final = 64 << 10
"""Four dense pages: one has some 5,000 characters, which are 15 kB of Chinese in UTF-8."""
_SLICE_BYTES: Final = 256 << 10
_BLOCK: Final = bytes(1 << 20)
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV})
"""Errors of `posix_fallocate` on filesystems that do not support it."""


class Ballast:
    """An allocated file that is truncated when other files need its space.

    Args:
        path: The file, allocated.
        size_bytes: Its size.
        on_full: Called once, when the first write finds no space; the run should send nothing more.
    """

    def __init__(self, path: Path, size_bytes: int, on_full: Callable[[StorageError], object]) -> None:
        self._path = path
        self._left_bytes = size_bytes
        self._on_full = on_full
        self._reported_full = False

    def __repr__(self) -> str:
        return f"<Ballast {self._left_bytes} bytes left>"

    def report_full(self, problem: OSError) -> None:
        """Call `on_full`, unless it was called before."""
        if not self._reported_full:
            self._reported_full = True
            place = self._path.parent
            self._on_full(StorageError(f"{place}: disk full ({problem.strerror}); make room and run again to resume"))

    def make_room(self, needed_bytes: int) -> bool:
        """Free enough for a write, and return True; False when nothing is left to free."""
        if self._left_bytes == 0:
            return False
        self._left_bytes = max(0, self._left_bytes - max(_SLICE_BYTES, 2 * needed_bytes))
        try:
            with self._path.open("rb+") as file:
                file.truncate(self._left_bytes)
                os.fsync(file.fileno())  # a journaling filesystem frees blocks only when it commits
        except OSError:
            self._left_bytes = 0
            return False
        return True

    def release(self) -> None:
        """Delete the file: what a run writes after its last reply is small, and can be written again."""
        self._left_bytes = 0
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def is_disk_full(problem: OSError) -> bool:
    """Return True when the disk, or the user's disk quota, has no space left."""
    return problem.errno in {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def hold_ballast(workspace: Path, jobs: int, on_full: Callable[[StorageError], object]) -> Generator[Ballast]:
    """Allocate the ballast, and delete it at the end; a file that a crash left is replaced.

    Args:
        workspace: The directory; its disk holds the ballast.
        jobs: Number of replies that may be in flight.
        on_full: See `Ballast`.

    Raises:
        StorageError: the disk has no space for it.
    """
    path = workspace / BALLAST
    size_bytes = max(_MIN_BYTES, jobs * _BYTES_PER_JOB)
    ballast = Ballast(path, size_bytes, on_full)
    try:
        (workspace / FORMER_BALLAST).unlink(missing_ok=True)
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
