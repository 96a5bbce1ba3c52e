"""Convert the pages of image files into what the API accepts, in a worker process.

A `Converter` is the border: whatever a decoder does with a page becomes a message with the page's failure. A crash, a
hang or an exhausted memory of the process itself is left to the pool that owns it.
"""

import math
from dataclasses import replace
from typing import Final

from PIL import Image, ImageFile

from pipeline.errors import (
    ConversionError,
    PageError,
    TruncatedImageError,
    UnfittableImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from pipeline.inputs.content import CHANGED, OUT_OF_MEMORY, MappedFile
from pipeline.inputs.conversion_messages import (
    Convert,
    Converted,
    Counted,
    CountPages,
    NotConverted,
    PrepareSettings,
    Task,
    TextFound,
)
from pipeline.inputs.encoding import encode, make_fit
from pipeline.inputs.fit import Fit, fit
from pipeline.inputs.kinds import HEAD_BYTES, is_pdf
from pipeline.inputs.page_images import PageImages
from pipeline.inputs.pdf import PdfFile, PdfPage
from pipeline.inputs.pdf_scan import Scan, find_scan
from pipeline.inputs.pdf_text import find_text
from pipeline.pixels.decoding import decode
from pipeline.pixels.jpeg import MAX_SCANS
from pipeline.pixels.orientation import read_orientation, rotation_deg, upright_size_px
from pipeline.records import Prep

_PILLOW_OUT_OF_MEMORY: Final = frozenset({"decoder error -9", "out of memory when reading image file"})
"""Messages of the OSError that Pillow raises when an allocation of a decoder fails."""


class Converter:
    """Converts pages; keeps the last file open for its next page."""

    def __init__(self) -> None:
        self._file: PageImages | PdfFile | None = None
        self._content: MappedFile | None = None

    def __repr__(self) -> str:
        return f"<Converter {self._file!r}>"

    def run(self, task: Task) -> Converted | TextFound | Counted | NotConverted:
        """Return the result of a task; raises nothing."""
        result = self._run(task)
        if self._content is not None and self._content.has_changed:
            self._close()
            return NotConverted(UnreadableFileError.name, CHANGED, result.pages)
        if isinstance(task, Convert) and task.page >= result.pages:
            self._close()  # it has no further page, and may be large
        return result

    def _run(self, task: Task) -> Converted | TextFound | Counted | NotConverted:
        pages = 0
        try:
            file = self._open(task)
            pages = file.pages
            return Counted(pages) if isinstance(task, CountPages) else _convert_page(file, task)
        except PageError as exc:
            error = exc
        except MemoryError:
            self._close()
            error = ConversionError(OUT_OF_MEMORY)
        except Exception as exc:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
            error = self._translate(task, exc)
            if self._file is not None and self._file.format != "tiff":
                self._close()  # a GIF whose frame failed may be in any state; the pages of a TIFF are independent
        return NotConverted(error.name, str(error), pages)

    def _open(self, task: Task) -> PageImages | PdfFile:
        if self._file is None or self._content is None or task.place != self._content.place:
            self._close()
            self._content = content = MappedFile.open(task.place)
            self._file = PdfFile(content) if is_pdf(content[:HEAD_BYTES]) else PageImages(content)
        return self._file

    def _close(self) -> None:
        if isinstance(self._file, PdfFile):
            self._file.close()
        self._file, self._content = None, None

    def _translate(self, task: Task, exc: Exception) -> PageError:
        """Return the failure that an exception of a decoder means for the page."""
        if isinstance(self._file, PageImages) and isinstance(task, Convert):
            variant = self._file.explain(task.page, exc)
            if variant is not None:
                return UnsupportedImageError(f"unsupported {variant}")
        if isinstance(exc, SyntaxError) and exc.args and isinstance(exc.args[0], Exception):
            exc = exc.args[0]  # Pillow wraps what goes wrong in a header
        text = " ".join(str(exc).split())[:120]
        if isinstance(exc, OSError) and text in _PILLOW_OUT_OF_MEMORY:
            return ConversionError(OUT_OF_MEMORY)
        if isinstance(exc, OSError | SyntaxError | ValueError) and text:
            return TruncatedImageError(f"damaged or cut off: {text}")
        return TruncatedImageError(f"damaged: {type(exc).__name__} {text}".rstrip())


def _convert_page(file: PageImages | PdfFile, task: Convert) -> Converted | TextFound:
    settings = task.settings
    if isinstance(file, PdfFile):
        return _convert_pdf_page(file, task.page, settings)
    image = file.open(task.page)
    orientation = read_orientation(image)
    turned_deg = rotation_deg(orientation)
    if file.format == "tiff":
        orientation = 1  # Pillow applies a TIFF's tag when it decodes, and reports the size of the upright page
    elif not settings.orient:
        orientation, turned_deg = 1, 0
    converted = _convert_image(file, task.page, image, settings, orientation)
    return Converted(converted.image, replace(converted.prep, rotation_deg=turned_deg), file.pages)


def _convert_pdf_page(file: PdfFile, number: int, settings: PrepareSettings) -> Converted | TextFound:
    """Take the text or the scan out of a page that consists of it, else render the page."""
    with file.open(number) as page:
        if settings.uses_text_layer and (text := find_text(page)) is not None:
            return TextFound(text, file.pages)
        scan = find_scan(page, settings.max_pixels)
        converted = _render(page, settings) if scan is None else _convert_scan(scan, settings)
        return Converted(converted.image, replace(converted.prep, rotation_deg=page.rotation_deg), file.pages)


def _render(page: PdfPage, settings: PrepareSettings) -> Converted:
    size_px = page.size_px(settings.pdf_dpi)
    needed = fit(size_px, settings.limits, max(settings.max_pixels, math.prod(size_px)))  # rendered when it is scaled
    return _encode(make_fit(page.render(needed.scaled_px), needed, 1), size_px, needed, settings)


def _convert_scan(scan: Scan, settings: PrepareSettings) -> Converted:
    if scan.jpeg is not None:
        file = PageImages(scan.jpeg)
        converted = _convert_image(file, 1, file.open(1), settings, scan.orientation)
        return Converted(scan.jpeg if converted.image is None else converted.image, converted.prep, 1)
    assert scan.image is not None
    size_px = upright_size_px(scan.image.size, scan.orientation)
    needed = fit(size_px, settings.limits, settings.max_pixels)
    image = make_fit(scan.image, needed, scan.orientation)
    return _encode(image, size_px, needed, settings)


def _convert_image(
    file: PageImages, number: int, image: ImageFile.ImageFile, settings: PrepareSettings, orientation: int
) -> Converted:
    """Return a page as it is where that is possible, else encoded; without its rotation."""
    try:
        needed = fit(upright_size_px(image.size, orientation), settings.limits, settings.max_pixels)
    except UnfittableImageError:
        decode(lambda: image)  # a damaged header may announce any size, and damage is the better reason
        raise
    if (scans := file.count_scans()) > MAX_SCANS:
        raise ConversionError(f"{scans} scans; a JPEG of more than {MAX_SCANS} takes too long to decode")
    file.check_complete()
    if orientation == 1 and needed.untouched and file.is_sendable(settings.limits.max_bytes):
        if not file.has_end_mark:
            image.load()
        return Converted(None, Prep(file.format, *image.size, bytes=file.size_bytes), file.pages)
    source_px = upright_size_px(image.size, orientation)
    decoded = _decode_page(file, image, number, upright_size_px(needed.scaled_px, orientation))
    return _encode(make_fit(decoded, needed, orientation), source_px, needed, settings)


def _decode_page(file: PageImages, image: ImageFile.ImageFile, number: int, least_px: tuple[int, int]) -> Image.Image:
    """Return a page in mode L or RGB, of its size or of a fraction that is at least `least_px`, as stored."""
    if min(image.width // least_px[0], image.height // least_px[1]) > 1 and file.can_be_reduced:
        try:
            return decode(lambda: file.open_smaller(number, least_px))
        except OSError:  # a JPEG 2000 may have fewer resolutions than that
            if file.format == "jpeg":
                raise
    unused = [image]
    return decode(lambda: unused.pop() if unused else file.open(number))


def _encode(page: Image.Image, source_px: tuple[int, int], needed: Fit, settings: PrepareSettings) -> Converted:
    """Encode a page that was made to fit."""
    encoded = encode(page, needed.scale, settings.limits, settings.jpeg_quality)
    # A page that the encoder had to shrink has another scale than the one that was needed.
    scale = needed.scale if encoded.size_px == needed.padded_px else encoded.size_px[0] / source_px[0]
    return Converted(encoded.data, Prep(encoded.format, *encoded.size_px, len(encoded.data), round(scale, 6)), 1)
