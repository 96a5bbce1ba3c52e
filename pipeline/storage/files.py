"""Files that are read as a whole or not at all, and replaced as a whole or not at all."""

import errno
import io
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from msgspec import Struct

from pipeline.errors import (
    EmptyFileError,
    MissingFileError,
    NoDescriptorsError,
    StorageError,
    UnfittableImageError,
    UnreadableFileError,
)
from pipeline.storage.filesystems import sync_directory

_BLOCK_BYTES: Final = 1024 * 1024
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})


def require_descriptor(exc: OSError) -> None:
    """Return unless the error says that the process, or the machine, has no file descriptor left.

    Raises:
        NoDescriptorsError: it does; no file is at fault, and every further one would fail, too.
    """
    if exc.errno in _NO_DESCRIPTORS:
        raise no_descriptors() from exc


def has_descriptors(number: int = 1) -> bool:
    """Return whether as many files can be opened now.

    Some errors, such as those of the DNS and of SQLite, do not say that none can.
    """
    held: list[int] = []
    try:
        held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(number))
    except OSError as exc:
        return exc.errno not in _NO_DESCRIPTORS
    finally:
        for descriptor in held:
            os.close(descriptor)
    return True


def no_descriptors() -> NoDescriptorsError:
    """Return the error that ends a run without a free file descriptor."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return NoDescriptorsError(
        f"no file descriptor is left (`ulimit -n` allows {limit}); raise the limit, or use fewer --jobs, and run again"
    )


def read_head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, fewer when it is shorter; a FIFO without a writer does not block the call.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
            return file.read(size) or b""
    except OSError as exc:
        require_descriptor(exc)
        raise


class Stamp(Struct, frozen=True):
    """What shows that a file has changed; a change that keeps the size within the clock's tick does not show."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """Return the stamp of an open file."""
        status = os.fstat(fd)
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class StableFile(NamedTuple):
    """A regular file that is open."""

    file: io.FileIO
    stamp: Stamp

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes, at most one block beyond the size that the file had."""
        left_bytes = self.stamp.size_bytes
        while left_bytes >= 0 and (block := _require_data(self.file.read(_BLOCK_BYTES))):
            left_bytes -= len(block)
            yield block

    def read(self) -> bytes:
        """Return all bytes."""
        return _require_data(self.file.readall())


@contextmanager
def open_stable(path: Path, max_bytes: int) -> Iterator[StableFile]:
    """Open a regular file that is read to its end and does not change meanwhile; a FIFO does not block the call.

    Raises:
        MissingFileError: the file does not exist.
        UnreadableFileError: the file cannot be read, is not a regular file, or changed while it was read.
        EmptyFileError: the file has no bytes.
        UnfittableImageError: the file has more than `max_bytes`.
        NoDescriptorsError: the process has no file descriptor left.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
            before = Stamp.of(file.fileno())
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableFileError("not a regular file")
            if before.size_bytes > max_bytes:
                raise UnfittableImageError(f"{before.size_bytes} bytes; files of more than {max_bytes} are not read")
            yield StableFile(file, before)
            after, read_bytes = Stamp.of(file.fileno()), file.tell()
    except FileNotFoundError as exc:
        raise MissingFileError("no such file") from exc
    except OSError as exc:
        require_descriptor(exc)
        reason = exc.strerror or errno.errorcode.get(exc.errno or 0, "?")
        raise UnreadableFileError(f"cannot be read: {reason}") from exc
    if (before.mtime_ns, before.size_bytes) != (after.mtime_ns, read_bytes):
        raise UnreadableFileError("changed while it was read")
    if not read_bytes:
        raise EmptyFileError("zero bytes")


def _require_data(data: bytes | None) -> bytes:
    if data is None:  # O_NONBLOCK, and a filesystem that would have to fetch the data first
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return data


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old content or the new one: temporary file, fsync, rename, fsync.

    Raises:
        StorageError: the file cannot be written.
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


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
