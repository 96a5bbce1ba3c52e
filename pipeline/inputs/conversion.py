"""Convert the pages of image files into what the API accepts, in a worker process.

A `Converter` is the border: whatever a decoder does with a page becomes a message with the page's failure. A crash, a
hang or an exhausted memory of the process itself is left to the pool that owns it.
"""

import hashlib
import math
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
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
from pipeline.inputs.archives.reading import read_member
from pipeline.inputs.conversion_messages import (
    Convert,
    Converted,
    Counted,
    CountPages,
    Cut,
    HashPixels,
    NoCallNeeded,
    NotConverted,
    PixelsHashed,
    PrepareSettings,
    Result,
    Task,
    TextFound,
)
from pipeline.inputs.cutting import MAX_KEPT_BYTES, CutPage, CutPageError, DecodedPage, RenderedPage, find_tiles
from pipeline.inputs.encoding import encode, make_fit
from pipeline.inputs.fit import Fit, fit
from pipeline.inputs.kinds import HEAD_BYTES, is_pdf
from pipeline.inputs.page_images import PageImages
from pipeline.inputs.pdf import PdfFile, PdfPage
from pipeline.inputs.pdf_scan import Scan, find_scan
from pipeline.inputs.pdf_text import find_text
from pipeline.inputs.tiling import count_tiles, plan_cuts
from pipeline.inputs.worth import NotWorthACallError, require_ink, require_size
from pipeline.members import Member
from pipeline.pixels.decoding import decode
from pipeline.pixels.identity import hash_pixels
from pipeline.pixels.jpeg import MAX_SCANS
from pipeline.pixels.orientation import read_orientation, rotation_deg, turn_upright, upright_size_px
from pipeline.records import Prep
from pipeline.storage.files import read_stable

MAX_FILE_BYTES: Final = 1 << 30
"""A file is read into memory as a whole; a larger one could exhaust the memory of the process."""

_OUT_OF_MEMORY: Final = "ran out of memory while it was decoded"
_PILLOW_OUT_OF_MEMORY: Final = frozenset({"decoder error -9", "out of memory when reading image file"})
"""Messages of the OSError that Pillow raises when an allocation of a decoder fails."""


def read_content(path: bytes, member: Member | None) -> bytes:
    """Return the bytes of a file, or of an archive's member.

    Raises:
        PageError: it cannot be read; see `read_stable` and `read_member`.
        NoDescriptorsError: the process has no file descriptor left.
    """
    if member is not None:
        return read_member(member, MAX_FILE_BYTES)
    return read_stable(Path(os.fsdecode(path)), MAX_FILE_BYTES)


class Converter:
    """Converts pages; keeps the last file open for its next page, and a page that is cut for its next tile."""

    def __init__(self) -> None:
        self._sha256 = ""
        self._file: PageImages | PdfFile | None = None
        self._cut: CutPage | None = None

    def __repr__(self) -> str:
        return f"<Converter {self._file!r}>"

    def run(self, task: Task) -> Result:
        """Return the result of a task; raises nothing."""
        pages = 0
        try:
            file = self._open(task)
            pages = file.pages
            match task:
                case CountPages():
                    return _count(file, task)
                case HashPixels():
                    return _hash_page(file, task)
                case Convert():
                    return self._convert(file, task)
        except NotWorthACallError as exc:
            return NoCallNeeded(exc.skipped, pages)
        except PageError as exc:
            error = exc
        except MemoryError:
            self._close()
            error = ConversionError(_OUT_OF_MEMORY)
        except Exception as exc:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
            error = self._translate(task, exc)
            if self._file is not None and self._file.format != "tiff":
                self._close()  # a GIF whose frame failed may be in any state; the pages of a TIFF are independent
        return NotConverted(error.name, str(error), pages)

    def _convert(self, file: PageImages | PdfFile, task: Convert) -> Converted | Cut | TextFound:
        """Return a page, one tile of it, or where it is cut."""
        if self._cut is not None and self._cut.number != task.page:
            self._cut = None
        if self._cut is None or task.tile is None:
            try:
                converted = _convert_page(file, task)
            except CutPageError as exc:
                self._cut = CutPage(task.page, exc.pixels, exc.rotation_deg)
                if task.tile is None:
                    return Cut(find_tiles(exc.cuts, exc.pixels), file.pages, exc.source_px)
            else:
                return converted
        try:
            return _convert_tile(self._cut, task, file.pages)
        finally:
            if self._cut.pixels.kept_bytes > MAX_KEPT_BYTES:
                self._cut = None

    def _open(self, task: Task) -> PageImages | PdfFile:
        if self._file is None or task.sha256 != self._sha256:
            self._close()
            data = read_content(task.path, task.member)
            if hashlib.sha256(data).hexdigest() != task.sha256:
                raise UnreadableFileError("changed while it was read")
            self._file = PdfFile(data) if is_pdf(data[:HEAD_BYTES]) else PageImages(data)
            self._sha256 = task.sha256
        return self._file

    def _close(self) -> None:
        if isinstance(self._file, PdfFile):
            self._file.close()
        self._file, self._sha256, self._cut = None, "", None

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
            return ConversionError(_OUT_OF_MEMORY)
        if isinstance(exc, OSError | SyntaxError | ValueError) and text:
            return TruncatedImageError(f"damaged or cut off: {text}")
        return TruncatedImageError(f"damaged: {type(exc).__name__} {text}".rstrip())


