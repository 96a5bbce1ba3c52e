"""Checks of an image before recognition, from its header alone: nothing is decoded."""

import struct
from io import BytesIO
from typing import Final

from PIL import Image

from pipeline.pixels import jpeg, png
from pipeline.server.http.requests import RequestError
from pipeline.wire import MEDIA_TYPES, Limits

SERVER_LIMITS: Final = Limits(max_bytes=10 * 1024 * 1024)
"""The API's contract, "Is 10 MB of the file or of the base64?": the server accepts up to 10 MiB decoded."""

HEADER_READS_MAX: Final = 20_000
"""Limit for the reads of a header. Pillow walks the segments before the pixels one by one, in Python: 10 MB of empty
ones cost 4 s. A photograph has some fifty reads, 10 MB of EXIF five hundred."""

_PARSE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    struct.error,
)
"""What Pillow raises for damaged headers: the first three by design, the others by mutated files."""

_TOO_LONG: Final = "image has too many segments before its pixels"

_FORMATS: Final = [name.upper() for name in MEDIA_TYPES]

_UNSUPPORTED_MAGIC: Final = {
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"BM": "BMP",
    b"%PDF": "PDF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"AT&TFORM": "DjVu",
}
"""First bytes of formats that can hold pages and that the API does not accept."""


def check_image(image: bytes, limits: Limits = SERVER_LIMITS) -> None:
    """Return when the image is within the limits of the API.

    Raises:
        RequestError: the file or the image is too large, the image too small, its format not accepted, or it is a JPEG
            of so many scans that decoding it would hold up a worker.

    Source:
        The API's contract, "Images".
    """
    if len(image) > limits.max_bytes:
        raise image_too_large(limits.max_bytes)
    width, height = _read_size(image)
    if min(width, height) < limits.min_edge_px:
        raise RequestError(
            f"image is {width}x{height} px; at least {limits.min_edge_px}x{limits.min_edge_px} px needed"
        )
    if max(width, height) > limits.max_edge_px:
        raise RequestError(
            f"image is {width}x{height} px; at most {limits.max_edge_px}x{limits.max_edge_px} px allowed"
        )
    if image.startswith(jpeg.SIGNATURE) and (scans := jpeg.count_scans(image)) > jpeg.MAX_SCANS:
        raise RequestError(f"image is a JPEG of {scans} scans; at most {jpeg.MAX_SCANS} allowed")


def image_too_large(max_bytes: int) -> RequestError:
    """Return the error for an image file beyond this size."""
    return RequestError(f"image is larger than {max_bytes // 1024 // 1024} MB")


def unsupported_format(image: bytes) -> str | None:
    """Return the name of a known format that the API does not accept; None for any other file."""
    if image[4:8] == b"ftyp":
        return "HEIC or AVIF"
    return next((name for magic, name in _UNSUPPORTED_MAGIC.items() if image.startswith(magic)), None)


def _read_size(image: bytes) -> tuple[int, int]:
    try:
        head = _header(image)
        with Image.open(_BoundedFile(head), formats=_FORMATS) as picture:
            return picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise RequestError("image has too many pixels") from exc
    except _PARSE_ERRORS as exc:
        name = unsupported_format(image)
        if name is not None:
            raise RequestError(f"unsupported image format {name}; JPEG, PNG, GIF and WebP are taken") from exc
        raise RequestError("document.image_url holds no image") from exc


def _header(image: bytes) -> bytes:
    """Return a PNG's header without its comments, which may unpack to GiB; any other image whole.

    Raises:
        RequestError: the header is too long.
    """
    if not image.startswith(png.SIGNATURE):
        return image
    try:
        return png.header(image, max_chunks=HEADER_READS_MAX)
    except OverflowError as exc:
        raise RequestError(_TOO_LONG) from exc


class _BoundedFile(BytesIO):
    """An image file whose header is read in at most `HEADER_READS_MAX` steps."""

    def __init__(self, image: bytes) -> None:
        super().__init__(image)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            RequestError: the header is too long.
        """
        self._reads += 1
        if self._reads > HEADER_READS_MAX:
            raise RequestError(_TOO_LONG)
        return super().read(size)
