"""A file's page becomes bytes that the API accepts, in one thread hop.

What fits is sent as it is and not decoded: the header tells format, size and orientation, the end mark tells that
nothing is missing. Only a file without its end mark, or one that does not fit, is decoded.
"""

import hashlib
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from pipeline.errors import (
    NotAnImageError,
    TruncatedImageError,
    UnfittableImageError,
)
from pipeline.inputs.fit import Fit, fit
from pipeline.records import PageId, Payload, Prep
from pipeline.storage.files import read_stable
from pipeline.wire import MEDIA_TYPES, Limits, build_image_body, build_url_body, replace_surrogates

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # stderr belongs to the log
Image.MAX_IMAGE_PIXELS = None  # rules/fit.py judges the header's size itself, before anything is decoded

_FORMATS: Final = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # a JPEG with a second picture behind the first, as some cameras write
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "DIB": "bmp",
    "TIFF": "tiff",
}
MAX_FILE_BYTES: Final = 1 << 30
"""A file is read as a whole; beyond this it would rather end the process than become a page."""

_PLUGINS: Final = tuple(name for name in _FORMATS if name != "MPO")  # the JPEG plugin opens those
_LOSSY: Final = frozenset({"jpeg", "webp"})
_PAGED: Final = frozenset({"gif", "tiff"})
"""Formats whose frames are pages."""

_SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_DECODER_ERRORS: Final = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, IndexError, TypeError)
"""What Pillow's decoders raise for damaged data."""

_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes the pixels upright. Source: Exif 2.32, "Orientation"."""

_ROTATION_DEG: Final = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
_SMALLER: Final = 0.8
_MIN_JPEG_QUALITY: Final = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """How pages are made to fit.

    Attributes:
        limits: What the service accepts.
        jpeg_quality: For pages that are encoded anew.
        orient: True turns pages as their EXIF tag says; a TIFF's own tag is always obeyed, by its decoder.
    """

    limits: Limits
    jpeg_quality: int = 92
    orient: bool = True


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image whose header is read."""

    image: Image.Image
    format: str
    pages: int


class ImageFile:
    """An image file whose pages become payloads one after another; read, and hashed, once.

    Args:
        path: The file.
        rules: What fits.
    """

    def __init__(self, path: Path, rules: Rules) -> None:
        self._path = path
        self._rules = rules
        self._read: tuple[bytes, str, _Opened] | None = None

    def __repr__(self) -> str:
        return f"<ImageFile {self._path.name}>"

    @property
    def pages(self) -> int:
        """How many pages the file has; 1 as long as that is not known."""
        return 1 if self._read is None else self._read[2].pages

    def prepare(self, page: int) -> Payload:
        """Return a page, ready to be sent; works in any thread, in one at a time.

        Args:
            page: 1-based.

        Raises:
            PageError: the page cannot be read, is no image, or cannot be made to fit; the message names no file.
        """
        if self._read is None:
            content = read_stable(self._path, MAX_FILE_BYTES)
            self._read = content, hashlib.sha256(content).hexdigest(), _open(content)
        data, digest, opened = self._read
        sent, prep = _make_fit(data, opened, page, self._rules)
        body = build_image_body(sent, MEDIA_TYPES[prep.format], replace_surrogates(self._path.name))
        return Payload(PageId(f"sha256:{digest}#{page}"), digest, page, opened.pages, body, prep)


def prepare_url(url: str) -> Payload:
    """Return a page that the service fetches by itself; it is known by its URL."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    name = url.split("?", 1)[0].rsplit("/", 1)[-1]
    return Payload(PageId(f"url:{digest}#1"), None, 1, 1, build_url_body(url, name), None)


def _open(data: bytes) -> _Opened:
    try:
        image = Image.open(BytesIO(data), formats=_PLUGINS)
        kind = _FORMATS[image.format or ""]
        pages = getattr(image, "n_frames", 1) if kind in _PAGED else 1
        return _Opened(image, kind, pages)
    except UnidentifiedImageError as exc:
        if data.startswith(_SIGNATURES) or (data.startswith(b"RIFF") and b"WEBP".startswith(data[8:12])):
            raise TruncatedImageError("damaged or cut off in its header") from exc
        raise NotAnImageError("not an image (JPEG, PNG, GIF, WebP, BMP or TIFF)") from exc
    except _DECODER_ERRORS as exc:
        raise TruncatedImageError(f"damaged: {_describe(exc)}") from exc


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, without decoding: PNG's `getexif()` would decode all of it."""
    exif = Image.Exif()
    try:
        if image.format == "TIFF":
            exif = image.getexif()
        else:
            exif.load(image.info.get("exif", b""))
        orientation = exif.get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:  # a broken EXIF block says nothing; the pixels may still be good
        orientation = 1
    return orientation if orientation in range(1, 9) else 1


