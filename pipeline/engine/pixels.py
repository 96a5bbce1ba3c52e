"""Decode an image file into the array that the engine's models take."""

from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import NotAnImageError, TruncatedImageError
from pipeline.pixels import flatten
from pipeline.wire import MEDIA_TYPES

Pixels = NDArray[np.uint8]
"""(height, width, 3) in the order blue, green, red, with which the models were trained."""

FORMATS: Final = tuple(name.upper() for name in MEDIA_TYPES)


def decode_bgr(image: bytes) -> Pixels:
    """Return the pixels of the first frame; the EXIF orientation is not applied.

    Raises:
        NotAnImageError: the data are in no format that the API accepts.
        TruncatedImageError: the data are damaged or incomplete.

    Source:
        The API's contract, "Does the service apply EXIF orientation?": assume not.
    """
    try:
        picture = Image.open(BytesIO(image), formats=FORMATS)
        picture.load()
        page = flatten(picture)
        rgb = np.asarray(page if page.mode == "RGB" else page.convert("RGB"))
    except UnidentifiedImageError as exc:
        raise NotAnImageError("not a JPEG, PNG, GIF or WebP image") from exc
    except MemoryError:
        raise
    except Exception as exc:  # Pillow's decoders raise exceptions of many types for damaged data
        raise TruncatedImageError("the image is truncated or damaged") from exc
    return np.ascontiguousarray(rgb[:, :, ::-1])
