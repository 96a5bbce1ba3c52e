"""The content of a file: read and hashed once, and mapped by the worker processes that convert its pages.

So a file of many pages is in memory once, whatever the number of workers at its pages. A member of an archive is
unpacked once, into memory that the workers map as they map files.
"""

import errno
import hashlib
import mmap
import os
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from msgspec import Struct

from pipeline.errors import ConversionError, MissingFileError, UnreadableFileError
from pipeline.inputs.archives.reading import read_member
from pipeline.members import Member
from pipeline.storage.files import Stamp, open_stable, require_descriptor

MAX_FILE_BYTES: Final = 1 << 30
"""The decoders of most formats hold a file in memory as a whole; a larger one could exhaust that of a process."""

CHANGED: Final = "changed while it was read"
OUT_OF_MEMORY: Final = "ran out of memory while it was decoded"


class Place(Struct, frozen=True):
    """Where a worker process finds the content of a file, and what the file was like when it was hashed."""

    path: bytes
    stamp: Stamp


class Read(NamedTuple):
    """A file that was read.

    Attributes:
        sha256: Of the content.
        content: Empty for a file that is too large to be sent.
        place: None for an archive's member.
    """

    sha256: str
    content: bytes
    place: Place | None


def read_content(path: bytes, member: Member | None, kept_bytes: int) -> Read:
    """Read a file, or an archive's member, and hash it.

    Args:
        path: Of the file.
        member: Where the bytes are in an archive.
        kept_bytes: Size of the largest file whose content is returned.

    Raises:
        PageError: it cannot be read; see `open_stable` and `read_member`.
        NoDescriptorsError: the process has no file descriptor left.
    """
    if member is not None:
        content = read_member(member, MAX_FILE_BYTES)
        return Read(hashlib.sha256(content).hexdigest(), content, None)
    with open_stable(Path(os.fsdecode(path)), MAX_FILE_BYTES) as opened:
        content, digest = b"", hashlib.sha256()
        if opened.stamp.size_bytes <= kept_bytes:
            content = opened.read()
            digest.update(content)
        else:
            for block in opened.blocks():
                digest.update(block)
    return Read(digest.hexdigest(), content, Place(path, opened.stamp))


def has_changed(place: Place) -> bool:
    """Return whether a file is no longer what it was when it was hashed."""
    try:
        status = os.stat(place.path)  # noqa: PTH116 - a path of bytes
    except OSError:
        return True
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino) != place.stamp


class HeldContent:
    """Bytes that other processes map by a path: an anonymous file in memory, or a temporary one where there is none.

    Raises:
        UnreadableFileError: there is no room for them.
        NoDescriptorsError: the process has no file descriptor left.
    """

    def __init__(self, content: bytes) -> None:
        try:
            if hasattr(os, "memfd_create"):
                self._fd = os.memfd_create("page", os.MFD_CLOEXEC)
                path = f"/proc/{os.getpid()}/fd/{self._fd}".encode()
            else:
                self._fd, name = tempfile.mkstemp(prefix="pagemill-")
                path = os.fsencode(name)
        except OSError as exc:
            require_descriptor(exc)
            raise _no_room(exc) from exc
        self._free = weakref.finalize(self, _free, self._fd, path)
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as exc:
            self.close()
            raise _no_room(exc) from exc
        self.place = Place(path, Stamp.of(self._fd))

    def __repr__(self) -> str:
        return f"<HeldContent {os.fsdecode(self.place.path)}{'' if self._free.alive else ', closed'}>"

    def close(self) -> None:
        """Free the memory, once no process maps it any more; a second call does nothing."""
        self._free()


def _no_room(exc: OSError) -> UnreadableFileError:
    return UnreadableFileError(f"cannot be held while it is converted: {exc.strerror or exc}")


def _free(fd: int, path: bytes) -> None:
    os.close(fd)
    if not path.startswith(b"/proc/"):
        with suppress(OSError):
            Path(os.fsdecode(path)).unlink()


class MappedFile(mmap.mmap):
    """A file in memory that reads as `BytesIO` does, without a copy; what is written to it stays in this process.

    For worker processes only: the kernel ends a process (SIGBUS) that reads a page which the file has no more.
    """

    place: Place
    _fd: int

    @classmethod
    def open(cls, place: Place) -> Self:
        """Map a file.

        Raises:
            MissingFileError: it is gone.
            UnreadableFileError: it has changed since it was hashed, or cannot be read.
            ConversionError: there is not enough memory.
        """
        try:
            fd = os.open(place.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise MissingFileError("no such file") from exc
        except OSError as exc:
            raise UnreadableFileError(f"cannot be read: {exc.strerror or exc}") from exc
        try:
            if Stamp.of(fd) != place.stamp:
                raise UnreadableFileError(CHANGED)
            mapped = cls(fd, 0, access=mmap.ACCESS_COPY)
            mapped.place, mapped._fd = place, os.dup(fd)
        except OSError as exc:
            if exc.errno == errno.ENOMEM:
                raise ConversionError(OUT_OF_MEMORY) from exc
            raise UnreadableFileError(f"cannot be mapped: {exc.strerror or exc}") from exc
        finally:
            os.close(fd)
        weakref.finalize(mapped, os.close, mapped._fd)
        return mapped

    @property
    def has_changed(self) -> bool:
        """Whether the file has changed since it was hashed."""
        return Stamp.of(self._fd) != self.place.stamp

    def seek(self, pos: int, whence: int = os.SEEK_SET) -> int:  # type: ignore[override]
        """Set the place of the next read; beyond the end, it reads nothing."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self)}[whence]
        super().seek(min(max(start + pos, 0), len(self)))
        return self.tell()

    def getbuffer(self) -> memoryview:
        """Return all bytes, without a copy."""
        return memoryview(self)

    def getvalue(self) -> Self:
        """Return all bytes, without a copy: Pillow gives them to libtiff."""
        return self
