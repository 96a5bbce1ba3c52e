"""A process that shrinks pictures: `python -m pipeline.report.thumbnail_worker`.

It reads tasks from stdin and writes results to its original stdout; it exits at the end of stdin.
"""

from io import BytesIO
from typing import Final

import msgspec
from msgspec import Struct
from PIL import Image, ImageOps

from pipeline.convert.child import TaskPipe, discard_stderr
from pipeline.convert.frames import Ready
from pipeline.convert.resources import limit_own_memory

_SIZE_PX: Final = (160, 160)
_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""The images of pages, which fit 4000 px and 10 MB by default, take 0.2 GB at most."""


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


def main() -> None:
    """Process tasks until stdin ends."""
    limit_own_memory(_MEMORY_BYTES)
    pipe: TaskPipe[Shrink] = TaskPipe.claim(msgspec.msgpack.Decoder(Shrink))
    discard_stderr()
    pipe.send(Ready())
    while True:
        pipe.send(Shrunk(shrink(pipe.receive().image)))


if __name__ == "__main__":
    main()
