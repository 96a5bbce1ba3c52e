"""JPEG: its segments, whether all of its pixels are there, and what no decoder here can read.

Source: ITU-T T.81, Annex B; Exif 2.32, 4.5.4.
"""

import hashlib
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Final, NamedTuple

from PIL import Image

SIGNATURE: Final = b"\xff\xd8\xff"
END: Final = b"\xff\xd9"

MAX_SCANS: Final = 100
"""libjpeg's own script for colour has 10 scans. Each scan costs 3 ms at 4000×4000 px, also an empty one: 17,000 of them
in 700 kB took 40 s. libjpeg-turbo's fuzzers stop at 500, which take 1.5 s."""

_SOS, _EOI, _APP0, _APP1, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xFE
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment: TEM, RST0 to RST7, SOI."""
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""SOF markers, and SOF55 of JPEG-LS."""
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_LOSSLESS: Final = frozenset({0xC3, 0xCB})
_HIERARCHICAL: Final = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
_JPEG_LS: Final = 0xF7

_SCAN: Final = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
"""A marker of a scan with its length and number of components, which decoders check against each other."""
_MARKER: Final = re.compile(rb"\xff[^\0\xff\xd0-\xd7]")
"""The next marker after compressed data, where 0xFF is followed by 0 or is a restart marker. Fill bytes before it are
not matched: with `\xff+` ten megabytes of them followed by 0 would take days."""

_ALL_COEFFICIENTS: Final = (1 << 64) - 1
_FILLER: Final = bytes((73 * i + 41) % 255 for i in range(256))
"""Compressed data that mean nothing; no byte of them is 0xFF."""
_STRIP_ROWS: Final = 256


class _Segment(NamedTuple):
    """A marker and its segment; `body` begins after the length."""

    marker: int
    start: int
    body: int
    end: int


def count_scans(data: bytes) -> int:
    """Return the number of scans, those of embedded thumbnails included; reads at memory speed."""
    return sum(1 for _ in _SCAN.finditer(data))


def keep_pixels(data: bytes) -> bytes:
    """Return the file without the application data and comments before the first scan, but for what colours depend on.

    Damaged metadata make Pillow reject a file although every pixel is there.
    """
    view, parts, kept_to = memoryview(data), list[memoryview](), 0
    for segment in _segments(data):
        if segment.marker == _SOS:
            break
        is_metadata = 0xE0 <= segment.marker <= 0xEF or segment.marker == _COM
        if is_metadata and segment.marker not in {_APP0, _APP14}:
            parts.append(view[kept_to : segment.start])
            kept_to = segment.end
    return b"".join((*parts, view[kept_to:])) if parts else data


def read_exif(data: bytes) -> bytes:
    """Return the EXIF block before the first scan; empty when there is none."""
    for segment in _segments(data):
        if segment.marker == _SOS:
            break
        if segment.marker == _APP1 and data.startswith(b"Exif\0", segment.body):
            return data[segment.body : segment.end]
    return b""


def is_cut_off(data: bytes) -> bool:
    """Return whether a JPEG that does not end with its end mark lacks pixels.

    libjpeg fills up what is missing without an error. So the file is decoded twice, once with an end mark appended and
    once with filler before that: compressed data that are missing would be read from the filler.

    Raises:
        Exception: whatever Pillow raises for a damaged file.
    """
    if data.endswith(END):
        return False
    if not _sends_all_coefficients(data):
        return True
    whole = data.rstrip(b"\xff")  # half of an end mark
    return _hash_pixels(whole + END) != _hash_pixels(whole + _FILLER + END)


def describe_unsupported(data: bytes) -> str | None:
    """Return what the file uses that the decoder cannot read; None when nothing is known against it."""
    frame = next((segment for segment in _segments(data) if segment.marker in _FRAMES), None)
    if frame is None or frame.end - frame.body < 6:
        return None
    bits, components = data[frame.body], data[frame.body + 5]
    if frame.marker == _JPEG_LS:
        return "JPEG-LS"
    if frame.marker in _LOSSLESS:
        return "lossless JPEG"
    if frame.marker in _HIERARCHICAL:
        return "hierarchical JPEG"
    if bits != 8:
        return f"JPEG of {bits} bits per sample"
    return f"JPEG of {components} components" if components not in {1, 3, 4} else None


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments; after each scan its compressed data are passed over. Ends at EOI or where the file breaks."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, start = data[found.end() - 1], found.start()
        at = found.end()
        if marker == _EOI:
            return
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            return
        yield _Segment(marker, start, at + 2, at + length)
        at += length


def _sends_all_coefficients(data: bytes) -> bool:
    """Return whether the scans carry every coefficient of every component at its full precision."""
    missing: dict[int, int] = {}
    is_progressive = False
    for segment in _segments(data):
        body = data[segment.body : segment.end]
        if segment.marker in _FRAMES and len(body) >= 6:
            is_progressive = segment.marker in _PROGRESSIVE
            missing = dict.fromkeys(body[6::3], _ALL_COEFFICIENTS)
        elif segment.marker == _SOS and len(body) >= 4:
            *scan, first, last, approximation = body
            sent = _ALL_COEFFICIENTS
            if is_progressive:
                sent = (2 << min(last, 63)) - (1 << min(first, 63)) if approximation & 0x0F == 0 else 0
            for component in scan[1::2]:
                missing[component] = missing.get(component, 0) & ~sent
    return bool(missing) and not any(missing.values())


def _hash_pixels(data: bytes) -> bytes:
    """Return a hash of the decoded pixels."""
    image = Image.open(BytesIO(keep_pixels(data)), formats=("JPEG",))
    image.load()
    pixels = hashlib.sha256()
    for top in range(0, image.height, _STRIP_ROWS):
        pixels.update(image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height))).tobytes())
    return pixels.digest()
