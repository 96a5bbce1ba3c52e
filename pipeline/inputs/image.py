"""Prepare the pages of image files: encode each as bytes that the API accepts, in one thread hop.

A page that fits is sent unchanged and not decoded: its header gives the format, the size and the orientation, and its
end mark shows that the file is complete. Only a file without its end mark, or one that does not fit, is decoded.
"""

import hashlib
import warnings
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from pipeline.errors import NotAnImageError, TruncatedImageError, UnfittableImageError
from pipeline.inputs.fit import Fit, fit
from pipeline.pixels import DECODER_ERRORS, flatten, read_orientation, rotation_deg, turn_upright, upright_size_px
from pipeline.records import PageId, Payload, Prep
from pipeline.storage.files import read_stable
from pipeline.wire import MEDIA_TYPES, Limits, build_image_body, build_url_body, replace_surrogates

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # stderr belongs to the log
Image.MAX_IMAGE_PIXELS = None  # `fit` checks the size in the header against MAX_PIXELS before anything is decoded

_FORMATS: Final = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # a JPEG with a second picture after the first; some cameras write it
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "DIB": "bmp",
    "TIFF": "tiff",
}
MAX_FILE_BYTES: Final = 1 << 30
"""A file is read into memory as a whole; a larger one could exhaust the memory of the process."""

_PLUGINS: Final = tuple(name for name in _FORMATS if name != "MPO")  # the JPEG plugin opens MPO files
_LOSSY: Final = frozenset({"jpeg", "webp"})
_PAGED: Final = frozenset({"gif", "tiff"})
"""Formats whose frames are pages."""

_SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")

_MIN_JPEG_QUALITY: Final = 60
_QUALITY_STEP: Final = 10
_SHRINK_FACTOR: Final = 0.8
"""A page above the byte limit is encoded at lower qualities first, then scaled by this until it fits."""


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How pages are made to fit.

    Attributes:
        limits: Sizes that the service accepts.
        jpeg_quality: Quality of pages that are encoded as JPEG.
        orient: Whether to turn pages by their EXIF orientation. Pillow always applies a TIFF's own tag.
    """

    limits: Limits
    jpeg_quality: int = 92
    orient: bool = True


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image whose header has been read; `pages` is the number of its frames."""

    image: Image.Image
    format: str
    pages: int


class ImageFile:
    """An image file, read and hashed once, whose pages are prepared one after the other."""

    def __init__(self, path: Path, settings: PrepareSettings) -> None:
        self._path = path
        self._settings = settings
        self._read: tuple[bytes, str, _Opened] | None = None

    def __repr__(self) -> str:
        return f"<ImageFile {self._path.name}>"

    @property
    def pages(self) -> int:
        """Number of pages in the file; 1 until the file has been read."""
        return 1 if self._read is None else self._read[2].pages

    def prepare(self, page: int) -> Payload:
        """Return a page as a payload. Any thread may call this, but only one at a time.

        Args:
            page: 1-based.

        Raises:
            PageError: the page cannot be read, is not an image, or cannot be made to fit. The message does not name
                the file.
        """
        if self._read is None:
            content = read_stable(self._path, MAX_FILE_BYTES)
            self._read = content, hashlib.sha256(content).hexdigest(), _open(content)
        data, digest, opened = self._read
        sent, prep = _fit_page(data, opened, page, self._settings)
        body = build_image_body(sent, MEDIA_TYPES[prep.format], replace_surrogates(self._path.name))
        return Payload(PageId(f"sha256:{digest}#{page}"), digest, page, opened.pages, body, prep)


