"""The scan that a page of a PDF consists of: one image that covers the page, and nothing else that is visible.

Such an image is taken out as it is stored: rendering would scale it, and a JPEG would be encoded again. Decode arrays,
masks, clips and layers may make a viewer show something else than the image; so what was taken out is compared with a
small rendering of the page, and the page is rendered where they differ.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from PIL import Image, ImageChops, ImageOps

from pipeline.convert.pdf import POINTS_PER_INCH, PdfPage, without_colour
from pipeline.errors import TruncatedImageError
from pipeline.inputs.page_images import PageImages
from pipeline.pixels import jpeg
from pipeline.pixels.depth import flatten
from pipeline.pixels.orientation import TURNED_BY, read_orientation, turn_upright, upright_size_px

if TYPE_CHECKING:
    import pypdfium2

_TOLERANCE: Final = 0.01
"""Of the page's width and height, by which the edges of the image may be off the page's."""
_MAX_FORM_DEPTH: Final = 15
INVISIBLE: Final = 3
"""ISO 32000-1, 9.3.6: the text rendering mode of the text that OCR lays under a scan."""

_SMALL_PX: Final = 96
_BLOCK_PX: Final = 6
_OVERSAMPLING: Final = 4
"""The page is rendered, and a JPEG decoded, at this many times the size that is compared: PDFium places images at whole
pixels and sharpens a JPEG 2000 that it reduces, and the last pixel of a JPEG at 1/8 is a partial one."""
_MAX_MEAN, _MAX_BLOCK = 15, 50
"""Levels of 255 by which a scan may differ from the rendering at 96 px. Measured: at most 10 in the mean and 30 in a
block for the page's own pixels; at least 30 and 93 for wrong ones."""


class Matrix(NamedTuple):
    """A transformation: x' = a·x + c·y + e, y' = b·x + d·y + f. Source: ISO 32000-1, 8.3.4."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def then(self, other: "Matrix") -> "Matrix":
        """Return this transformation followed by another one."""
        return Matrix(
            self.a * other.a + self.b * other.c,
            self.a * other.b + self.b * other.d,
            self.c * other.a + self.d * other.c,
            self.c * other.b + self.d * other.d,
            self.e * other.a + self.f * other.c + other.e,
            self.e * other.b + self.f * other.d + other.f,
        )

    def covers(self, box: tuple[float, float, float, float]) -> bool:
        """Return whether an image is upright and covers the box: no more and no less, within the tolerance.

        Args:
            box: (left, bottom, right, top) in points.
        """
        left, bottom, right, top = box
        width, height = right - left, top - bottom
        if not (width > 0 and height > 0 and self.a > 0 and self.d > 0):
            return False
        off_x = (self.c, self.e - left, self.e + self.a - right)
        off_y = (self.b, self.f - bottom, self.f + self.d - top)
        limit_x, limit_y = _TOLERANCE * width, _TOLERANCE * height
        return all(abs(off) <= limit_x for off in off_x) and all(abs(off) <= limit_y for off in off_y)


@dataclass(frozen=True, slots=True)
class Scan:
    """The image that a page consists of, not turned yet.

    Attributes:
        image: Decoded, in mode L or RGB; None for a JPEG.
        jpeg: The file, when the image is stored as one that any reader shows as the PDF does.
        orientation: The EXIF orientation that stands for the page's /Rotate.
    """

    image: Image.Image | None
    jpeg: bytes | None
    orientation: int


def find_scan(page: PdfPage, max_pixels: int) -> Scan | None:
    """Return the scan that a page consists of; None when the page must be rendered.

    Args:
        page: The page.
        max_pixels: Most pixels of an image that is decoded.

    Raises:
        TruncatedImageError: the only image of the page cannot be decoded: a viewer would show an empty page.
    """
    found = _only_image(page)
    if found is None or math.prod(found.get_px_size()) > max_pixels:
        return None
    orientation = TURNED_BY.get(page.rotation_deg, 1)
    filters = _filters(found)
    expected = _render_small(page)
    if filters == ["DCTDecode"] and (stored := _stored_jpeg(found)) is not None:
        small = _shrink_jpeg(stored, expected.size, orientation)
        if small is not None and are_alike(turn_upright(small, orientation), expected):
            return Scan(None, stored, orientation=orientation)
    image = _bitmap(found)
    small = turn_upright(_shrink(image, expected.size, orientation), orientation)
    if are_alike(small, expected):
        return Scan(image, None, orientation=orientation)
    if are_alike(ImageOps.invert(small), expected):  # the bits of a stencil may stand for either
        return Scan(ImageOps.invert(image), None, orientation=orientation)
    return None


def scan_size_px(page: PdfPage) -> tuple[int, int] | None:
    """Return (width, height) of the upright scan that a page seems to consist of; None for none. Decodes nothing.

    Raises:
        TruncatedImageError: the page is damaged.
    """
    import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF

    try:
        found = _only_image(page)
        return None if found is None else upright_size_px(found.get_px_size(), TURNED_BY.get(page.rotation_deg, 1))
    except pypdfium2.PdfiumError as exc:
        raise TruncatedImageError("damaged: PDFium cannot read the page") from exc


def are_alike(one: Image.Image, other: Image.Image) -> bool:
    """Return whether two small images of equal size show the same page."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    channels = difference.split()
    most = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    blocks = most.reduce(_BLOCK_PX)
    mean = most.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    _, highest = blocks.getextrema()
    assert isinstance(mean, int | float)
    assert isinstance(highest, int | float)
    return mean <= _MAX_MEAN and highest <= _MAX_BLOCK


