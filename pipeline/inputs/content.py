"""The content of a file: read once, and held in memory that the worker processes share while its pages are converted.

So a file of many pages is in memory once, whatever the number of workers at its pages, and what a worker decodes is
what was hashed, also when the file changes meanwhile.
"""

import errno
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from pipeline.errors import ConversionError
from pipeline.inputs.archives.reading import read_member
from pipeline.members import Member
from pipeline.storage.files import require_descriptor, stable_blocks

MAX_FILE_BYTES: Final = 1 << 30
"""A file is held in memory as a whole; a larger one could exhaust the memory of the machine."""

OUT_OF_MEMORY: Final = "ran out of memory while it was decoded"


def read_content(path: bytes, member: Member | None, whole_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks, or of an archive's member; there is at least one.

    Args:
        path: Of the file.
        member: Where the bytes are in an archive.
        whole_bytes: A file of at most this size is one block.

    Raises:
        PageError: it cannot be read; see `stable_blocks` and `read_member`.
        NoDescriptorsError: the process has no file descriptor left.
    """
    if member is not None:
        yield read_member(member, MAX_FILE_BYTES)
    else:
        yield from stable_blocks(Path(os.fsdecode(path)), MAX_FILE_BYTES, whole_bytes)


class HeldContent:
    """Bytes that other processes map by a path: an anonymous file in memory, or a temporary one where there is none.

    Raises:
        NoDescriptorsError: the process has no file descriptor left.
    """

    def __init__(self) -> None:
        try:
            if hasattr(os, "memfd_create"):
                self._fd = os.memfd_create("page", os.MFD_CLOEXEC)
                self.path = f"/proc/{os.getpid()}/fd/{self._fd}".encode()
            else:
                self._fd, name = tempfile.mkstemp(prefix="pagemill-")
                self.path = os.fsencode(name)
        except OSError as exc:
            require_descriptor(exc)
            raise
        self._free = weakref.finalize(self, _free, self._fd, self.path)

    def __repr__(self) -> str:
        return f"<HeldContent {os.fsdecode(self.path)}{'' if self._free.alive else ', closed'}>"

    def write(self, block: bytes) -> None:
        """Append bytes."""
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def read(self) -> bytes:
        """Return all bytes."""
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def close(self) -> None:
        """Free the memory, once no process maps it any more; a second call does nothing."""
        self._free()


def _free(fd: int, path: bytes) -> None:
    os.close(fd)
    if not path.startswith(b"/proc/"):
        with suppress(OSError):
            Path(os.fsdecode(path)).unlink()


class MappedFile(mmap.mmap):
    """A file in memory that reads as `BytesIO` does, without a copy; what is written to it stays in this process."""

    @classmethod
    def open(cls, path: bytes) -> Self:
        """Map a file.

        Raises:
            ConversionError: it cannot be mapped.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return cls(fd, 0, access=mmap.ACCESS_COPY)
            finally:
                os.close(fd)
        except OSError as exc:
            if exc.errno == errno.ENOMEM:
                raise ConversionError(OUT_OF_MEMORY) from exc
            raise ConversionError(f"cannot be mapped: {exc.strerror or exc}") from exc

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
