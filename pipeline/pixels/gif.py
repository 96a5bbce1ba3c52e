"""GIF: its frames, counted without decoding any of them.

Source: GIF89a specification, 18 to 27.
"""

from typing import Final

END: Final = b";"
"""The trailer."""

_HEADER_BYTES: Final = 13
_DESCRIPTOR_BYTES: Final = 10
_EXTENSION: Final = 0x21
_IMAGE: Final = 0x2C
_TRAILER: Final = 0x3B


def count_frames(data: bytes) -> int:
    """Return the number of frames that begin in the file, also when it is damaged or cut off within one."""
    frames, at, size = 0, _HEADER_BYTES, len(data)
    if size >= _HEADER_BYTES:
        at += _table_bytes(data[10])
    while at < size:
        kind = data[at]
        if kind == _TRAILER:
            break
        if kind == _IMAGE:
            frames += 1
            packed = data[at + _DESCRIPTOR_BYTES - 1] if at + _DESCRIPTOR_BYTES <= size else 0
            at = _skip_blocks(data, at + _DESCRIPTOR_BYTES + _table_bytes(packed) + 1)
        elif kind == _EXTENSION:
            at = _skip_blocks(data, at + 2)
        else:  # decoders pass over stray bytes between blocks
            at += 1
    return frames


def _table_bytes(packed: int) -> int:
    """Return the size of the colour table that this field announces."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """Return the offset after a chain of sub-blocks."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1
