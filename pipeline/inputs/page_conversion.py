"""Convert one page of a file: taken as it is, cut, corrected, or scaled and encoded; skipped where it is blank."""

import math
from dataclasses import replace

from PIL import Image, ImageFile

from pipeline.convert.pdf import PdfFile, PdfPage
from pipeline.errors import ConversionError, UnfittableImageError, UnreadableFileError
from pipeline.inputs.content import CHANGED, MAX_FILE_BYTES, read_content
from pipeline.inputs.conversion_messages import Convert, Converted, HashPixels, PixelsHashed, PrepareSettings, TextFound
from pipeline.inputs.correction import Correction, Source, correct, describe, find_correction
from pipeline.inputs.cutting import CutPage, CutPageError, DecodedPage, RenderedPage
from pipeline.inputs.encoding import encode, make_fit
from pipeline.inputs.fit import Fit, fit
from pipeline.inputs.kinds import HEAD_BYTES, is_pdf
from pipeline.inputs.page_images import PageImages
from pipeline.inputs.pdf_scan import Scan, find_scan
from pipeline.inputs.pdf_text import find_text
from pipeline.inputs.tiling import plan_cuts
from pipeline.inputs.worth import require_ink, require_size
from pipeline.pixels.affine import scaling
from pipeline.pixels.decoding import decode
from pipeline.pixels.identity import hash_pixels
from pipeline.pixels.jpeg import MAX_SCANS
from pipeline.pixels.orientation import read_orientation, rotation_deg, turn_upright, upright_size_px
from pipeline.records import Prep


def convert_page(file: PageImages | PdfFile, task: Convert) -> Converted | TextFound:
    """Return a page.

    Raises:
        CutPageError: it needs several calls.
        NotWorthACallError: it needs none.
        PageError: it cannot be sent.
        Exception: whatever a decoder raises.
    """
    settings = task.settings
    if isinstance(file, PdfFile):
        return _convert_pdf_page(file, task.page, settings)
    image = file.open(task.page)
    require_size(image.size, settings)
    tag = read_orientation(image)
    if file.format == "tiff":  # Pillow applies a TIFF's tag when it decodes, and reports the size of the upright page
        source, turned_deg = Source(upright_size_px(image.size, tag), decoded_as=tag), rotation_deg(tag)
    elif settings.orient:
        source, turned_deg = Source(image.size, orientation=tag), rotation_deg(tag)
    else:
        source, turned_deg = Source(image.size), 0
    try:
        converted = _convert_image(file, task.page, image, settings, source)
    except CutPageError as exc:
        exc.rotation_deg, exc.source_px = turned_deg, source.upright_px()
        raise
    return _turned(converted, turned_deg, file.pages, source.upright_px())


def convert_tile(cut: CutPage, task: Convert, pages: int) -> Converted:
    """Return one tile of a page.

    Args:
        cut: The page.
        task: Names the tile.
        pages: Number of pages of the file.
    """
    assert task.tile is not None
    size_px, settings = task.tile.size_px, task.settings
    needed = fit(size_px, settings.limits, math.prod(size_px))
    converted = _encode(cut.pixels.fit(task.tile.box, needed), size_px, needed, settings)
    return Converted(converted.image, replace(converted.prep, rotation_deg=cut.rotation_deg), pages)


def hash_page(task: HashPixels) -> PixelsHashed:
    """Return the hash of a page's pixels; an empty one for a page of a PDF.

    Raises:
        UnreadableFileError: the content is no longer that which was recorded.
        PageError: it cannot be read.
        Exception: whatever a decoder raises.
    """
    read = read_content(task.path, task.member, MAX_FILE_BYTES)
    if read.sha256 != task.sha256:
        raise UnreadableFileError(CHANGED)
    if is_pdf(read.content[:HEAD_BYTES]):
        return PixelsHashed("")
    file = PageImages(read.content)
    turns = task.settings.orient and file.format != "tiff"
    orientation = read_orientation(file.open(task.page)) if turns else 1
    return PixelsHashed(hash_pixels(lambda: file.open(task.page), orientation) or "")


def _turned(converted: Converted, turned_deg: int, pages: int, source_px: tuple[int, int] | None = None) -> Converted:
    """Return a page with the clockwise turn that its file asked for, before the one that made its text upright."""
    prep = replace(converted.prep, rotation_deg=(turned_deg + converted.prep.rotation_deg) % 360)
    return Converted(converted.image, prep, pages, source_px)


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
        return _turned(converted, page.rotation_deg, file.pages)


