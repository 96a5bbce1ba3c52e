"""What scanners, copiers and cameras do to a page: seven kinds of damage, by seed."""

import random
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Damage = Callable[[Image.Image, random.Random], Image.Image]


def noise(picture: Image.Image, source: random.Random) -> Image.Image:
    """Add grain of 12 to 24 levels."""
    pixels = np.asarray(picture, dtype=np.float32)
    grain = np.random.default_rng(source.getrandbits(32)).standard_normal(pixels.shape[:2]).astype(np.float32)
    return _picture(pixels + source.uniform(12, 24) * grain[..., None])


def blur(picture: Image.Image, source: random.Random) -> Image.Image:
    """Put it out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(source.uniform(1.0, 1.8)))


def jpeg(picture: Image.Image, source: random.Random) -> Image.Image:
    """Save it as a JPEG of quality 15 to 30."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=source.randrange(15, 31))
    return Image.open(buffer).convert("RGB")


def skew(picture: Image.Image, source: random.Random) -> Image.Image:
    """Turn it by 0.5 to 2 degrees, either way."""
    angle_deg = source.choice((-1, 1)) * source.uniform(0.5, 2.0)
    return picture.rotate(angle_deg, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))


def low_contrast(picture: Image.Image, source: random.Random) -> Image.Image:
    """Leave 45 to 80 levels between paper and ink."""
    span = source.uniform(45, 80)
    return _picture(np.asarray(picture, dtype=np.float32) / 255 * span + source.uniform(120, 255 - span))


def low_resolution(picture: Image.Image, source: random.Random) -> Image.Image:
    """Scan it at 100 to 120 dpi instead of 200."""
    scale = source.uniform(0.5, 0.6)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def uneven_light(picture: Image.Image, source: random.Random) -> Image.Image:
    """Let the light fall off towards one corner, down to 35 to 55 %."""
    across = np.linspace(0, 1, picture.width, dtype=np.float32)[None, :]
    down = np.linspace(0, 1, picture.height, dtype=np.float32)[:, None]
    across, down = (across if source.random() < 0.5 else 1 - across), (down if source.random() < 0.5 else 1 - down)
    light = 1 - (1 - source.uniform(0.35, 0.55)) * (across + down) / 2
    return _picture(np.asarray(picture, dtype=np.float32) * light[..., None])


DAMAGES: dict[str, Damage] = {
    "noise": noise,
    "blur": blur,
    "JPEG": jpeg,
    "skew": skew,
    "low contrast": low_contrast,
    "low resolution": low_resolution,
    "uneven light": uneven_light,
}


def _picture(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
