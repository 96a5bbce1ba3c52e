"""Decode a page into grey or colour of 8 bits; see `depth` for the rule.

Of 16-bit colour Pillow keeps the high byte of each sample. Where those bytes show that the samples do not use their
range, the page is decoded once more in the other byte order, which gives the low bytes.
"""

import sys
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final

from PIL import Image, ImageChops, ImageFile

from pipeline.pixels.depth import flatten, flatten_eight_bits, join_bytes, scale_levels, strips, white_level
from pipeline.pixels.opening import is_planar, rawmodes

_GREY_ALPHA: Final = "LA;16B"
_LOW_BYTES: Final = {
    f"{mode};16{order}": f"{mode};16{'L' if order == 'B' else 'B'}"
    for mode in ("RGB", "RGBA", "RGBX", "CMYK")
    for order in "BL"
} | {_GREY_ALPHA: "RGBA"}
"""The raw mode that unpacks the other byte of each sample; grey with alpha is unpacked byte by byte."""

_MAX_SAMPLE: Final = 65535


def decode(open_page: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Return a page in mode L or RGB: 8 bits per channel, transparency composited on white.

    Args:
        open_page: Returns the page with its header read and nothing decoded; called a second time for 16-bit colour
            whose samples do not use their range.

    Raises:
        Exception: whatever Pillow raises for a damaged page.
    """
    image = open_page()
    rawmode = _in_file_order(next(iter(rawmodes(image)), ""))
    image.load()
    if rawmode not in _LOW_BYTES or not _needs_low_bytes(image):
        return flatten(image)
    # libtiff gives the high bytes of planes whatever the raw mode: they are all there is
    low = image if is_planar(image) else _load_low_bytes(open_page(), rawmode)
    return flatten_eight_bits(_decode_deep_colour(image, low, rawmode))


def _in_file_order(rawmode: str) -> str:
    return rawmode[:-1] + ("L" if sys.byteorder == "little" else "B") if rawmode.endswith(";16N") else rawmode


def _needs_low_bytes(image: Image.Image) -> bool:
    return isinstance(image.info.get("transparency"), tuple) or min(_white_levels(image)) < _MAX_SAMPLE


def _load_low_bytes(image: ImageFile.ImageFile, rawmode: str) -> Image.Image:
    image.tile = [tile._replace(args=_with_rawmode(tile.args, _LOW_BYTES[rawmode])) for tile in image.tile]
    image.load()
    return image


def _with_rawmode(args: tuple[Any, ...] | str | None, rawmode: str) -> tuple[Any, ...] | str:
    return (rawmode, *args[1:]) if isinstance(args, tuple) else rawmode


def _decode_deep_colour(high: Image.Image, low: Image.Image, rawmode: str) -> Image.Image:
    """Return the page with 8 bits per channel from the high and low bytes of its samples."""
    whites = _white_levels(high)
    if low is high:  # of planes; a sample is then its high byte twice
        whites = [max(1, white >> 8) * 257 for white in whites]
    result = Image.new(high.mode, high.size)
    for top, strip in strips(high):
        low_strip = low.crop((0, top, low.width, top + strip.height))
        samples = _join(strip, low_strip, rawmode)
        levels = [_scale(band, white) for band, white in zip(samples, whites, strict=True)]
        page = Image.merge(high.mode, levels)
        key = high.info.get("transparency")
        if isinstance(key, tuple):
            page.paste("white", None, _mask_key(samples, key))
        result.paste(page, (0, top))
    return result


def _join(high: Image.Image, low: Image.Image, rawmode: str) -> list[Image.Image]:
    """Return the samples of each channel in mode I;16."""
    if rawmode == _GREY_ALPHA:
        grey_high, grey_low, alpha_high, alpha_low = low.split()
        grey = join_bytes(grey_high, grey_low)
        return [grey, grey, grey, join_bytes(alpha_high, alpha_low)]
    return [join_bytes(*bands) for bands in zip(high.split(), low.split(), strict=True)]


def _white_levels(high: Image.Image) -> list[int]:
    """Return the sample of each channel that is its highest level: one for all colours, one for alpha."""
    highest = [_highest_byte(band) for band in high.split()]
    colours = highest[:3] if high.mode == "RGBA" else highest
    whites = [int(white_level(max(colours) << 8 | 0xFF, is_signed=False))] * len(colours)
    return [*whites, *(int(white_level(alpha << 8 | 0xFF, is_signed=False)) for alpha in highest[len(colours) :])]


def _highest_byte(band: Image.Image) -> int:
    return int(band.getextrema()[1])  # type: ignore[arg-type]


def _scale(samples: Image.Image, white: int) -> Image.Image:
    return samples.convert("I").point(scale_levels(white), "L")


def _mask_key(samples: Sequence[Image.Image], key: Sequence[int]) -> Image.Image:
    """Return a mask of the pixels whose samples are those of the transparent colour."""
    masks = [
        band.convert("I").point([255 * (level == sample) for level in range(1 << 16)], "L")
        for band, sample in zip(samples, key, strict=False)
    ]
    return reduce(ImageChops.darker, masks)
