"""Compressed TARs as streams that go forward: reading a member decompresses all that is before it.

A stream stays open where the last member ended, so reading members in the order of the archive takes one pass; one that
comes before the last costs a new pass.
"""

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import MissingFileError, PageError, TruncatedImageError, UnreadableFileError
from pipeline.inputs.archives.entries import ArchiveError
from pipeline.members import Member
from pipeline.storage.files import require_descriptor

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BOMB_FROM_BYTES: Final = 4 << 30
MAX_RATIO: Final = 200
"""A stream that unpacks to more than this, at a higher ratio, is refused. Memory is bounded anyway; time is not."""
HEADER_MAX_BYTES: Final = 1 << 20
"""Bytes of the headers of one member: a long name, extended attributes. `tarfile` reads what a header announces."""

_BLOCK_BYTES: Final = 1 << 20
_MOST_OPEN: Final = 4
_DAMAGED: Final = (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
"""What decompressors raise for damaged data; the OSError has no number."""

_GZIP: Final = b"\x1f\x8b"
_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\0"


class HeaderSource(Protocol):
    """What headers are read from: `tarfile` takes it for a file."""

    header_left_bytes: int
    """Bytes that may still be read for the current member's headers."""

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        ...

    def seek(self, position: int) -> int:
        """Go to a position."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


class PlainSource:
    """A plain TAR, read with `pread`.

    Args:
        fd: Of the archive; its position is not moved.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._position = 0
        self.header_left_bytes = HEADER_MAX_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ArchiveError: the headers of a member are longer than `HEADER_MAX_BYTES`.
        """
        spend(self, size)
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def seek(self, position: int) -> int:
        """Go to a position."""
        self._position = position
        return position

    def tell(self) -> int:
        """Return the position."""
        return self._position


class Stream:
    """The decompressed content of an archive; going back reaches one block at most.

    Args:
        fd: Of the archive; the stream does not close it.

    Raises:
        ArchiveError: it is compressed by no known method.
    """

    def __init__(self, fd: int) -> None:
        self._raw = io.BufferedReader(_Pread(fd), _BLOCK_BYTES)
        self._unpacked = _decompress(self._raw, os.pread(fd, len(_XZ), 0))
        self._block = b""
        self._end = 0
        """Position of the end of `_block`."""
        self._position = 0
        self.header_left_bytes = HEADER_MAX_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes; raises as `read_data`, and `ArchiveError` for headers that are too long."""
        spend(self, size)
        return self.read_data(size)

    def read_data(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end.

        Raises:
            ArchiveError: the data are damaged, or unpack to far too much.
        """
        parts = []
        while size > 0 and (self._position < self._end or self._pull()):
            start = len(self._block) - (self._end - self._position)
            part = self._block[start : start + size]
            parts.append(part)
            size, self._position = size - len(part), self._position + len(part)
        return b"".join(parts)

    def seek(self, position: int) -> int:
        """Go to a position, forward by decompressing; raises as `read_data`."""
        if position < self._end - len(self._block):
            raise ArchiveError("its headers lead backwards")
        while position > self._end and self._pull():
            pass
        self._position = min(position, self._end)
        return self._position

    def tell(self) -> int:
        """Return the position in the decompressed content."""
        return self._position

    def _pull(self) -> bool:
        """Decompress the next block; return False at the end."""
        try:
            block = self._unpacked.read1(_BLOCK_BYTES)  # `read` would lose what precedes damaged data
        except _DAMAGED as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise
            raise ArchiveError(f"damaged or cut off: {' '.join(str(exc).split())}") from exc
        if not block:
            return False
        self._block, self._end = block, self._end + len(block)
        if self._end > BOMB_FROM_BYTES and self._end > MAX_RATIO * self._raw.tell():
            raise ArchiveError(f"a bomb: it unpacks to more than {MAX_RATIO} times its size")
        return True


class _Pread(io.RawIOBase):
    """A descriptor that others use, too, as a file of its own position."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        data = os.pread(self._fd, len(view), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is compressed by a method that a `Stream` reads."""
    return head.startswith((_GZIP, _BZIP2, _XZ))


def _decompress(raw: "io.BufferedReader[_Pread]", head: bytes) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw)
    if head.startswith(_BZIP2):
        return bz2.BZ2File(raw)
    if head.startswith(_XZ):
        return lzma.LZMAFile(raw)
    raise ArchiveError("compressed by an unknown method")


def spend(source: HeaderSource, size: int) -> None:
    """Take bytes from what the headers of a member may have.

    Raises:
        ArchiveError: too little is left.
    """
    source.header_left_bytes -= size
    if source.header_left_bytes < 0 or size < 0:
        raise ArchiveError(f"the headers of a member have more than {HEADER_MAX_BYTES} bytes")


class _Open:
    """An archive that is open for reading, and its stream."""

    def __init__(self, member: Member) -> None:
        self.version = (member.archive_bytes, member.archive_mtime_ns)
        self.fd = os.open(member.archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.stream = Stream(self.fd)
        except BaseException:
            os.close(self.fd)
            raise

    def require_unchanged(self) -> None:
        status = os.fstat(self.fd)
        if (status.st_size, status.st_mtime_ns) != self.version:
            raise UnreadableFileError("its archive has changed since it was listed")

    def reaches(self, member: Member) -> bool:
        is_same = self.version == (member.archive_bytes, member.archive_mtime_ns)
        return is_same and self.stream.tell() <= member.offset


_open: Final[dict[bytes, _Open]] = {}
_lock: Final = Lock()


def read_streamed(member: Member, size_bytes: int) -> bytes:
    """Return the first bytes of a member of a compressed TAR, fewer when the archive is cut off.

    Raises:
        PageError: the archive cannot be read, has changed since it was listed, or is damaged.
        NoDescriptorsError: the process has no file descriptor left.
    """
    with _lock, _translated():
        found = _open.pop(member.archive, None)
        if found is not None and not found.reaches(member):
            os.close(found.fd)
            found = None
        found = found or _Open(member)
        try:
            found.require_unchanged()
            found.stream.seek(member.offset)
            data = found.stream.read_data(size_bytes)
        except BaseException:
            os.close(found.fd)
            raise
        _open[member.archive] = found
        while len(_open) > _MOST_OPEN:
            os.close(_open.pop(next(iter(_open))).fd)
        return data


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise MissingFileError("its archive is gone") from exc
    except ArchiveError as exc:
        raise TruncatedImageError(f"its archive is {exc}") from exc
    except PageError:
        raise
    except OSError as exc:
        require_descriptor(exc)
        raise UnreadableFileError(f"its archive cannot be read: {exc.strerror or exc}") from exc
