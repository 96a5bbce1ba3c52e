"""The checksum that ends each line of a JSONL file."""

import zlib
from typing import Final

_CHECKSUM: Final = b',"crc32":'
_MAX_CHECKSUM_BYTES: Final = len(_CHECKSUM) + 10 + len(b"}")


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
        raise DamagedLineError("no checksum at its end")
    if zlib.crc32(memoryview(line)[:begin]) != int(digits):
        raise DamagedLineError("its checksum does not match")


def is_intact(line: bytes) -> bool:
    """Return True when the checksum of a line (without its newline) is right."""
    try:
        check_checksum(line)
    except DamagedLineError:
        return False
    return True
