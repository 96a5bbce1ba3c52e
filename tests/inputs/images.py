"""Images that the tests prepare, and the checks of the payloads."""

import base64
import io
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.inputs.content import Place
from pipeline.inputs.conversion import Converter
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import ImageFile
from pipeline.records import Payload
from pipeline.storage.files import Stamp
from pipeline.wire import Limits

ORIENTATION_TAG = 0x0112  # Exif 2.32, "Orientation"
VENDOR = PrepareSettings(Limits())
SMALL = PrepareSettings(Limits(min_edge_px=100, max_edge_px=200, max_bytes=10_000))
API_FORMATS = ["JPEG", "PNG", "GIF", "WEBP"]
RED, WHITE = (220, 20, 20), (255, 255, 255)

# What a camera stores so that turning by the tag gives the upright page: the inverse of each turn.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNED_DEG = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the image as a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def noise(size_px: tuple[int, int], mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return an image that no encoder can compress."""
    blank = Image.new(mode, size_px)
    size = size_px[0] * size_px[1] * len(blank.getbands())
    return Image.frombytes(mode, size_px, random.Random(seed).randbytes(size))


def marked(size_px: tuple[int, int] = (200, 300)) -> Image.Image:
    """Return a white page whose only red corner is at the top left."""
    page = Image.new("RGB", size_px, WHITE)
    page.paste(RED, (0, 0, 60, 60))
    return page


def is_upright(page: Image.Image) -> bool:
    """Return whether the red corner is at the top left and nowhere else."""
    pixels = page.convert("RGB")
    right, bottom = page.width - 10, page.height - 10
    corners = [pixels.getpixel(place) for place in ((10, 10), (right, 10), (10, bottom), (right, bottom))]
    return [is_near(corner, RED) for corner in corners] == [True, False, False, False]


def is_near(seen: object, colour: tuple[int, ...]) -> bool:
    """Return whether a pixel has this colour within the tolerance of JPEG."""
    assert isinstance(seen, tuple)
    return all(abs(one - other) < 30 for one, other in zip(seen, colour, strict=True))


def place_of(path: Path) -> Place:
    """Return where a worker finds the content of a file."""
    with path.open("rb") as file:
        return Place(os.fsencode(path), Stamp.of(file.fileno()))


def prepare(path: Path, page: int, settings: PrepareSettings) -> Payload:
    """Return one page of a file; what does not fit is converted in this process."""
    return prepare_next(ImageFile(path, settings), page, Converter())


def prepare_next(file: ImageFile, page: int, converter: Converter) -> Payload:
    """Return a page of a file that may have been read before."""
    read = file._conversion(page) if file._place else file.read(page)
    return read if isinstance(read, Payload) else file.finish(page, converter.run(read))


def prepare_tiles(path: Path, page: int, settings: PrepareSettings) -> list[Payload]:
    """Return the tiles of a page that needs several calls; none of another page."""
    file, converter = ImageFile(path, settings), Converter()
    tiles = prepare_next(file, page, converter).tiles
    return [replace(file.finish(page, converter.run(file._conversion(page, tile))), tile=tile) for tile in tiles]


def sent_image(payload: Payload) -> bytes:
    """Return the encoded image in the request's body."""
    head, _, data = json.loads(payload.body)["document"]["image_url"].partition(",")
    assert payload.prep is not None
    assert head == f"data:image/{payload.prep.format};base64"
    return base64.b64decode(data, validate=True)


def decode(payload: Payload) -> Image.Image:
    """Return the decoded image that the service receives; a JPEG may lack its end mark."""
    data = sent_image(payload)
    image = Image.open(io.BytesIO(data + b"\xff\xd9" if data.startswith(b"\xff\xd8") else data))
    image.load()
    return image


def check(payload: Payload, settings: PrepareSettings = VENDOR) -> Image.Image:
    """Decode the sent image and compare it with the limits and with its description in the record."""
    image, prep, limits = decode(payload), payload.prep, settings.limits
    assert prep is not None
    assert image.format is not None
    assert ({"MPO": "jpeg"}.get(image.format, image.format.lower()), *image.size, len(sent_image(payload))) == (
        prep.format, prep.width_px, prep.height_px, prep.bytes,
    )  # fmt: skip
    assert all(limits.min_edge_px <= edge <= limits.max_edge_px for edge in image.size)
    assert prep.bytes <= limits.max_bytes
    assert 0 < prep.scale <= 1
    return image


def put(file: Path, data: bytes) -> Path:
    """Write the file and return its path."""
    file.write_bytes(data)
    return file
