"""The best form of a page: 1 bit, grey or colour; PNG or JPEG, whichever is smaller.

The choice is made from bands of rows all over the page, not by encoding the page twice: the PNG of a colour scan would
take seconds and be thrown away. That a page is grey or bitonal is then checked on all of it.
"""

import math
import os
import tempfile
from typing import BinaryIO, Final, NamedTuple

from PIL import Image, ImageChops

_BANDS: Final = 16
_BAND_ROWS: Final = 8
"""Rows of a block of JPEG."""

_HOPELESS: Final = 1.5
"""Entropy per channel of a page's differences, relative to its JPEG, from which its PNG is not estimated. Measured: PNG
takes 0.25 to 0.6 of the entropy for clean type, 0.4 to 0.95 for scans and photographs."""

_SMALL_BYTES: Final = 32_768
"""A PNG up to this size is taken although its JPEG may be smaller: the difference is not worth a loss."""

_PNG_LEVEL: Final = 4
"""Measured on A4 pages of type at 300 dpi, bitonal, grey and colour: level 6 takes 1.3 to 1.6 times as long for at most
4 % fewer bytes, level 9 six times as long as that for another 5 %."""


class Form(NamedTuple):
    """The form in which a page is encoded.

    Attributes:
        image: The page; in mode 1 only as PNG.
        is_png: Whether PNG is the smaller form; JPEG otherwise.
        sample: Bands of the page in mode L or RGB.
        rows_per_row: Rows of the page per row of the sample.
    """

    image: Image.Image
    is_png: bool
    sample: Image.Image
    rows_per_row: float

    def estimate_jpeg_bytes(self, quality: int) -> float:
        """Return about how large the page is as JPEG. Measured: 0.75 to 1.3 of the estimate."""
        return self.rows_per_row * len(save_jpeg(self.sample, quality))


def choose_form(page: Image.Image, jpeg_quality: int) -> Form:
    """Return the best form of a page.

    Args:
        page: In mode L or RGB.
        jpeg_quality: Of the JPEG that it is compared with.
    """
    sample = _take_bands(page)
    if page.mode == "RGB" and _is_grey(sample) and _is_grey(page):
        page, sample = page.getchannel(0), sample.getchannel(0)
    rows_per_row = page.height / sample.height
    if page.mode == "L" and _is_bitonal(sample) and _is_bitonal(page):
        return Form(page.convert("1", dither=Image.Dither.NONE), is_png=True, sample=sample, rows_per_row=rows_per_row)
    most_bytes = max(len(save_jpeg(sample, jpeg_quality)), _SMALL_BYTES / rows_per_row)
    is_png = _is_at_most_as_png(sample, most_bytes)
    return Form(page, is_png, sample, rows_per_row)


def save_png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    return _save(image, "PNG", compress_level=_PNG_LEVEL)


def save_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image in mode L or RGB as a JPEG file.

    Optimised Huffman tables would take twice as long for 6 % fewer bytes.
    """
    return _save(image, "JPEG", quality=quality)


def _take_bands(page: Image.Image) -> Image.Image:
    """Return bands from all over the page, one below the other; all of a page that is hardly higher."""
    if page.height <= 2 * _BANDS * _BAND_ROWS:
        return page
    sample = Image.new(page.mode, (page.width, _BANDS * _BAND_ROWS))
    for band in range(_BANDS):
        top = (2 * band + 1) * page.height // (2 * _BANDS) - _BAND_ROWS // 2
        sample.paste(page.crop((0, top, page.width, top + _BAND_ROWS)), (0, band * _BAND_ROWS))
    return sample


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox())


def _is_bitonal(image: Image.Image) -> bool:
    return not any(image.histogram()[1:-1])


def _is_at_most_as_png(image: Image.Image, most_bytes: float) -> bool:
    is_hopeless = _entropy_bytes(image) > _HOPELESS * most_bytes * len(image.getbands())
    return not is_hopeless and len(save_png(image)) <= most_bytes


def _entropy_bytes(image: Image.Image) -> float:
    """Return the entropy of the differences between neighbours in a row, as if each channel were alone."""
    left, right = image.crop((0, 0, image.width - 1, image.height)), image.crop((1, 0, image.width, image.height))
    counts = ImageChops.subtract_modulo(right, left).histogram()
    pixels = left.width * left.height
    return sum(count * math.log2(pixels / count) for count in counts if count) / 8


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