def _make_fit(data: bytes, opened: _Opened, page: int, rules: Rules) -> tuple[bytes, Prep]:
    image = _select(opened, page)
    orientation = _read_orientation(image)
    rotation_deg = _ROTATION_DEG.get(orientation, 0)
    if opened.format == "tiff":
        orientation = 1  # Pillow's decoder turns a TIFF by itself, and tells the size of the upright page
    elif not rules.orient:
        orientation, rotation_deg = 1, 0
    needed = fit(_upright(image.size, orientation), rules.limits)
    fits = needed.untouched and orientation == 1 and opened.pages == 1
    if fits and opened.format in MEDIA_TYPES and len(data) <= rules.limits.max_bytes:
        if not _has_end_mark(data, opened.format):
            _decode(image)
        return data, Prep(opened.format, *image.size, bytes=len(data))
    encoded, prep = _convert(image, opened.format, needed, orientation, rules)
    return encoded, replace(prep, rotation_deg=rotation_deg)


def _has_end_mark(data: bytes, kind: str) -> bool:
    match kind:
        case "jpeg":
            return data.endswith(b"\xff\xd9")
        case "png":
            return data.endswith(b"IEND\xaeB`\x82")
        case "gif":
            return data.endswith(b"\x3b")
        case _:
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _select(opened: _Opened, page: int) -> Image.Image:
    if opened.pages > 1:
        try:
            opened.image.seek(page - 1)
        except _DECODER_ERRORS as exc:
            raise TruncatedImageError(f"page {page} is damaged: {_describe(exc)}") from exc
    return opened.image


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except _DECODER_ERRORS as exc:
        raise TruncatedImageError(f"damaged or cut off: {_describe(exc)}") from exc
    except MemoryError as exc:
        raise UnfittableImageError("not enough memory to decode it") from exc


def _convert(image: Image.Image, kind: str, needed: Fit, orientation: int, rules: Rules) -> tuple[bytes, Prep]:
    """Decode, flatten, turn, scale, pad and encode; the sent size follows from what the encoder could keep."""
    source_px = _upright(image.size, orientation)
    if needed.scale < 1 and image.format == "JPEG":
        image.draft(None, _upright(needed.scaled_px, orientation))  # decodes at 1/2, 1/4 or 1/8 of the size
    _decode(image)
    page = _flatten(image)
    page.info.clear()  # a CMYK profile, a stale transparency or a comment would be written into the new file
    if orientation != 1:
        page = page.transpose(_TRANSPOSE[orientation])
    if page.size != needed.scaled_px:
        page = page.resize(needed.scaled_px, Image.Resampling.LANCZOS, reducing_gap=3.0)
    page = _pad(page, needed.padded_px)
    encoded, sent_kind, page = _encode(page, kind, rules)
    scale = needed.scale if page.size == needed.padded_px else page.width / source_px[0]
    return encoded, Prep(sent_kind, *page.size, len(encoded), round(scale, 6))


def _flatten(image: Image.Image) -> Image.Image:
    """Return the page in mode L or RGB, transparency on white, 16 bits scaled to 8."""
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = image.convert("F")
        extrema = pixels.getextrema()
        high = float(extrema[1]) if isinstance(extrema[1], float) else 255.0
        full_scale = 1.0 if image.mode == "F" and high <= 1 else 65535.0 if high > 255 else 255.0
        return pixels.point(lambda value: value * (255 / full_scale)).convert("L")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), pixels).convert("RGB")
    if image.mode in {"1", "L"}:
        return image.convert("L")
    return image.convert("RGB")


def _pad(image: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    if image.size == size_px:
        return image
    padded = Image.new(image.mode, size_px, "white")
    padded.paste(image, ((size_px[0] - image.width) // 2, (size_px[1] - image.height) // 2))
    return padded


def _encode(image: Image.Image, kind: str, rules: Rules) -> tuple[bytes, str, Image.Image]:
    """Return (bytes, format, image): PNG for what was lossless, JPEG otherwise, smaller until it fits."""
    if kind not in _LOSSY:
        encoded = _save(image, "PNG", compress_level=6)
        if len(encoded) <= rules.limits.max_bytes:
            return encoded, "png", image
    quality = rules.jpeg_quality
    while True:
        encoded = _save(image, "JPEG", quality=quality, optimize=True)
        if len(encoded) <= rules.limits.max_bytes:
            return encoded, "jpeg", image
        if quality > _MIN_JPEG_QUALITY:
            quality = max(_MIN_JPEG_QUALITY, quality - 10)
            continue
        smaller = (int(image.width * _SMALLER), int(image.height * _SMALLER))
        if min(smaller) < rules.limits.min_edge_px:
            raise UnfittableImageError(f"does not fit into {rules.limits.max_bytes} bytes")
        image = image.resize(smaller, Image.Resampling.LANCZOS)


def _save(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _upright(size_px: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) after turning; its own inverse."""
    return size_px if orientation < 5 else (size_px[1], size_px[0])


def _describe(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:120] or type(exc).__name__
