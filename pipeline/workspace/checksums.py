"""The checksum that ends each line of a JSONL file."""

import re
import zlib
from typing import Final

_CHECKSUM: Final = b',"crc32":'
_MAX_CHECKSUM_BYTES: Final = len(_CHECKSUM) + 10 + len(b"}")
_LOST: Final = re.compile(rb"\(lost: (.*)\) *$")


class DamagedLineError(ValueError):
    """A line is damaged, or is no record or failure; the message is the reason."""


def append_checksum(json_object: bytes) -> bytes:
    """Return the JSON object as a line, with the CRC-32 of the bytes before it as its last field."""
    opened = json_object[:-1]
    return b'%b,"crc32":%d}\n' % (opened, zlib.crc32(opened))


def check_checksum(line: bytes) -> None:
    """Return when the checksum of a line (without its newline) is right.

    Raises:
        DamagedLineError: the checksum is missing or wrong.
    """
    begin = line.rfind(_CHECKSUM, -_MAX_CHECKSUM_BYTES)
    digits = line[begin + len(_CHECKSUM) : -1]
    if begin < 0 or not digits.isdigit() or not line.endswith(b"}"):
        lost = _LOST.match(line)
        raise DamagedLineError("no checksum at its end" if lost is None else lost[1].decode())
    if zlib.crc32(memoryview(line)[:begin]) != int(digits):
        raise DamagedLineError("its checksum does not match")


def is_intact(line: bytes) -> bool:
    """Return True when the checksum of a line (without its newline) is right."""
    try:
        check_checksum(line)
    except DamagedLineError:
        return False
    return True


def lost_line(reason: str, size_bytes: int | None = None) -> bytes:
    """Return a line, newline included, that stands for lines that cannot be read; its damage is the reason.

    Args:
        reason: ASCII.
        size_bytes: The line's size, with spaces after the reason; None for the least.
    """
    line = b"(lost: %b)" % reason.encode("ascii")
    return line + b"\n" if size_bytes is None else line[: size_bytes - 1].ljust(size_bytes - 1) + b"\n"


def is_lost(line: bytes) -> bool:
    """Return whether a line, with or without its newline, stands for others that cannot be read."""
    return _LOST.match(line) is not None
