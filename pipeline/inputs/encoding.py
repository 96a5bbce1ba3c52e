"""Encode a page within the API's limits: scaled, padded, upright, as PNG or JPEG."""

from typing import Final, NamedTuple

from PIL import Image

from pipeline.errors import UnfittableImageError
from pipeline.inputs.fit import Fit, is_illegible
from pipeline.inputs.form import choose_form, save_jpeg, save_png
from pipeline.pixels.orientation import turn_upright, upright_size_px
from pipeline.wire import Limits

_MIN_JPEG_QUALITY: Final = 60
_QUALITY_STEP: Final = 10
_SURELY: Final = 1.4
"""An estimate above the byte limit by this factor is never wrong about it."""
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


def encode(image: Image.Image, scale: float, limits: Limits, jpeg_quality: int) -> Encoded:
    """Return a page within the byte limit, in its best form.

    Args:
        image: In mode L or RGB, within the limits for edges.
        scale: Of the image to its source.
        limits: What the service accepts.
        jpeg_quality: Of the first attempt; lower ones follow.

    Raises:
        UnfittableImageError: within the byte limit the page would be too small to be read.
    """
    form = choose_form(image, jpeg_quality)
    if form.is_png:
        encoded = save_png(form.image)
        if len(encoded) <= limits.max_bytes:
            return Encoded(encoded, "png", image.size)
    image = image if form.is_png else form.image
    width_px, quality, size_by_estimate = image.width, jpeg_quality, 1 / _SURELY
    while True:
        while quality > _MIN_JPEG_QUALITY and form.estimate_jpeg_bytes(quality) * size_by_estimate > limits.max_bytes:
            quality = max(_MIN_JPEG_QUALITY, quality - _QUALITY_STEP)
        encoded = save_jpeg(image, quality)
        if len(encoded) <= limits.max_bytes:
            return Encoded(encoded, "jpeg", image.size)
        if quality > _MIN_JPEG_QUALITY:
            size_by_estimate = len(encoded) / form.estimate_jpeg_bytes(quality)
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
