"""PNG: the chunks that pixels depend on, without the others.

Text and profiles can be large, unpack to something huge, or have a wrong checksum; Pillow then rejects the file,
although every pixel is there. So Pillow sees none of them, while the file itself is sent unchanged.

Source: PNG, third edition, 5 "Datastream structure" and 13.2 "Error checking".
"""

import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
END: Final = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk, with its length and checksum."""

_HEAD_BYTES: Final = 8
"""Length and name of a chunk."""
_CHECKSUM_BYTES: Final = 4
_ANCILLARY: Final = 0x20
"""Bit of the first letter of a name; a chunk without it is critical."""
_KEPT_ANCILLARY: Final = frozenset({b"tRNS", b"eXIf"})
"""Ancillary chunks that decide what a page looks like."""


class _Chunk(NamedTuple):
    """A chunk; `end` is the offset after its checksum, or the end of a file that is cut off within the chunk."""

    name: bytes
    start: int
    end: int


def keep_pixels(data: bytes) -> bytes:
    """Return the file without ancillary chunks that no pixel depends on, and without those whose checksum is wrong.

    What cannot be parsed is kept, so that the decoder reports it.
    """
    view = memoryview(data)
    parts: list[bytes | memoryview] = [SIGNATURE]
    end = len(SIGNATURE)
    for chunk in _chunks(data):
        if _is_needed(data, chunk):
            parts.append(view[chunk.start : chunk.end])
        end = chunk.end
        if chunk.name == b"IEND":
            return b"".join(parts)
    return b"".join((*parts, view[end:]))


def header(data: bytes, max_chunks: int = sys.maxsize) -> bytes:
    """Return what precedes the pixels, with the head of the first chunk of pixels; copies no pixel.

    Raises:
        OverflowError: more than `max_chunks` chunks precede the pixels.
    """
    parts = [SIGNATURE]
    for number, chunk in enumerate(_chunks(data)):
        if number > max_chunks:
            raise OverflowError(f"more than {max_chunks} chunks before the pixels")
        if chunk.name == b"IDAT":
            return b"".join((*parts, data[chunk.start : chunk.start + _HEAD_BYTES]))
        if _is_needed(data, chunk):
            parts.append(data[chunk.start : chunk.end])
    return b"".join(parts)


def sample_bits(data: bytes) -> int:
    """Return the bits per sample that the header states; 0 when it is cut off."""
    return data[24] if len(data) > 24 else 0


def _is_needed(data: bytes, chunk: _Chunk) -> bool:
    if not chunk.name[0] & _ANCILLARY:
        return True
    checksum = data[chunk.end - _CHECKSUM_BYTES : chunk.end]
    covered = memoryview(data)[chunk.start + 4 : chunk.end - _CHECKSUM_BYTES]
    return chunk.name in _KEPT_ANCILLARY and checksum == struct.pack(">I", zlib.crc32(covered))


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the first one whose name is not four letters."""
    start = len(SIGNATURE)
    while start + _HEAD_BYTES <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        if not name.isalpha():
            return
        end = min(len(data), start + _HEAD_BYTES + length + _CHECKSUM_BYTES)
        yield _Chunk(name, start, end)
        start = end
