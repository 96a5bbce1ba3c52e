"""TIFF: its directories, one for each page, and what no decoder here can read.

Source: TIFF 6.0, 2 "TIFF structure"; the BigTIFF design; the registries of compressions of libtiff and Adobe.
"""

from typing import Final, Literal, NamedTuple

from PIL import TiffImagePlugin

PREFIXES: Final = tuple(TiffImagePlugin.PREFIXES)

BITS_TAG, COMPRESSION_TAG, PHOTOMETRIC_TAG, SAMPLES_TAG = 258, 259, 262, 277
FORMAT_TAG: Final = 339
_REQUIRED_TAGS: Final = (256, 257)
_LOCATION_TAGS: Final = frozenset({273, 324, 0xBC01})
"""Where the pixels are: strips, tiles, or a JPEG XR image."""

_INTEGER_BYTES: Final = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes per value of the unsigned integer types: BYTE, SHORT, LONG, IFD, LONG8, IFD8."""
_MAX_VALUES: Final = 32
"""Values that are read per tag; no tag that matters here has more."""

_COMPRESSIONS: Final = {
    2: "CCITT",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "Deflate",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32809: "ThunderScan",
    32895: "CT lineart",
    32896: "CT lineart",
    32897: "CT lineart",
    32898: "CT lineart",
    32908: "PixarFilm",
    32909: "PixarLog",
    32947: "Kodak DCS",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34663: "MDI",
    34664: "MDI",
    34665: "MDI",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34715: "JBIG2",
    34718: "JPEG XR",
    34887: "LERC",
    34892: "lossy JPEG of a DNG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_SAMPLE_FORMATS: Final = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}


class _Layout(NamedTuple):
    """How a file stores its directories; BigTIFF has wider fields."""

    order: Literal["little", "big"]
    is_big_tiff: bool

    @property
    def offset_bytes(self) -> int:
        return 8 if self.is_big_tiff else 4

    @property
    def count_bytes(self) -> int:
        return 8 if self.is_big_tiff else 2

    @property
    def entry_bytes(self) -> int:
        return 20 if self.is_big_tiff else 12

    @property
    def first_offset_at(self) -> int:
        return 8 if self.is_big_tiff else 4


def directory_offsets(data: bytes | memoryview) -> list[int]:
    """Return the offset of each directory, in order; the last one may lie outside a file that is cut off.

    The chain ends at a directory that comes a second time.
    """
    if bytes(data[:4]) not in PREFIXES:
        return []
    layout = _layout(data)
    offsets: dict[int, None] = {}
    offset = _integer(data, layout.first_offset_at, layout.offset_bytes, layout)
    while offset and offset not in offsets:
        offsets[offset] = None
        entries = _integer(data, offset, layout.count_bytes, layout)
        next_at = offset + layout.count_bytes + layout.entry_bytes * entries
        offset = _integer(data, next_at, layout.offset_bytes, layout)
    return list(offsets)


def first_offset_field(data: bytes | memoryview, offset: int) -> tuple[int, bytes]:
    """Return where a file's header names its first directory, and the bytes that name the one at this offset."""
    layout = _layout(data)
    return layout.first_offset_at, offset.to_bytes(layout.offset_bytes, layout.order)


def read_directory(data: bytes | memoryview, offset: int) -> dict[int, tuple[int, ...]]:
    """Return the unsigned integers of a directory, by tag; a tag that is damaged or of another type is left out."""
    layout = _layout(data)
    tags: dict[int, tuple[int, ...]] = {}
    entry_at = offset + layout.count_bytes
    for _ in range(_integer(data, offset, layout.count_bytes, layout)):
        if entry_at + layout.entry_bytes > len(data):
            break
        tag = _integer(data, entry_at, 2, layout)
        size = _INTEGER_BYTES.get(_integer(data, entry_at + 2, 2, layout), 0)
        count = min(_integer(data, entry_at + 4, layout.offset_bytes, layout), _MAX_VALUES)
        values_at = entry_at + 4 + layout.offset_bytes
        if size * count > layout.offset_bytes:
            values_at = _integer(data, values_at, layout.offset_bytes, layout)
        if size and count and values_at + size * count <= len(data):
            tags[tag] = tuple(_integer(data, values_at + size * i, size, layout) for i in range(count))
        entry_at += layout.entry_bytes
    return tags


def unsupported_compression(tags: dict[int, tuple[int, ...]]) -> str | None:
    """Return the name of the compression when the decoder does not know it; None when it does."""
    compression = tags.get(COMPRESSION_TAG, (1,))[0]
    return None if compression in TiffImagePlugin.COMPRESSION_INFO else compression_name(compression)


def compression_name(compression: int) -> str:
    """Return the name of a compression, or its number."""
    return f"{_COMPRESSIONS.get(compression, f'number {compression}')} in TIFF"


def describe_samples(tags: dict[int, tuple[int, ...]]) -> str | None:
    """Return what a directory says of its samples; None when it is damaged, and so describes no image."""
    if not all(min(tags.get(tag, (0,))) for tag in _REQUIRED_TAGS) or not _LOCATION_TAGS & tags.keys():
        return None
    bits, samples = tags.get(BITS_TAG, (1,)), tags.get(SAMPLES_TAG, (1,))[0]
    kind = _SAMPLE_FORMATS.get(tags.get(FORMAT_TAG, (1,))[0], "")
    photometric = tags.get(PHOTOMETRIC_TAG, (0,))[0]
    return f"{samples} × {'/'.join(map(str, sorted(set(bits))))} {kind}bits, photometric {photometric}, in TIFF"


def _layout(data: bytes | memoryview) -> _Layout:
    return _Layout("little" if bytes(data[:2]) == b"II" else "big", 0x2B in bytes(data[2:4]))


def _integer(data: bytes | memoryview, at: int, size: int, layout: _Layout) -> int:
    """Return an unsigned integer; 0 when it lies outside the file."""
    field = bytes(data[at : at + size])
    return int.from_bytes(field, layout.order) if len(field) == size else 0
