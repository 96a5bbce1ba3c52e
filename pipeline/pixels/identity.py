"""The identity of a page's pixels: equal for the same picture in another lossless format, or with other metadata."""

import hashlib
from collections.abc import Callable

from PIL import Image, ImageChops, ImageFile

from pipeline.pixels.decoding import decode
from pipeline.pixels.opening import rawmodes
from pipeline.pixels.orientation import turn_upright


def hash_pixels(open_page: Callable[[], ImageFile.ImageFile], orientation: int) -> str | None:
    """Return the SHA-256 of a page's upright pixels and its size, in hex; None for a page that cannot be compared.

    Grey that is stored as colour, or with a palette, equals grey. Of more than 8 bits per channel only the high ones
    would be compared, so such a page equals none. Where a page is transparent, its colours and alpha count.

    Args:
        open_page: Returns the page with its header read and nothing decoded.
        orientation: EXIF's, 1 to 8, by which it is turned.

    Raises:
        Exception: whatever Pillow raises for a damaged page.
    """
    image = open_page()
    if image.mode in {"I", "F"} or "16" in image.mode or any("16" in mode for mode in rawmodes(image)):
        return None
    if image.has_transparency_data and (clear := image.convert("RGBA")).getchannel("A").getextrema() != (255, 255):
        page = clear
    else:
        page = _as_grey(decode(open_page))
    page = turn_upright(page, orientation)
    digest = hashlib.sha256(f"{page.mode} {page.width} {page.height} ".encode())
    digest.update(page.tobytes())
    return digest.hexdigest()


def _as_grey(page: Image.Image) -> Image.Image:
    """Return a page in mode L when all of its channels are equal."""
    if page.mode == "L":
        return page
    red, *others = page.split()
    return red if all(ImageChops.difference(red, other).getbbox() is None for other in others) else page
