"""The pages of an image file that has been read: how many there are, and each as an image that is not decoded yet.

The pages of a file are independent of each other as far as its format allows: a TIFF's are opened one by one, and what
is damaged or unsupported in one of them costs that page only.
"""

import struct
import warnings
from io import BytesIO
from typing import Final

from PIL import Image, ImageFile, Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError

from pipeline.errors import NotAnImageError, TruncatedImageError, UnsupportedImageError
from pipeline.inputs.content import MappedFile
from pipeline.inputs.kinds import HEAD_BYTES, heif_format, is_image
from pipeline.pixels import gif, jpeg, png, tiff
from pipeline.pixels.opening import open_heic, open_image, open_tiff_page
from pipeline.wire import MEDIA_TYPES

warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # stderr belongs to the log
Image.MAX_IMAGE_PIXELS = None  # `fit` checks the size in the header against the setting before anything is decoded

FORMATS: Final = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # a JPEG with a second picture after the first; some cameras write it
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "DIB": "bmp",
    "TIFF": "tiff",
    "JPEG2000": "jp2",
    "PPM": "pnm",
    "AVIF": "avif",
    "HEIF": "heic",
}
"""Names of the formats in records, by Pillow's."""

_PLUGINS: Final = tuple(FORMATS.keys() - {"MPO", "TIFF", "HEIF"})  # the JPEG plugin opens MPO files
_GIF_SIGNATURES: Final = (b"GIF87a", b"GIF89a")

_NAMES: Final = "JPEG, PNG, GIF, WebP, BMP, TIFF, JPEG 2000, HEIC, AVIF, PNM or PDF"

_BIG_ENDIAN_BIG_TIFF: Final = b"MM\0+"

_BMP_FILE_HEADER_BYTES, _BMP_HEADER_BYTES = 14, 34
_BMP_LONG_HEADERS: Final = frozenset({40, 52, 56, 64, 108, 124})
_BMP_BITS: Final = frozenset({1, 4, 8, 16, 24, 32})
_BMP_BITFIELDS: Final = 3
_BMP_COMPRESSIONS: Final = {4: "JPEG", 5: "PNG", 6: "bit fields with alpha", 11: "CMYK", 12: "CMYK RLE-8"}
"""Values of the header's field biCompression beyond those that Pillow reads: none, RLE8, RLE4, bit fields."""
_CODECS_OF_LIBTIFF: Final = frozenset({7, 8, 34925, 50000, 50001})
"""Compressions that a build of libtiff may lack: JPEG, Deflate, LZMA, Zstandard, WebP."""


