"""Damage to a page as scanners, copiers, cameras and thermal printers do it, determined by a seed."""

import math
import random
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Damage = Callable[[Image.Image, random.Random], Image.Image]


def noise(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Add Gaussian noise with a standard deviation of 12 to 24 levels."""
    pixels = np.asarray(picture, dtype=np.float32)
    grain = _grain(picture, rng)
    return _picture(pixels + rng.uniform(12, 24) * grain[..., None])


def blur(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blur the page with a Gaussian of 1.0 to 1.8 px."""
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 1.8)))


def jpeg(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Save the page as a JPEG of quality 15 to 30."""
    return _save(picture, rng.randrange(15, 31))


def skew(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Rotate the page by 0.5 to 2 degrees in either direction."""
    angle_deg = rng.choice((-1, 1)) * rng.uniform(0.5, 2.0)
    return picture.rotate(angle_deg, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))


def low_contrast(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Reduce the contrast between paper and ink to 45 to 80 levels."""
    span = rng.uniform(45, 80)
    return _picture(np.asarray(picture, dtype=np.float32) / 255 * span + rng.uniform(120, 255 - span))


def low_resolution(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Reduce the resolution from 200 to 100 to 120 dpi."""
    scale = rng.uniform(0.5, 0.6)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def uneven_light(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Darken the page towards one corner, to 35 to 55 % of the light."""
    across = np.linspace(0, 1, picture.width, dtype=np.float32)[None, :]
    down = np.linspace(0, 1, picture.height, dtype=np.float32)[:, None]
    across, down = (across if rng.random() < 0.5 else 1 - across), (down if rng.random() < 0.5 else 1 - down)
    light = 1 - (1 - rng.uniform(0.35, 0.55)) * (across + down) / 2
    return _picture(np.asarray(picture, dtype=np.float32) * light[..., None])


def faint(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Reduce the contrast between paper and ink to 20 to 30 levels, and add noise of 3 to 5 levels."""
    span = rng.uniform(20, 30)
    pixels = np.asarray(picture, dtype=np.float32) / 255 * span + rng.uniform(190, 250 - span)
    return _picture(pixels + rng.uniform(3, 5) * _grain(picture, rng)[..., None])


def thermal(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Print the page on thermal paper and scan it.

    The ink is grey and unevenly strong from column to column, a few heating elements are dead, the paper is slightly
    yellow or grey, bent as a roll bends it, skewed by up to 0.8 degrees, and the scan has noise and is saved as JPEG.
    """
    return _print_thermally(picture, rng, strength=rng.uniform(0.55, 0.9))


def faded(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Print the page on thermal paper whose ink has faded to a tenth to a fifth of its strength."""
    return _print_thermally(picture, rng, strength=rng.uniform(0.1, 0.2))


def scanned(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Scan a sheet as an office does: skewed by up to 0.7 degrees, slightly bent, a little soft and grainy, as JPEG."""
    bent = _bend(picture, rng.uniform(-0.006, 0.006) * picture.width)
    turned = bent.rotate(rng.uniform(-0.7, 0.7), Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    soft = turned.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.8)))
    pixels = np.asarray(soft, dtype=np.float32) * rng.uniform(0.82, 0.92) + rng.uniform(5, 20)
    return _save(_picture(pixels + rng.uniform(2, 6) * _grain(soft, rng)[..., None]), rng.randrange(60, 90))


def curled(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Photograph the page as it lies open in a book: its lines bend, one side is farther away, and a desk shows.

    The page's surface rises from the spine to the fore-edge like half a period of a cosine, so that the lines bow by up
    to three or four times their height. The camera is above the middle: the bow is largest at the top and the bottom.
    """
    width, height = picture.size
    x, y = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    bow, tilt, margin = rng.uniform(0.045, 0.065), rng.uniform(0.03, 0.08), rng.uniform(0.04, 0.08)
    spine = x if rng.random() < 0.5 else 1 - x
    rise = (1 - np.cos(2 * np.pi * np.clip(spine, 0, 1) ** 0.7)) / 2
    # From the photograph back to the page: where each of its pixels was, in shares of the page's size.
    from_x = (x - 0.5) * (1 + 2 * margin)
    from_y = (y - 0.5) * (1 + 2 * margin) * (1 + tilt * (2 * spine - 1))
    from_y += bow * rise * (1 - 0.8 * y) * rng.choice((-1, 1))
    page = np.asarray(picture, dtype=np.float32) * (1 - 0.45 * np.exp(-spine / 0.12))[..., None]
    desk = np.full(3, rng.uniform(60, 110), dtype=np.float32)
    places = (from_x + 0.5) * width, (from_y + 0.5) * height
    return _picture(cv2.remap(page, *places, cv2.INTER_LINEAR, borderValue=desk.tolist()))


SCAN_DAMAGES: dict[str, Damage] = {
    "noise": noise,
    "blur": blur,
    "JPEG": jpeg,
    "skew": skew,
    "low contrast": low_contrast,
    "low resolution": low_resolution,
    "uneven light": uneven_light,
}
"""Damage after which a page of running text remains legible to most engines."""

DAMAGES: dict[str, Damage] = {
    **SCAN_DAMAGES,
    "faint": faint,
    "curled": curled,
    "thermal": thermal,
    "faded": faded,
    "scanned": scanned,
}


def _picture(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _print_thermally(picture: Image.Image, rng: random.Random, strength: float) -> Image.Image:
    width, height = picture.size
    paper = rng.uniform(232, 252) - np.array([0, rng.uniform(0, 3), rng.uniform(0, 16)], np.float32)
    softened = picture.convert("L").filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.8)))
    ink = 1 - np.asarray(softened, dtype=np.float32) / 255
    waves = [
        rng.uniform(0.0, 0.12) * np.sin(np.arange(width) * rng.uniform(0.004, 0.03) + rng.uniform(0, 6)) for _ in "ab"
    ]
    heat = (strength * (1 + sum(waves, np.zeros(width)))).astype(np.float32)
    for _ in range(rng.randrange(0, 4)):
        heat[rng.randrange(width)] *= 0.3
    shade = 1 - rng.uniform(0.0, 0.08) * np.linspace(0, 1, height, dtype=np.float32)[:, None]
    pixels = paper * (1 - 0.95 * ink * heat)[..., None] * shade[..., None]
    printed = _picture(pixels + rng.uniform(2, 7) * _grain(picture, rng)[..., None])
    fill = tuple(round(level) for level in paper.tolist())
    printed = _bend(printed, rng.choice((-1, 1)) * rng.uniform(0.004, 0.02) * width)
    printed = printed.rotate(rng.uniform(-0.8, 0.8), Image.Resampling.BICUBIC, expand=True, fillcolor=fill)
    return _save(printed, rng.randrange(50, 85))


def _bend(picture: Image.Image, rise_px: float) -> Image.Image:
    """Return the picture with its rows bent into arcs, the middle lower than the ends by `rise_px`."""
    width, height = picture.size
    step = 8
    strips = []
    for left in range(0, width, step):
        right = min(left + step, width)
        one, other = (rise_px * math.sin(math.pi * x / width) for x in (left, right))
        corners = (left, -one, left, height - one, right, height - other, right, -other)
        strips.append(((left, 0, right, height), corners))
    fill = picture.getpixel((2, 2))
    return picture.transform(picture.size, Image.Transform.MESH, strips, Image.Resampling.BICUBIC, fillcolor=fill)


def _grain(picture: Image.Image, rng: random.Random) -> NDArray[np.float32]:
    """Return noise of standard deviation 1, of the picture's (height, width)."""
    shape = picture.height, picture.width
    return np.random.default_rng(rng.getrandbits(32)).standard_normal(shape).astype(np.float32)


def _save(picture: Image.Image, quality: int) -> Image.Image:
    """Return the picture as it is after saving it as JPEG."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
