"""Reads one member of an archive, of a ZIP or a plain TAR with `pread`, bounded by what it may unpack to.

A bomb is recognised by what the archive declares and stopped by what it unpacks to: never more than one byte beyond the
declared size is unpacked.
"""

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from pipeline.errors import (
    DecompressionBombError,
    EmptyFileError,
    MissingFileError,
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from pipeline.inputs.archives.streams import read_streamed
from pipeline.members import BZIP2, COMPRESSED_TAR, DEFLATED, LZMA, STORED, TAR, Member
from pipeline.storage.files import require_descriptor

MAX_RATIO: Final = 200
RATIO_FROM_BYTES: Final = 256 * 1024 * 1024
"""A page that unpacks to more than this, at a higher ratio, is refused. Deflate reaches 1,032; a blank A3 page of
600 dpi in colour has 210 MB and unpacks at about that ratio."""

_BLOCK_BYTES: Final = 1 << 20
_LOCAL_HEADER_BYTES: Final = 30
_METHOD_NAMES: Final = {1: "shrink", 6: "implode", 9: "deflate64", 20: "zstd", 93: "zstd", 95: "xz", 98: "PPMd"}
"""Source: PKWARE, APPNOTE.TXT, 4.4.5."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def read_member(member: Member, max_bytes: int) -> bytes:
    """Return the content of a member.

    Raises:
        MissingFileError: the archive does not exist.
        UnreadableFileError: the archive cannot be read, or has changed since it was listed.
        UnsupportedImageError: the member is encrypted, or packed by a method that cannot be unpacked.
        DecompressionBombError: it unpacks to far more than it is packed in, or to more than declared.
        UnfittableImageError: it has more than `max_bytes`.
        EmptyFileError: it has no bytes.
        TruncatedImageError: its data are damaged or cut off.
        NoDescriptorsError: the process has no file descriptor left.
    """
    require_readable(member, max_bytes)
    data = b"".join(_read(member, member.size_bytes + 1))
    if len(data) > member.size_bytes:
        raise DecompressionBombError(f"unpacks to more than the {member.size_bytes} bytes that its archive declares")
    if len(data) < member.size_bytes:
        raise TruncatedImageError(f"cut off in its archive: {len(data)} of {member.size_bytes} bytes")
    if member.method not in {TAR, COMPRESSED_TAR} and zlib.crc32(data) != member.crc:
        raise TruncatedImageError("damaged in its archive: its CRC-32 is wrong")
    return data


def read_member_head(member: Member, size: int) -> bytes:
    """Return the first bytes of a member, fewer when it is shorter; raises as `read_member`, and as an `OSError`."""
    require_readable(member, max(size, member.size_bytes), may_be_empty=True)
    return b"".join(_read(member, min(size, member.size_bytes)))


def require_readable(member: Member, max_bytes: int, *, may_be_empty: bool = False) -> None:
    """Return unless what the archive declares refuses the member; raises as `read_member`."""
    if member.refusal:
        raise UnsupportedImageError(member.refusal)
    size = member.size_bytes
    if size > RATIO_FROM_BYTES and size > MAX_RATIO * member.packed_bytes:
        raise DecompressionBombError(f"{size} bytes packed in {member.packed_bytes}: more than {MAX_RATIO} to 1")
    if size > max_bytes:
        raise UnfittableImageError(f"{size} bytes; files of more than {max_bytes} are not read")
    if not size and not may_be_empty:
        raise EmptyFileError("zero bytes")


def _read(member: Member, most_bytes: int) -> Iterator[bytes]:
    if member.method == COMPRESSED_TAR:
        yield read_streamed(member, min(most_bytes, member.size_bytes))
        return
    with _open(member) as fd:
        start = member.offset if member.method == TAR else _find_data(fd, member)
        if member.method in {TAR, STORED}:
            left = min(most_bytes, member.packed_bytes)
            while left and (block := os.pread(fd, min(left, _BLOCK_BYTES), start)):
                start, left = start + len(block), left - len(block)
                yield block
            return
        try:
            yield from _unpack(fd, start, member, most_bytes)
        except (zlib.error, lzma.LZMAError, EOFError, ValueError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:  # bz2 raises an OSError without a number
                raise
            raise TruncatedImageError(f"damaged in its archive: {exc}") from exc


@contextmanager
def _open(member: Member) -> Iterator[int]:
    """Open the archive, and check before and after that it is the one that was listed."""
    try:
        fd = os.open(member.archive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _require_same(fd, member)
            yield fd
            _require_same(fd, member)
        finally:
            os.close(fd)
    except FileNotFoundError as exc:
        raise MissingFileError("its archive is gone") from exc
    except OSError as exc:
        require_descriptor(exc)
        raise UnreadableFileError(f"its archive cannot be read: {exc.strerror or exc}") from exc


def _require_same(fd: int, member: Member) -> None:
    status = os.fstat(fd)
    if (status.st_size, status.st_mtime_ns) != (member.archive_bytes, member.archive_mtime_ns):
        raise UnreadableFileError("its archive has changed since it was listed")


def _find_data(fd: int, member: Member) -> int:
    """Return where the data of a ZIP's member begin: after its local header, whose sizes may be zero (4.4.4, bit 3)."""
    header = os.pread(fd, _LOCAL_HEADER_BYTES, member.offset)
    if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
        raise TruncatedImageError("damaged in its archive: no local header")
    name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes


def _unpack(fd: int, start: int, member: Member, most_bytes: int) -> Iterator[bytes]:
    packed, decompress, has_ended = member.packed_bytes, *_decompressor(fd, start, member)
    start, packed = (start + 9, packed - 9) if member.method == LZMA else (start, packed)
    left, waiting = most_bytes, b""
    while left and not has_ended():
        if not waiting and packed > 0:
            waiting = os.pread(fd, min(_BLOCK_BYTES, packed), start)
            start, packed = start + len(waiting), packed - len(waiting) if waiting else 0
        block, rest = decompress(waiting, min(left, _BLOCK_BYTES))
        if not block and not rest and not packed:
            return
        waiting, left = rest, left - len(block)
        yield block


def _decompressor(
    fd: int, start: int, member: Member
) -> tuple[Callable[[bytes, int], tuple[bytes, bytes]], Callable[[], bool]]:
    """Return what unpacks (packed, limit) to (unpacked, packed bytes to give again), and whether it has ended."""
    if member.method == DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        return lambda data, limit: (inflate.decompress(data, limit), inflate.unconsumed_tail), lambda: inflate.eof
    if member.method == BZIP2:
        keeping: _Decompressor = bz2.BZ2Decompressor()
    elif member.method == LZMA:
        keeping = _lzma_decompressor(os.pread(fd, 9, start), member.size_bytes)
    else:
        name = _METHOD_NAMES.get(member.method, "unknown")
        raise UnsupportedImageError(f"packed by method {member.method} ({name}); unpack the archive")
    return lambda data, limit: (keeping.decompress(data, limit), b""), lambda: keeping.eof


def _lzma_decompressor(head: bytes, size_bytes: int) -> _Decompressor:
    """Return the decompressor of a ZIP's LZMA data, from their header (APPNOTE.TXT, 5.8.8).

    The dictionary is no larger than the content, whatever the header says: liblzma allocates it at once.
    """
    if len(head) < 9 or int.from_bytes(head[2:4], "little") != 5:
        raise TruncatedImageError("damaged in its archive: no LZMA properties")
    rest, literal_context = divmod(head[4], 9)
    position, literal_position = divmod(rest, 5)
    dictionary = min(int.from_bytes(head[5:9], "little"), max(size_bytes, 1 << 16))
    properties = {"lc": literal_context, "lp": literal_position, "pb": position}
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 1 << 12), **properties}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