def prepare_url(url: str) -> Payload:
    """Return the payload of a page that the service fetches; its URL is its identity."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    name = url.split("?", 1)[0].rsplit("/", 1)[-1]
    return Payload(PageId(f"url:{digest}#1"), None, 1, 1, build_url_body(url, name), None)


def _open(data: bytes) -> _Opened:
    try:
        image = Image.open(BytesIO(data), formats=_PLUGINS)
        image_format = _FORMATS[image.format or ""]
        pages = getattr(image, "n_frames", 1) if image_format in _PAGED else 1
        return _Opened(image, image_format, pages)
    except UnidentifiedImageError as exc:
        if data.startswith(_SIGNATURES) or (data.startswith(b"RIFF") and b"WEBP".startswith(data[8:12])):
            raise TruncatedImageError("damaged or cut off in its header") from exc
        raise NotAnImageError("not an image (JPEG, PNG, GIF, WebP, BMP or TIFF)") from exc
    except DECODER_ERRORS as exc:
        raise TruncatedImageError(f"damaged: {_describe(exc)}") from exc


def _fit_page(data: bytes, opened: _Opened, page: int, settings: PrepareSettings) -> tuple[bytes, Prep]:
    image = _seek_page(opened, page)
    orientation = read_orientation(image)
    turned_deg = rotation_deg(orientation)
    if opened.format == "tiff":
        orientation = 1  # Pillow applies a TIFF's tag when it decodes, and reports the size of the upright page
    elif not settings.orient:
        orientation, turned_deg = 1, 0
    needed = fit(upright_size_px(image.size, orientation), settings.limits)
    fits = needed.untouched and orientation == 1 and opened.pages == 1
    if fits and opened.format in MEDIA_TYPES and len(data) <= settings.limits.max_bytes:
        if not _has_end_mark(data, opened.format):
            _decode(image)
        return data, Prep(opened.format, *image.size, bytes=len(data))
    encoded, prep = _convert(image, opened.format, needed, orientation, settings)
    return encoded, replace(prep, rotation_deg=turned_deg)


def _has_end_mark(data: bytes, image_format: str) -> bool:
    match image_format:
        case "jpeg":
            return data.endswith(b"\xff\xd9")
        case "png":
            return data.endswith(b"IEND\xaeB`\x82")
        case "gif":
            return data.endswith(b"\x3b")
        case _:
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _seek_page(opened: _Opened, page: int) -> Image.Image:
    if opened.pages > 1:
        try:
            opened.image.seek(page - 1)
        except DECODER_ERRORS as exc:
            raise TruncatedImageError(f"page {page} is damaged: {_describe(exc)}") from exc
    return opened.image


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except DECODER_ERRORS as exc:
        raise TruncatedImageError(f"damaged or cut off: {_describe(exc)}") from exc
    except MemoryError as exc:
        raise UnfittableImageError("not enough memory to decode it") from exc


def _convert(
    image: Image.Image, image_format: str, needed: Fit, orientation: int, settings: PrepareSettings
) -> tuple[bytes, Prep]:
    """Decode, flatten, turn, scale, pad and encode a page; return the encoded image and its description."""
    source_px = upright_size_px(image.size, orientation)
    if needed.scale < 1 and image.format == "JPEG":
        image.draft(None, upright_size_px(needed.scaled_px, orientation))  # decodes at 1/2, 1/4 or 1/8 of the size
    _decode(image)
    page = flatten(image)
    page.info.clear()  # Pillow would write the source's colour profile, transparency and comment into the new file
    page = turn_upright(page, orientation)
    if page.size != needed.scaled_px:
        page = page.resize(needed.scaled_px, Image.Resampling.LANCZOS, reducing_gap=3.0)
    page = _pad(page, needed.padded_px)
    encoded, sent_format, page = _encode(page, image_format, settings)
    # A page that the encoder had to shrink has another scale than the one that was needed.
    scale = needed.scale if page.size == needed.padded_px else page.width / source_px[0]
    return encoded, Prep(sent_format, *page.size, len(encoded), round(scale, 6))


def _pad(image: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    if image.size == size_px:
        return image
    padded = Image.new(image.mode, size_px, "white")
    padded.paste(image, ((size_px[0] - image.width) // 2, (size_px[1] - image.height) // 2))
    return padded


def _encode(image: Image.Image, image_format: str, settings: PrepareSettings) -> tuple[bytes, str, Image.Image]:
    """Return (bytes, format, image) of a page within the byte limit: PNG of a lossless source, else JPEG."""
    if image_format not in _LOSSY:
        encoded = _save(image, "PNG", compress_level=6)
        if len(encoded) <= settings.limits.max_bytes:
            return encoded, "png", image
    quality = settings.jpeg_quality
    while True:
        encoded = _save(image, "JPEG", quality=quality, optimize=True)
        if len(encoded) <= settings.limits.max_bytes:
            return encoded, "jpeg", image
        if quality > _MIN_JPEG_QUALITY:
            quality = max(_MIN_JPEG_QUALITY, quality - _QUALITY_STEP)
            continue
        smaller = (int(image.width * _SHRINK_FACTOR), int(image.height * _SHRINK_FACTOR))
        if min(smaller) < settings.limits.min_edge_px:
            raise UnfittableImageError(f"does not fit into {settings.limits.max_bytes} bytes")
        image = image.resize(smaller, Image.Resampling.LANCZOS)


def _save(image: Image.Image, image_format: str, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _describe(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:120] or type(exc).__name__