def _count(file: PageImages | PdfFile, task: CountPages) -> Counted:
    """Return the number of pages; of a PDF, whose headers say no more, also that of the tiles of its long pages."""
    tiles: dict[int, int] = {}
    if isinstance(file, PdfFile):
        settings = task.settings
        for number in range(1, file.pages + 1):
            with suppress(PageError):
                size_px = file.size_px(number, settings.pdf_dpi)
                tiles[number] = count_tiles(size_px, settings.limits, max(settings.max_pixels, math.prod(size_px)))
    return Counted(file.pages, {number: count for number, count in tiles.items() if count > 1})


def _convert_tile(cut: CutPage, task: Convert, pages: int) -> Converted:
    """Return one tile of a page."""
    assert task.tile is not None
    size_px, settings = task.tile.size_px, task.settings
    needed = fit(size_px, settings.limits, math.prod(size_px))
    converted = _encode(cut.pixels.fit(task.tile.box, needed), size_px, needed, settings)
    return Converted(converted.image, replace(converted.prep, rotation_deg=cut.rotation_deg), pages)


def _convert_page(file: PageImages | PdfFile, task: Convert) -> Converted | TextFound:
    """Return a page.

    Raises:
        CutPageError: it needs several calls.
    """
    settings = task.settings
    if isinstance(file, PdfFile):
        return _convert_pdf_page(file, task.page, settings)
    image = file.open(task.page)
    require_size(image.size, settings)
    orientation = read_orientation(image)
    turned_deg = rotation_deg(orientation)
    if file.format == "tiff":
        orientation = 1  # Pillow applies a TIFF's tag when it decodes, and reports the size of the upright page
    elif not settings.orient:
        orientation, turned_deg = 1, 0
    source_px = upright_size_px(image.size, orientation)
    try:
        converted = _convert_image(file, task.page, image, settings, orientation)
    except CutPageError as exc:
        exc.rotation_deg, exc.source_px = turned_deg, source_px
        raise
    return Converted(converted.image, replace(converted.prep, rotation_deg=turned_deg), file.pages, source_px)


def _hash_page(file: PageImages | PdfFile, task: HashPixels) -> PixelsHashed:
    if isinstance(file, PdfFile):
        return PixelsHashed("")
    turns = task.settings.orient and file.format != "tiff"
    orientation = read_orientation(file.open(task.page)) if turns else 1
    return PixelsHashed(hash_pixels(lambda: file.open(task.page), orientation) or "")