class PageImages:
    """The pages of one file.

    Args:
        content: The whole file.

    Raises:
        NotAnImageError: the file is in no format that is known.
        TruncatedImageError: its header is damaged.
        UnsupportedImageError: a compression or variant that cannot be decoded.
    """

    def __init__(self, content: bytes | MappedFile) -> None:
        self.size_bytes = len(content)
        self._offsets: list[int] = []
        self._file: BytesIO | MappedFile = BytesIO()
        self._data = b""
        if content[:4] == _BIG_ENDIAN_BIG_TIFF:  # Pillow takes it for a TIFF with 32-bit offsets
            raise UnsupportedImageError("unsupported variant (BigTIFF in big-endian byte order)")
        if content[:4] in tiff.PREFIXES:
            self.format = "tiff"
            # its header is changed for each page, which must not change the content
            self._file = BytesIO(content) if isinstance(content, bytes) else content
            with self._file.getbuffer() as buffer:
                self._offsets = tiff.directory_offsets(buffer)
            self.pages = max(1, len(self._offsets))
        else:
            self._data = data = content[:]
            if (variant := _describe_unsupported(data)) is not None:
                raise UnsupportedImageError(f"unsupported {variant}")
            self._image = self._open(data)
            self.format = FORMATS[self._image.format or ""]
            self.pages = max(1, gif.count_frames(data)) if self.format == "gif" else 1

    def __repr__(self) -> str:
        return f"<PageImages {self.format}, {self.pages} pages>"

    def open(self, page: int) -> ImageFile.ImageFile:
        """Return a page with its header read and nothing decoded; each call returns a new image, except of a GIF.

        Args:
            page: 1-based.

        Raises:
            UnsupportedImageError: a compression or variant that cannot be decoded.
            Exception: whatever Pillow raises for a damaged page.
        """
        if self.format == "tiff":
            return self._open_tiff_page(page)
        if self.format == "gif":  # a frame is drawn over the one before
            self._image.seek(page - 1)
            return self._image
        return self._open(self._data)

    @property
    def has_end_mark(self) -> bool:
        """Whether the file ends as its format demands; see the function of this name."""
        return has_end_mark(self._data)

    @property
    def can_be_reduced(self) -> bool:
        """Whether a page can be decoded at a fraction of its size."""
        return self.format in {"jpeg", "jp2"}

    def open_smaller(self, page: int, size_px: tuple[int, int]) -> ImageFile.ImageFile:
        """Return a page like `open`, but as a JPEG or JPEG 2000 that is decoded at a fraction of its size.

        Args:
            page: 1-based.
            size_px: (width, height) that it has at least then, as stored.
        """
        image = self.open(page)
        if image.format == "JPEG":
            image.draft(None, size_px)  # 1/2, 1/4 or 1/8
        elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
            image.reduce = (min(image.width // size_px[0], image.height // size_px[1])).bit_length() - 1
        return image

    def is_sendable(self, max_bytes: int) -> bool:
        """Return whether the API accepts the file as it is, apart from the size of its image in px."""
        return self.format in MEDIA_TYPES and self.pages == 1 and self.size_bytes <= max_bytes

    def check_complete(self) -> None:
        """Return when no pixel of a JPEG is missing; the decoder would fill it up without an error.

        Raises:
            TruncatedImageError: pixels are missing.
            UnsupportedImageError: the page cannot be decoded, because it uses something unsupported.
        """
        if self.format == "jpeg" and jpeg.is_cut_off(self._data):
            raise TruncatedImageError("cut off: the end of the image is missing")

    def explain(self, page: int, error: Exception) -> str | None:
        """Return what a page uses that is unsupported; None when it is damaged instead.

        Args:
            page: 1-based.
            error: What Pillow raised for it.
        """
        if self.format != "tiff":
            return None
        tags = self._read_tags(page)
        compression = tags.get(tiff.COMPRESSION_TAG, (1,))[0]
        if compression in _CODECS_OF_LIBTIFF and not _has_codec(compression):
            return f"compression ({tiff.compression_name(compression)})"
        # Pillow has no mode for these samples; what it could not parse is the argument of a SyntaxError as an exception
        has_no_mode = isinstance(error, SyntaxError) and all(isinstance(part, str) for part in error.args)
        samples = tiff.describe_samples(tags) if has_no_mode else None
        return None if samples is None else f"samples ({samples})"

    def count_scans(self) -> int:
        """Return the number of scans of a JPEG; 0 for other formats."""
        return jpeg.count_scans(self._data) if self.format == "jpeg" else 0

    def _open(self, data: bytes) -> ImageFile.ImageFile:
        if data.startswith(b"P") and not is_image(data[:HEAD_BYTES]):  # Pillow takes two letters of a text for a PNM
            raise NotAnImageError(f"not an image ({_NAMES})")
        if heif_format(data[:HEAD_BYTES]) == "heic":
            return open_heic(data)
        try:
            return open_image(data, _PLUGINS)
        except UnidentifiedImageError as exc:
            is_webp = data.startswith(b"RIFF") and b"WEBP".startswith(data[8:12])
            if is_image(data[:HEAD_BYTES]) or is_webp or data.startswith(b"BM"):
                raise TruncatedImageError("damaged or cut off in its header") from exc
            raise NotAnImageError(f"not an image ({_NAMES})") from exc

    def _open_tiff_page(self, page: int) -> TiffImagePlugin.TiffImageFile:
        if page > len(self._offsets):
            raise TruncatedImageError("damaged or cut off in its header")
        tags = self._read_tags(page)
        if not tags:
            raise TruncatedImageError("cut off: the directory of the page is missing")
        if (compression := tiff.unsupported_compression(tags)) is not None:
            raise UnsupportedImageError(f"unsupported compression ({compression})")
        return open_tiff_page(self._file, self._offsets[page - 1])

    def _read_tags(self, page: int) -> dict[int, tuple[int, ...]]:
        with self._file.getbuffer() as data:
            return tiff.read_directory(data, self._offsets[page - 1])


def has_end_mark(data: bytes) -> bool:
    """Return whether a JPEG, PNG, GIF or WebP ends as its format demands; bytes after the end count as no end mark."""
    if data.startswith(jpeg.SIGNATURE):
        return data.endswith(jpeg.END)
    if data.startswith(png.SIGNATURE):
        return data.endswith(png.END)
    if data.startswith(_GIF_SIGNATURES):
        return data.endswith(gif.END)
    return data.startswith(b"RIFF") and len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _describe_unsupported(data: bytes) -> str | None:
    """Return what a JPEG, PNG or BMP uses that no decoder here reads; None when its header says nothing against it."""
    if data.startswith(jpeg.SIGNATURE):
        variant = jpeg.describe_unsupported(data)
        return None if variant is None else f"variant ({variant})"
    if data.startswith(png.SIGNATURE) and data[12:16] == b"CgBI":
        return "variant (PNG for iOS)"
    if data.startswith(b"BM") and len(data) >= _BMP_HEADER_BYTES:
        header_bytes, _, _, _, bits, compression = struct.unpack_from("<IiiHHI", data, _BMP_FILE_HEADER_BYTES)
        if header_bytes in _BMP_LONG_HEADERS and compression > _BMP_BITFIELDS:
            return f"compression ({_BMP_COMPRESSIONS.get(compression, f'number {compression}')} in BMP)"
        if header_bytes in _BMP_LONG_HEADERS and bits not in _BMP_BITS:
            return f"samples ({bits} bits per pixel in BMP)"
    return None


def _has_codec(compression: int) -> bool:
    """Return whether libtiff was built with this compression, by writing an image with it."""
    try:
        Image.new("L", (16, 16)).save(BytesIO(), "TIFF", compression=TiffImagePlugin.COMPRESSION_INFO[compression])
    except OSError:
        return False
    return True
