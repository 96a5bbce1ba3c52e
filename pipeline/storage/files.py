"""Files: read as a whole or not at all, replaced as a whole or not at all."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from pipeline.errors import (
    EmptyFileError,
    MissingFileError,
    StorageError,
    UnfittableImageError,
    UnreadableFileError,
)
from pipeline.storage.filesystems import sync_directory


def read_stable(path: Path, max_bytes: int) -> bytes:
    """Return a regular file's bytes; never waits for a FIFO, never takes a file that changes meanwhile.

    Raises:
        MissingFileError: it is not there.
        UnreadableFileError: it cannot be read, is no regular file, or changed while it was read.
        EmptyFileError: it has no bytes.
        UnfittableImageError: it has more than `max_bytes`.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise UnreadableFileError("not a regular file")
            if before.st_size > max_bytes:
                raise UnfittableImageError(f"{before.st_size} bytes; files of more than {max_bytes} are not read")
            data = file.readall()
            if data is None:  # the file system has it elsewhere, and was asked not to wait
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            after = os.fstat(file.fileno())
    except FileNotFoundError as exc:
        raise MissingFileError("no such file") from exc
    except OSError as exc:
        reason = exc.strerror or errno.errorcode.get(exc.errno or 0, "?")
        raise UnreadableFileError(f"cannot be read: {reason}") from exc
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, len(data)):
        raise UnreadableFileError("changed while it was read")
    if not data:
        raise EmptyFileError("zero bytes")
    return data


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one: temporary file, fsync, rename, fsync.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: {exc.strerror or exc}") from exc


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
