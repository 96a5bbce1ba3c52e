"""From the samples of an image file to the grey or colour of a page: 8 bits per channel, on white paper.

=======================  ===============================================================================
samples                  become
=======================  ===============================================================================
1 bit                    black and white
8 bits                   unchanged; palettes, CMYK, YCbCr and CIELAB become RGB
12 and 16 bits           scaled by the smallest of 255, 1023, 4095, 16383 and 65535 that none exceeds: data of
                         10, 12 or 14 bits are often stored in 16. Colour alike, by its highest channel
integers of 32 bits      likewise; beyond 65535 by their highest value
floats                   scaled by their highest value; NaN and infinities become white
signed integers, floats  below zero: black is their lowest value, white their highest
=======================  ===============================================================================

A page whose samples count from white to black (TIFF's photometric interpretation 0) is inverted. Results are rounded
to the nearest level (PNG, third edition, 13.12 "Sample depth rescaling"). Where a page is transparent it shows white.

Pure functions on Pillow images. Images are worked on in strips, so that memory holds a page twice at most.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from PIL import Image, ImageChops

from pipeline.pixels.tiff import FORMAT_TAG, PHOTOMETRIC_TAG

_UNSIGNED_RANGES: Final = (255, 1023, 4095, 16383, 65535)
_SIGNED_RANGES: Final = (127, *_UNSIGNED_RANGES[:-1], 32767, 65535)
"""Highest samples of 8, 10, 12, 14 and 16 bits; signed ones of 8 and 16 bits have one bit less."""

_UNSIGNED, _SIGNED = 1, 2
"""Values of TIFF's SampleFormat."""

_MAX_SAMPLE: Final = 65535
_STRIP_PIXELS: Final = 1 << 22
_ALPHA_IS_OFTEN_UNUSED: Final = frozenset({"BMP", "DIB", "TIFF"})
"""Formats whose writers often leave the fourth channel zero without meaning transparency."""


def flatten(image: Image.Image) -> Image.Image:
    """Return an image in mode L or RGB: 8 bits per channel, transparency composited on white.

    Args:
        image: A decoded image of any mode; returned itself where nothing is to be changed.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _reduce_depth(image)
    if image.mode == "RGBA" and image.format in _ALPHA_IS_OFTEN_UNUSED and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return flatten_eight_bits(image)


def flatten_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image whose channels have 8 bits in mode L or RGB."""
    # Of the whole image: a strip of a damaged image without its palette would get an empty one, and be black.
    is_opaque = not image.has_transparency_data
    if is_opaque and image.mode in {"L", "RGB"}:
        return image
    return map_strips(image, "L" if is_opaque and image.mode in {"1", "L"} else "RGB", _flatten_strip)


def _flatten_strip(strip: Image.Image) -> Image.Image:
    if strip.has_transparency_data:
        paper = Image.new("RGBA", strip.size, "white")
        return Image.alpha_composite(paper, strip.convert("RGBA")).convert("RGB")
    return strip.convert("L" if strip.mode in {"1", "L"} else "RGB")


def map_strips(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return a new image of this mode whose strips are the changed strips of the image."""
    result = Image.new(mode, image.size)
    for top, strip in strips(image):
        result.paste(change(strip), (0, top))
    return result


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield horizontal strips with their distance from the top in px."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Which samples are black and white; `inverted` when the file counts from white to black."""

    black: float
    white: float
    inverted: bool = False


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Return an image of mode I;16 (any byte order), I or F in mode L."""
    tags = getattr(image, "tag_v2", None)  # only a TIFF has it
    is_inverted = tags is not None and tags.get(PHOTOMETRIC_TAG) == 0
    sample_format = None if tags is None else min(tags.get(FORMAT_TAG, (1,)))
    lowest, highest = _extrema(image)
    if image.mode == "I" and lowest < 0 and sample_format == _UNSIGNED:
        image = map_strips(image, "I;16", _high_half)  # samples from 2³¹ on, which mode I takes for negative
        lowest, highest = _extrema(image)
    black = min(0.0, lowest)
    white = highest if black or image.mode == "F" else white_level(highest, is_signed=sample_format == _SIGNED)
    scale = _Scale(black, white if white > black else black + 1, is_inverted)
    transparent = image.info.get("transparency")
    if image.mode == "F" or black or white > _MAX_SAMPLE:
        return map_strips(image, "L", lambda strip: _scale_linearly(strip, scale))
    levels = scale_levels(int(white), transparent if isinstance(transparent, int) else None, inverted=is_inverted)
    return map_strips(image, "L", lambda strip: strip.convert("I").point(levels, "L"))


def white_level(highest: float, *, is_signed: bool) -> float:
    """Return the sample that is shown white, for samples from zero to this one."""
    return next((top for top in (_SIGNED_RANGES if is_signed else _UNSIGNED_RANGES) if highest <= top), highest)


def _extrema(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and highest sample; zero takes the place of NaN and infinity."""
    extrema = []
    for _, strip in strips(image):
        if strip.mode == "F":
            strip.paste(0, None, _mask_not_finite(strip))
        extrema.append((strip if strip.mode == "F" else strip.convert("I")).getextrema())
    return min(pair[0] for pair in extrema), max(pair[1] for pair in extrema)  # type: ignore[return-value]


def _scale_linearly(strip: Image.Image, scale: _Scale) -> Image.Image:
    factor = 255 / (scale.white - scale.black)
    # Pillow truncates when it converts floats; adding a half rounds to the nearest level.
    samples = strip.convert("F").point(lambda sample: sample * factor + (0.5 - scale.black * factor)).convert("L")
    levels = ImageChops.invert(samples) if scale.inverted else samples
    if strip.mode == "F":
        levels.paste(255, None, _mask_not_finite(strip))
    return levels


def _mask_not_finite(strip: Image.Image) -> Image.Image:
    """Return a mask of the NaNs and infinities in an image of mode F: all bits of their exponent are set."""
    return _high_half(strip).convert("I").point(_not_finite_levels(), "L")


def _high_half(strip: Image.Image) -> Image.Image:
    """Return the higher 16 of the 32 bits of each sample."""
    first, second, third, fourth = Image.frombytes("RGBA", strip.size, strip.tobytes()).split()
    return join_bytes(fourth, third) if sys.byteorder == "little" else join_bytes(first, second)


def join_bytes(high: Image.Image, low: Image.Image) -> Image.Image:
    """Return an image of mode I;16 from the high and low bytes of its samples."""
    return Image.frombytes("I;16", high.size, Image.merge("LA", (low, high)).tobytes())


@cache
def scale_levels(white: int, transparent: int | None = None, *, inverted: bool = False) -> list[int]:
    """Return the 8-bit level of each 16-bit sample."""
    levels = [min(255, round(sample * 255 / white)) for sample in range(_MAX_SAMPLE + 1)]
    if inverted:
        levels = [255 - level for level in levels]
    if transparent is not None:
        levels[transparent] = 255
    return levels


@cache
def _not_finite_levels() -> list[int]:
    return [255 if high & 0x7F80 == 0x7F80 else 0 for high in range(_MAX_SAMPLE + 1)]
