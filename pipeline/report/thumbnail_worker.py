"""A process that shrinks pictures: `python -m pipeline.report.thumbnail_worker --memory-bytes N`.

It reads tasks from stdin and writes results to its original stdout; it exits at the end of stdin.
"""

import sys
from io import BytesIO
from typing import Final

import msgspec
from msgspec import Struct
from PIL import Image, ImageOps

from pipeline.convert.child import process_tasks
from pipeline.convert.frames import Ready

_SIZE_PX: Final = (160, 160)


class Shrink(Struct, frozen=True, tag=True):
    """To the worker: shrink an image file."""

    image: bytes


class Shrunk(Struct, frozen=True, tag=True):
    """From the worker: the thumbnail, a JPEG; None when the image cannot be decoded."""

    image: bytes | None


Result = Ready | Shrunk


def shrink(image: bytes) -> bytes | None:
    """Return a thumbnail, upright; None when the image cannot be decoded.

    Args:
        image: The file.
    """
    try:
        with Image.open(BytesIO(image)) as picture:
            picture.draft("RGB", (2 * _SIZE_PX[0], 2 * _SIZE_PX[1]))  # a JPEG is decoded at a fraction of its size
            small = ImageOps.exif_transpose(picture).convert("RGB")  # black and white would not become grey
            small.thumbnail(_SIZE_PX)
    except Exception:  # noqa: BLE001 - whatever a decoder raises, the page has no thumbnail
        return None
    out = BytesIO()
    small.save(out, "JPEG", quality=75)
    return out.getvalue()


if __name__ == "__main__":
    process_tasks(sys.argv[1:], msgspec.msgpack.Decoder(Shrink), lambda task: Shrunk(shrink(task.image)))
