"""Lists a ZIP from its central directory, in blocks: memory does not grow with the number of members.

`zipfile` keeps an object of half a kilobyte per member, and takes seconds for 200,000 of them.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 to 4.5; the numbers in comments are its sections.
"""

import os
import stat
from collections.abc import Iterator
from struct import Struct
from typing import Final

from pipeline.inputs.archives.entries import ENCRYPTED, ArchiveError, Entry
from pipeline.inputs.kinds import SPECIAL_FILE, SYMLINK

_CENTRAL: Final = Struct("<5xB2x2H4x3L3H4x2L")  # 4.3.12; x is not needed
_END: Final = Struct("<4s4H2LH")  # 4.3.16
_END64_LOCATOR: Final = Struct("<4sLQL")  # 4.3.15
_END64: Final = Struct("<4sQ2H2L4Q")  # 4.3.14
_LONGEST_END_BYTES: Final = _END.size + 0xFFFF
_BLOCK_BYTES: Final = 1 << 20
_CENTRAL_BYTES: Final = _CENTRAL.size
_LONGEST_ENTRY_BYTES: Final = _CENTRAL_BYTES + 3 * 0xFFFF
_ELSEWHERE: Final = 0xFFFFFFFF
"""The value is in the zip64 extra field."""
_UNIX: Final = 3  # 4.4.2.2


def list_zip(fd: int) -> Iterator[Entry]:
    """Yield the entries of a ZIP in the order of its central directory.

    Names are the bytes of the archive, whatever its flag says about their encoding: so they are kept exactly.

    Args:
        fd: Of the archive; its position is not moved.

    Raises:
        ArchiveError: the archive is damaged, cut off, or a part of several.
        OSError: it cannot be read.
    """
    start, size_bytes, shift = _find_directory(fd)
    buffer, at, unread = b"", 0, size_bytes
    while unread or at < len(buffer):
        if len(buffer) - at < _LONGEST_ENTRY_BYTES and unread:
            block = os.pread(fd, min(_BLOCK_BYTES, unread), start + size_bytes - unread)
            if not block:
                raise ArchiveError("its central directory is cut off")
            buffer, at, unread = buffer[at:] + block, 0, unread - len(block)
            continue
        entry, at = _parse(buffer, at, shift)
        yield entry


def _find_directory(fd: int) -> tuple[int, int, int]:
    """Return offset and size of the central directory, and how many bytes precede the archive's own first byte."""
    size_bytes = os.fstat(fd).st_size
    tail_start = max(0, size_bytes - _LONGEST_END_BYTES)
    tail = os.pread(fd, size_bytes - tail_start, tail_start)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise ArchiveError("no central directory at its end: cut off, or no ZIP")
    _, disk, first_disk, _, _, length, offset, _ = _END.unpack_from(tail, found)
    end = tail_start + found
    locator = os.pread(fd, _END64_LOCATOR.size, max(0, end - _END64_LOCATOR.size))
    if locator.startswith(b"PK\x06\x07"):
        disk, first_disk, length, offset, end = _read_end64(fd, end - _END64_LOCATOR.size, locator)
    if disk or first_disk:
        raise ArchiveError("a part of an archive of several parts")
    start = end - length
    if start < 0 or offset > start:
        raise ArchiveError("its central directory is damaged")
    return start, length, start - offset


def _read_end64(fd: int, end: int, locator: bytes) -> tuple[int, int, int, int, int]:
    """Return both disk numbers, size and offset of the central directory, and where it ends."""
    for place in (_END64_LOCATOR.unpack(locator)[2], end - _END64.size):  # the second for data before the archive
        record = os.pread(fd, _END64.size, place) if 0 <= place <= end - _END64.size else b""
        if record.startswith(b"PK\x06\x06") and len(record) == _END64.size:
            _, _, _, _, disk, first_disk, _, _, length, offset = _END64.unpack(record)
            return disk, first_disk, length, offset, place
    raise ArchiveError("its zip64 end of the central directory is damaged")


def _parse(buffer: bytes, at: int, shift: int) -> tuple[Entry, int]:
    """Return the entry at this position of the central directory, and the position after it."""
    if len(buffer) - at < _CENTRAL_BYTES or not buffer.startswith(b"PK\x01\x02", at):
        raise ArchiveError("its central directory is damaged")
    fields = _CENTRAL.unpack_from(buffer, at)
    system, flags, method, crc, packed, size, name_bytes, extra_bytes, comment_bytes, mode, offset = fields
    name_end = at + _CENTRAL_BYTES + name_bytes
    following = name_end + extra_bytes + comment_bytes
    if following > len(buffer):
        raise ArchiveError("its central directory is damaged")
    name = buffer[at + _CENTRAL_BYTES : name_end]
    if _ELSEWHERE in (packed, size, offset):
        size, packed, offset = _read_extra64(buffer[name_end : name_end + extra_bytes], size, packed, offset)
    refusal = ENCRYPTED if flags & 0x2041 else ""  # bits 0, 6 and 13: encrypted, strongly, and the directory, too
    kind = _kind(name, system, mode >> 16)
    return Entry(name, kind, offset + shift, packed, size, method, crc, refusal), following


def _kind(name: bytes, system: int, mode: int) -> str | None:
    if name.endswith(b"/"):
        return ""
    if system != _UNIX or stat.S_IFMT(mode) in {0, stat.S_IFREG}:
        return None
    return {stat.S_IFLNK: SYMLINK, stat.S_IFDIR: ""}.get(stat.S_IFMT(mode), SPECIAL_FILE)


def _read_extra64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Return size, packed size and offset; those that are 0xFFFFFFFF stand in this order in the extra field (4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = (int.from_bytes(extra[place : place + 2], "little") for place in (at, at + 2))
        if tag == 1:
            field = extra[at + 4 : at + 4 + length]
            values = iter(int.from_bytes(field[place : place + 8], "little") for place in range(0, len(field) - 7, 8))
            try:
                size, packed, offset = (
                    next(values) if value == _ELSEWHERE else value for value in (size, packed, offset)
                )
            except RuntimeError as exc:  # StopIteration within a generator
                raise ArchiveError("a zip64 field of its central directory is damaged") from exc
            return size, packed, offset
        at += 4 + length
    return size, packed, offset