def _render(file: PdfFile, page: PdfPage, number: int, settings: PrepareSettings) -> Converted:
    size_px = page.size_px(settings.pdf_dpi)
    max_pixels = max(settings.max_pixels, math.prod(size_px))  # it is rendered as it is scaled
    if (cuts := plan_cuts(size_px, settings.limits, max_pixels)) is not None:
        raise CutPageError(cuts, RenderedPage(file, number, size_px))
    needed = fit(size_px, settings.limits, max_pixels)
    image = page.render(needed.scaled_px)
    require_ink(image, settings)
    return _correct_and_encode(image, Source(size_px), needed, settings)


def _convert_scan(scan: Scan, settings: PrepareSettings) -> Converted:
    if scan.jpeg is not None:
        file = PageImages(scan.jpeg)
        image = file.open(1)
        converted = _convert_image(file, 1, image, settings, Source(image.size, orientation=scan.orientation))
        return Converted(scan.jpeg if converted.image is None else converted.image, converted.prep, 1)
    assert scan.image is not None
    require_ink(scan.image, settings)
    source = Source(scan.image.size, orientation=scan.orientation)
    if (cuts := plan_cuts(source.upright_px(), settings.limits, settings.max_pixels)) is not None:
        raise CutPageError(cuts, DecodedPage(turn_upright(scan.image, scan.orientation)))
    needed = fit(source.upright_px(), settings.limits, settings.max_pixels)
    return _correct_and_encode(scan.image, source, needed, settings)


def _convert_image(
    file: PageImages, number: int, image: ImageFile.ImageFile, settings: PrepareSettings, source: Source
) -> Converted:
    """Return a page as it is where that is possible, else encoded; without the turn that its file asks for."""
    upright_px = source.upright_px()
    try:
        cuts = plan_cuts(upright_px, settings.limits, settings.max_pixels)
        needed = None if cuts is not None else fit(upright_px, settings.limits, settings.max_pixels)
    except UnfittableImageError:
        decode(lambda: image)  # a damaged header may announce any size, and damage is the better reason
        raise
    if (scans := file.count_scans()) > MAX_SCANS:
        raise ConversionError(f"{scans} scans; a JPEG of more than {MAX_SCANS} takes too long to decode")
    file.check_complete()
    is_judged = settings.skips_blank and not image.has_transparency_data  # else a text may be as white as its paper
    if cuts is not None:
        decoded = _decode_page(file, image, number, image.size)
        if is_judged:
            require_ink(decoded, settings)
        raise CutPageError(cuts, DecodedPage(turn_upright(decoded, source.orientation)))
    assert needed is not None
    unchanged = None
    if source.orientation == 1 and needed.untouched and file.is_sendable(settings.limits.max_bytes):
        unchanged = Converted(None, Prep(file.format, *source.decoded_px(), bytes=file.size_bytes), file.pages)
        if not settings.corrects:
            if is_judged:
                _judge_file(file, image, number, settings)
            elif not file.has_end_mark:
                image.load()
            return unchanged
    decoded = _decode_page(file, image, number, upright_size_px(needed.scaled_px, source.orientation))
    if is_judged:
        require_ink(decoded, settings)
    return _correct_and_encode(decoded, source, needed, settings, unchanged)


def _judge_file(file: PageImages, image: ImageFile.ImageFile, number: int, settings: PrepareSettings) -> None:
    """Raise NotWorthACallError when the page of a file that is sent as it is is blank."""
    try:
        page = _decode_page(file, image, number, image.size)
    except Exception:
        if not file.has_end_mark:
            raise
        return  # without the setting, it would be sent without a look
    require_ink(page, settings)


def _correct_and_encode(
    page: Image.Image, source: Source, needed: Fit, settings: PrepareSettings, unchanged: Converted | None = None
) -> Converted:
    """Return a decoded page corrected where that is asked for and needed; else as it is, where that is possible."""
    correction = find_correction(page, source, settings) if settings.corrects else Correction()
    if correction:
        return _encode_corrected(page, source, correction, settings)
    if unchanged is not None:
        return unchanged
    return _encode(make_fit(page, needed, source.orientation), source.upright_px(), needed, settings)


def _encode_corrected(
    page: Image.Image, source: Source, correction: Correction, settings: PrepareSettings
) -> Converted:
    made = correct(page, source, correction, settings.limits)
    encoded = encode(made.image, made.scale, settings.limits, settings.jpeg_quality)
    shrunk = scaling(made.image.size, encoded.size_px)
    corrections = describe(correction, made.from_source.then(shrunk))
    scale = round(made.scale * shrunk.a, 6)
    rotation_deg = correction.turned_deg
    prep = Prep(
        encoded.format, *encoded.size_px, len(encoded.data), scale, rotation_deg=rotation_deg, corrections=corrections
    )
    return Converted(encoded.data, prep, 1)


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
