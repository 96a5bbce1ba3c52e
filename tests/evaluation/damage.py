"""Damage to a page as scanners, copiers and cameras do it: eight kinds, determined by a seed."""

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
    grain = np.random.default_rng(rng.getrandbits(32)).standard_normal(pixels.shape[:2]).astype(np.float32)
    return _picture(pixels + rng.uniform(12, 24) * grain[..., None])


def blur(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blur the page with a Gaussian of 1.0 to 1.8 px."""
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 1.8)))


def jpeg(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Save the page as a JPEG of quality 15 to 30."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=rng.randrange(15, 31))
    return Image.open(buffer).convert("RGB")


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


DAMAGES: dict[str, Damage] = {
    "noise": noise,
    "blur": blur,
    "JPEG": jpeg,
    "skew": skew,
    "low contrast": low_contrast,
    "low resolution": low_resolution,
    "uneven light": uneven_light,
    "curled": curled,
}


def _picture(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
