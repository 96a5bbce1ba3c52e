"""Encode a page within the API's limits: scaled, padded, upright, as PNG or JPEG."""

import os
import tempfile
from typing import BinaryIO, Final, NamedTuple

from PIL import Image

from pipeline.errors import UnfittableImageError
from pipeline.inputs.fit import Fit, is_illegible
from pipeline.pixels.orientation import turn_upright, upright_size_px
from pipeline.wire import Limits

_LOSSY: Final = frozenset({"jpeg", "webp"})
_MIN_JPEG_QUALITY: Final = 60
_QUALITY_STEP: Final = 10
_SHRINK_FACTOR: Final = 0.8
"""A page above the byte limit is encoded at lower qualities first, then scaled by this until it fits."""


class Encoded(NamedTuple):
    """An encoded page: the file, its format, and (width, height) in px."""

    data: bytes
    format: str
    size_px: tuple[int, int]


def make_fit(page: Image.Image, needed: Fit, orientation: int) -> Image.Image:
    """Return a decoded page scaled, turned upright and padded as needed."""
    # Pillow would write the source's colour profile, transparency and comment into the new file.
    page.info.clear()
    stored_px = upright_size_px(needed.scaled_px, orientation)
    if page.size != stored_px:
        page = page.resize(stored_px, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _pad(turn_upright(page, orientation), needed.padded_px)


def encode(image: Image.Image, source_format: str, scale: float, limits: Limits, jpeg_quality: int) -> Encoded:
    """Return a page within the byte limit: PNG when its source is lossless and the PNG fits, else JPEG.

    Args:
        image: In mode L or RGB, within the limits for edges.
        source_format: As in records.
        scale: Of the image to its source.
        limits: What the service accepts.
        jpeg_quality: Of the first attempt; lower ones follow.

    Raises:
        UnfittableImageError: within the byte limit the page would be too small to be read.
    """
    if source_format not in _LOSSY:
        encoded = _save(image, "PNG", compress_level=6)
        if len(encoded) <= limits.max_bytes:
            return Encoded(encoded, "png", image.size)
    width_px, quality = image.width, jpeg_quality
    while True:
        encoded = _save(image, "JPEG", quality=quality, optimize=True)
        if len(encoded) <= limits.max_bytes:
            return Encoded(encoded, "jpeg", image.size)
        if quality > _MIN_JPEG_QUALITY:
            quality = max(_MIN_JPEG_QUALITY, quality - _QUALITY_STEP)
            continue
        smaller = (int(image.width * _SHRINK_FACTOR), int(image.height * _SHRINK_FACTOR))
        if min(smaller) < limits.min_edge_px or is_illegible(smaller, scale * smaller[0] / width_px):
            raise UnfittableImageError(
                f"does not fit into {limits.max_bytes} bytes: it would be scaled to {smaller[0]}×{smaller[1]} px, too"
                " small to be read; cut the image into pages"
            )
        image = image.resize(smaller, Image.Resampling.LANCZOS)


def _pad(image: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    if image.size == size_px:
        return image
    padded = Image.new(image.mode, size_px, "white")
    padded.paste(image, ((size_px[0] - image.width) // 2, (size_px[1] - image.height) // 2))
    return padded


def _save(image: Image.Image, image_format: str, **options: int) -> bytes:
    """Return the image as a file; Pillow lets go of the interpreter's lock when it encodes into a descriptor."""
    with _open_memory() as file:
        image.save(file, image_format, **options)
        file.seek(0)
        return file.read()


def _open_memory() -> BinaryIO:
    """Return an empty file in memory, or on disk where the system has none in memory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("page"), "w+b")
    return tempfile.TemporaryFile()