def _only_image(page: PdfPage) -> "pypdfium2.PdfImage | None":
    """Return the only image of a page that covers it, when nothing else on the page can be seen."""
    from pypdfium2 import raw  # noqa: PLC0415 - in the worker, with the first PDF

    if raw.FPDFPage_GetAnnotCount(page.raw) > 0:
        return None
    image = None
    for found in page.raw.get_objects(max_depth=_MAX_FORM_DEPTH):
        if found.type == raw.FPDF_PAGEOBJ_FORM:
            continue
        if found.type == raw.FPDF_PAGEOBJ_TEXT and raw.FPDFTextObj_GetTextRenderMode(found) == INVISIBLE:
            continue
        if found.type != raw.FPDF_PAGEOBJ_IMAGE or image is not None:
            return None
        image = found
    return image if image is not None and matrix_on_page(image).covers(page.raw.get_bbox()) else None


def matrix_on_page(found: "pypdfium2.PdfImage") -> Matrix:
    """Return the transformation of an object to the page, also from within forms."""
    matrix = Matrix(*found.get_matrix().get())
    while (found := found.container) is not None:
        matrix = matrix.then(Matrix(*found.get_matrix().get()))
    return matrix


def _stored_jpeg(found: "pypdfium2.PdfImage") -> bytes | None:
    """Return the JPEG that an image is stored as; None when it is neither grey nor RGB, or damaged."""
    data = bytes(found.get_data(decode_simple=True))
    data = data[: data.rfind(jpeg.END) + len(jpeg.END)]  # a line end may follow, which counts as part of the stream
    try:
        stored = PageImages(data)
        stored.check_complete()
        image = stored.open(1)
    except Exception:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
        return None
    is_plain = stored.format == "jpeg" and image.mode in {"L", "RGB"} and image.size == found.get_px_size()
    return data if is_plain and read_orientation(image) == 1 else None


def _shrink_jpeg(stored: bytes, upright_px: tuple[int, int], orientation: int) -> Image.Image | None:
    try:
        image = PageImages(stored).open(1)
        width_px, height_px = upright_size_px(upright_px, orientation)
        image.draft(
            None, (_OVERSAMPLING * width_px, _OVERSAMPLING * height_px)
        )  # decodes at 1/2, 1/4 or 1/8 of the size
        return _shrink(image, upright_px, orientation)
    except Exception:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
        return None


def _shrink(image: Image.Image, upright_px: tuple[int, int], orientation: int) -> Image.Image:
    size_px = upright_size_px(upright_px, orientation)
    # PDFium averages the pixels when it makes an image smaller, and interpolates when it makes it larger
    return image.resize(size_px, Image.Resampling.BOX if image.width > size_px[0] else Image.Resampling.BILINEAR)


def _filters(found: "pypdfium2.PdfImage") -> list[str]:
    """Return the names of the filters that compress an image; none where a name is damaged."""
    try:
        return list(found.get_filters(skip_simple=True))
    except UnicodeDecodeError:
        return []


def _bitmap(found: "pypdfium2.PdfImage") -> Image.Image:
    """Return the pixels of an image, without its masks, in mode L or RGB."""
    import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF

    try:
        image = flatten(found.get_bitmap().to_pil())
    except pypdfium2.PdfiumError as exc:
        raise TruncatedImageError("damaged: the image that the page consists of cannot be decoded") from exc
    return without_colour(image) if image.mode == "RGB" else image


def _render_small(page: PdfPage) -> Image.Image:
    """Return the page as it is shown, at 96 px."""
    shown_px = page.size_px(POINTS_PER_INCH)
    width_px, height_px = (max(1, round(edge * _SMALL_PX / max(shown_px))) for edge in shown_px)
    rendered = page.render((_OVERSAMPLING * width_px, _OVERSAMPLING * height_px))
    return rendered.resize((width_px, height_px), Image.Resampling.BOX)
