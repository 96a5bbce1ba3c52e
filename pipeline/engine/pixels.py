"""Decode an image file into the array that the engine's models take, and scale it."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pipeline.errors import NotAnImageError, TruncatedImageError
from pipeline.pixels import jpeg
from pipeline.pixels.decoding import decode
from pipeline.pixels.opening import open_image
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
        is_cut_off = image.startswith(jpeg.SIGNATURE) and jpeg.is_cut_off(image)
        page = decode(lambda: open_image(image, FORMATS))
        rgb = np.asarray(page if page.mode == "RGB" else page.convert("RGB"))
    except UnidentifiedImageError as exc:
        raise NotAnImageError("not a JPEG, PNG, GIF or WebP image") from exc
    except MemoryError:
        raise
    except Exception as exc:  # Pillow's decoders raise exceptions of many types for damaged data
        raise TruncatedImageError("the image is truncated or damaged") from exc
    if is_cut_off:
        raise TruncatedImageError("the image is truncated or damaged")
    return np.ascontiguousarray(rgb[:, :, ::-1])


def resize_line(line: Pixels, size_px: tuple[int, int]) -> Pixels:
    """Return the pixels of a line at this (width, height).

    Averaging over areas is right for a line that is made lower. One that is enlarged that way is made of blocks, and
    small Chinese characters pass for similar ones.
    """
    interpolation = cv2.INTER_AREA if line.shape[0] >= size_px[1] else cv2.INTER_CUBIC
    resized: Pixels = cv2.resize(line, size_px, interpolation=interpolation)
    return resized
