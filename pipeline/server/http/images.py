"""May this image go to the engine? Decided from its header, which costs no decoding."""

from io import BytesIO

from PIL import Image, PngImagePlugin

from pipeline.server.http.requests import RequestError
from pipeline.wire import MEDIA_TYPES, Limits

SERVER_LIMITS = Limits(max_bytes=10 * 1024 * 1024)
"""The API's contract, "Is 10 MB of the file or of the base64?": the server takes up to 10 MiB decoded."""

PngImagePlugin.MAX_TEXT_MEMORY = 4 * 1024 * 1024
"""What a PNG's comments may unpack to. Pillow's own limit, sixteen times that, costs a second and 60 MB a request."""

_FORMATS = [name.upper() for name in MEDIA_TYPES]

_UNSUPPORTED = {
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"BM": "BMP",
    b"%PDF": "PDF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"AT&TFORM": "DjVu",
}
"""How files begin that hold pages, but none that the API takes."""


def check_image(image: bytes, limits: Limits = SERVER_LIMITS) -> None:
    """Return when the engine may see the image.

    Raises:
        RequestError: it is too large, too small, or no image of a format that the API takes.

    Source:
        The API's contract, "Images".
    """
    if len(image) > limits.max_bytes:
        raise RequestError(f"image is larger than {limits.max_bytes // 1024 // 1024} MB")
    width, height = _read_size(image)
    if min(width, height) < limits.min_edge_px:
        raise RequestError(
            f"image is {width}x{height} px; at least {limits.min_edge_px}x{limits.min_edge_px} px needed"
        )
    if max(width, height) > limits.max_edge_px:
        raise RequestError(
            f"image is {width}x{height} px; at most {limits.max_edge_px}x{limits.max_edge_px} px allowed"
        )


def name_unsupported(image: bytes) -> str | None:
    """Return the name of a format that the API does not take; None for what is no image that we know."""
    if image[4:8] == b"ftyp":
        return "HEIC or AVIF"
    return next((name for magic, name in _UNSUPPORTED.items() if image.startswith(magic)), None)


def _read_size(image: bytes) -> tuple[int, int]:
    try:
        with Image.open(BytesIO(image), formats=_FORMATS) as picture:
            return picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise RequestError("image has too many pixels") from exc
    except (OSError, SyntaxError, ValueError) as exc:
        name = name_unsupported(image)
        if name is not None:
            raise RequestError(f"unsupported image format {name}; JPEG, PNG, GIF and WebP are taken") from exc
        raise RequestError("document.image_url holds no image") from exc