def _convert_pdf_page(file: PdfFile, number: int, settings: PrepareSettings) -> Converted | TextFound:
    """Take the text or the scan out of a page that consists of it, else render the page."""
    with file.open(number) as page:
        if settings.uses_text_layer and (text := find_text(page)) is not None:
            return TextFound(text, file.pages)
        scan = find_scan(page, settings.max_pixels)
        try:
            converted = _render(file, page, number, settings) if scan is None else _convert_scan(scan, settings)
        except CutPageError as exc:
            exc.rotation_deg = page.rotation_deg
            raise
        return Converted(converted.image, replace(converted.prep, rotation_deg=page.rotation_deg), file.pages)


def _render(file: PdfFile, page: PdfPage, number: int, settings: PrepareSettings) -> Converted:
    size_px = page.size_px(settings.pdf_dpi)
    max_pixels = max(settings.max_pixels, math.prod(size_px))  # it is rendered as it is scaled
    if (cuts := plan_cuts(size_px, settings.limits, max_pixels)) is not None:
        raise CutPageError(cuts, RenderedPage(file, number, size_px))
    needed = fit(size_px, settings.limits, max_pixels)
    image = page.render(needed.scaled_px)
    require_ink(image, settings)
    return _encode(make_fit(image, needed, 1), size_px, needed, settings)


def _convert_scan(scan: Scan, settings: PrepareSettings) -> Converted:
    if scan.jpeg is not None:
        file = PageImages(scan.jpeg)
        converted = _convert_image(file, 1, file.open(1), settings, scan.orientation)
        return Converted(scan.jpeg if converted.image is None else converted.image, converted.prep, 1)
    assert scan.image is not None
    size_px = upright_size_px(scan.image.size, scan.orientation)
    require_ink(scan.image, settings)
    if (cuts := plan_cuts(size_px, settings.limits, settings.max_pixels)) is not None:
        raise CutPageError(cuts, DecodedPage(turn_upright(scan.image, scan.orientation)))
    needed = fit(size_px, settings.limits, settings.max_pixels)
    image = make_fit(scan.image, needed, scan.orientation)
    return _encode(image, size_px, needed, settings)


def _convert_image(
    file: PageImages, number: int, image: ImageFile.ImageFile, settings: PrepareSettings, orientation: int
) -> Converted:
    """Return a page as it is where that is possible, else encoded; without its rotation."""
    source_px = upright_size_px(image.size, orientation)
    try:
        cuts = plan_cuts(source_px, settings.limits, settings.max_pixels)
        needed = None if cuts is not None else fit(source_px, settings.limits, settings.max_pixels)
    except UnfittableImageError:
        decode(lambda: image)  # a damaged header may announce any size, and damage is the better reason
        raise
    if (scans := file.count_scans()) > MAX_SCANS:
        raise ConversionError(f"{scans} scans; a JPEG of more than {MAX_SCANS} takes too long to decode")
    file.check_complete()
    is_opaque = not image.has_transparency_data  # else a text may be as white as the paper below it
    if cuts is not None:
        decoded = _decode_page(file, image, number, image.size)
        if is_opaque:
            require_ink(decoded, settings)
        raise CutPageError(cuts, DecodedPage(turn_upright(decoded, orientation)))
    assert needed is not None
    if orientation == 1 and needed.untouched and file.is_sendable(settings.limits.max_bytes):
        prep = Prep(file.format, *image.size, bytes=file.size_bytes)
        if settings.skips_blank and is_opaque:
            _judge_file(file, image, number, settings)
        elif not file.has_end_mark:
            image.load()
        return Converted(None, prep, file.pages)
    decoded = _decode_page(file, image, number, upright_size_px(needed.scaled_px, orientation))
    if is_opaque:
        require_ink(decoded, settings)
    return _encode(make_fit(decoded, needed, orientation), source_px, needed, settings)


def _judge_file(file: PageImages, image: ImageFile.ImageFile, number: int, settings: PrepareSettings) -> None:
    """Raise NotWorthACallError when the page of a file that is sent as it is is blank."""
    try:
        page = _decode_page(file, image, number, image.size)
    except Exception:
        if not file.has_end_mark:
            raise
        return  # without the setting, it would be sent without a look
    require_ink(page, settings)


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
