"""An image file becomes pixels; runs in the worker process."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import NotAnImageError, TruncatedImageError
from pipeline.wire import MEDIA_TYPES

Pixels = NDArray[np.uint8]
"""(height, width, 3), blue first, as the models were trained."""

FORMATS = [name.upper() for name in MEDIA_TYPES]


def decode_bgr(image: bytes) -> Pixels:
    """Return the pixels of the first frame, transparency over white, not turned by EXIF.

    Raises:
        NotAnImageError: no format that the API takes.
        TruncatedImageError: the data are damaged or end too early.

    Source:
        The API's contract, "Does the service apply EXIF orientation?": assume not.
    """
    try:
        picture = Image.open(BytesIO(image), formats=FORMATS)
        picture.load()
        rgb = np.asarray(_flatten(picture))
    except UnidentifiedImageError as exc:
        raise NotAnImageError("not a JPEG, PNG, GIF or WebP image") from exc
    except MemoryError:
        raise
    except Exception as exc:  # Pillow's decoders raise whatever a broken file leads them into
        raise TruncatedImageError("the image is truncated or damaged") from exc
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits a sample: Pillow's own conversion clips everything above 255 to white.
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
