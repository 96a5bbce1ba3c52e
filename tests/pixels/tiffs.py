"""TIFF files of any samples, also of those that Pillow does not write."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Order = Literal["<", ">"]
RAW, DEFLATE = 1, 8
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, CIELAB = 0, 1, 2, 3, 5, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
LETTERS = {(8, 1): "B", (16, 1): "H", (32, 1): "I", (8, 2): "b", (16, 2): "h", (32, 2): "i", (32, 3): "f", (64, 3): "d"}


def tiff_page(
    samples: Sequence[Any],
    width_px: int,
    *,
    bits: int = 16,
    sample_format: int = UNSIGNED,
    channels: int = 1,
    photometric: int = MIN_IS_BLACK,
    order: Order = "<",
    compression: int = RAW,
    tags: Mapping[int, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Return a page for `tiff`: its pixels as stored, and its tags.

    Args:
        samples: Of all channels of all pixels, pixel by pixel, each channel alone for planar configuration 2; or the
            stored bytes.
        width_px: Pixels per row.
        bits: Per sample.
        sample_format: TIFF's.
        channels: Samples per pixel.
        photometric: TIFF's photometric interpretation.
        order: Byte order.
        compression: TIFF's; pixels are packed for `DEFLATE` and stored unchanged for any other.
        tags: More tags.
    """
    if isinstance(samples, bytes):
        data, count = samples, len(samples) * 8 // bits
    else:
        data = struct.pack(f"{order}{len(samples)}{LETTERS[bits, sample_format]}", *samples)
        count = len(samples)
    height_px = count // channels // width_px
    planes = channels if tags and tags.get(284) == [2] else 1
    strips = [data[i * len(data) // planes : (i + 1) * len(data) // planes] for i in range(planes)]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    fields = {
        256: [width_px],
        257: [height_px],
        258: [bits] * channels,
        259: [compression],
        262: [photometric],
        277: [channels],
        278: [height_px],
        339: [sample_format] * channels,
    }
    return {"strips": strips, "tags": {**fields, **(tags or {})}}


def grey_pages(count: int) -> list[dict[str, Any]]:
    """Return pages of 120×120 px, each of its own grey."""
    return [tiff_page(bytes([level] * 120 * 120), 120, bits=8) for level in range(1, count + 1)]


def tiff(*pages: dict[str, Any], order: Order = "<", big: bool = False) -> bytes:
    """Return a TIFF, or a BigTIFF, of these pages."""
    count, entry, offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    inline = 8 if big else 4
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42))
    out += struct.pack(f"{order}HHQ", 8, 0, 0) if big else bytes(4)
    link_at = 8 if big else 4
    for page in pages:
        offsets = []
        for strip in page["strips"]:
            offsets.append(len(out))
            out += strip
        places, sizes = (324, 325) if 322 in page["tags"] else (273, 279)  # tiles or strips
        tags = {**page["tags"], places: offsets, sizes: [len(strip) for strip in page["strips"]]}
        entries = []
        for tag, values in sorted(tags.items()):
            packed = struct.pack(f"{order}{len(values)}I", *values)
            if len(packed) > inline:
                position = len(out)
                out += packed
                packed = struct.pack(f"{order}{offset}", position)
            entries.append(struct.pack(f"{order}{entry}", tag, 4, len(values), packed.ljust(inline, b"\0")))
        out[link_at : link_at + inline] = struct.pack(f"{order}{offset}", len(out))
        out += struct.pack(f"{order}{count}", len(entries)) + b"".join(entries)
        link_at = len(out)
        out += bytes(inline)
    return bytes(out)
