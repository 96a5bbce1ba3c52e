"""One rule for bit depth, transparency and orientation: from an image file's samples to the grey or colour of a page.

The client (what it sends) and the engine (what it reads) share this rule, so that a page looks the same to both:

=================  =====================================================================================
samples            become
=================  =====================================================================================
1 bit              black and white
8 bits             unchanged; palettes, CMYK, YCbCr and CIELAB become RGB
16 bits            scaled by the full range of the format: 0 to 65535 → 0 to 255, a dark page stays dark
32-bit integers    scaled as 8 bits when no value exceeds 255, as 16 bits otherwise
32-bit floats      scaled by 1, 255 or 65535: the first of them that no value exceeds, 65535 at most
=================  =====================================================================================

Integers and floats of 32 bits have no range that a format defines, so the values decide. Values outside a range are
clipped. Results are rounded to the nearest level (PNG, third edition, 13.12 "Sample depth rescaling"). Where a page is
transparent it shows white paper. Colour of 16 bits never arrives here: Pillow reduces it to 8 bits when it decodes.

Pure functions on Pillow images; nothing is opened or written here.
"""

import struct
import zlib
from functools import cache
from typing import Final

from PIL import Image

DECODER_ERRORS: Final = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, IndexError, TypeError)
"""Exceptions that Pillow's decoders raise for damaged data."""

ORIENTATION_TAG: Final = 0x0112
"""Exif 2.32 and TIFF 6.0, "Orientation"."""

_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image of each orientation upright. Source: Exif 2.32, "Orientation"."""

_ROTATION_DEG: Final = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}

_16_BIT_WHITE: Final = 65535


def flatten(image: Image.Image) -> Image.Image:
    """Return a new image in mode L or RGB: 8 bits per channel, transparency composited on white.

    Args:
        image: A decoded image of any mode.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _reduce_depth(image)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 to 8; 1 where there is none, or none that can be read.

    Reads the header only, except for TIFF: `getexif()` of a PNG would decode all of its pixels.
    """
    exif = Image.Exif()
    try:
        if image.format == "TIFF":
            exif = image.getexif()
        else:
            exif.load(image.info.get("exif", b""))
        orientation = exif.get(ORIENTATION_TAG, 1)
    except DECODER_ERRORS:  # the pixels of a file with a damaged EXIF block may be good
        orientation = 1
    return orientation if orientation in range(1, 9) else 1


def upright_size_px(size_px: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of the upright page from the stored size, or the stored size from the upright one."""
    return size_px if orientation < 5 else (size_px[1], size_px[0])


def rotation_deg(orientation: int) -> int:
    """Return the clockwise rotation that makes a page of this EXIF orientation upright: 0, 90, 180 or 270."""
    return _ROTATION_DEG.get(orientation, 0)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image rotated and mirrored as its EXIF orientation demands."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Return an image of mode I;16 (any byte order), I or F in mode L."""
    white = _white_level(image)
    if image.mode == "F":
        # Pillow truncates when it converts floats; adding a half rounds to the nearest level.
        return image.point(lambda level: level * (255 / white) + 0.5).convert("L")
    levels = list(_levels(white))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[transparent] = 255
    return image.convert("I").point(levels, "L")  # clips to the table's ends


def _white_level(image: Image.Image) -> int:
    """Return the sample value that is shown white."""
    if image.mode.startswith("I;16"):
        return _16_BIT_WHITE
    _, highest = image.getextrema()
    assert isinstance(highest, int | float)  # these modes have one band
    if image.mode == "F" and highest <= 1:
        return 1
    return _16_BIT_WHITE if highest > 255 else 255


@cache
def _levels(white: int) -> tuple[int, ...]:
    """Return the 8-bit level of each 16-bit sample."""
    return tuple(min(255, round(sample * 255 / white)) for sample in range(_16_BIT_WHITE + 1))
