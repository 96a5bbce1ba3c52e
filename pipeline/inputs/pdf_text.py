"""The text that a page of a PDF has already, where it is good enough to take the place of a call."""

from typing import TYPE_CHECKING, Final

from pipeline.convert.pdf import PdfPage
from pipeline.inputs.pdf_scan import INVISIBLE, matrix_on_page

if TYPE_CHECKING:
    import pypdfium2

_MIN_CHARACTERS: Final = 32
"""A page number or a stamp is no page's text: the rest may be drawn as lines and areas."""
_MAX_UNREADABLE: Final = 0.01
"""Share of characters that stand for none, as fonts without a Unicode table give them."""
_MAX_IMAGE: Final = 0.5
"""Share of the page's area that images cover: above it the page is a scan, and its visible text a stamp on it."""
_LINE_END_HYPHENS: Final = str.maketrans({"\x02": "-", "\ufffe": "-", "\u00ad": "-"})
"""What PDFium returns for a hyphen at the end of a line."""


def find_text(page: PdfPage) -> str | None:
    """Return the text of a page that consists of visible text; None when the page must be recognised.

    That is so when images cover more than half of it, when it has annotations other than links, when less than 32
    characters are visible, or when more than 1 % of the characters stand for none.
    """
    if _has_annotations(page) or not _consists_of_text(page):
        return None
    opened = page.raw.get_textpage()
    try:
        text = str(opened.get_text_range())
        unmapped = _count_unmapped(opened)
    finally:
        opened.close()
    text = "\n".join(line.rstrip() for line in text.translate(_LINE_END_HYPHENS).splitlines()).strip()
    return text if is_readable(text, unmapped) else None


def is_readable(text: str, unmapped: int) -> bool:
    """Return whether a text layer is a text rather than garbage.

    Args:
        text: The layer.
        unmapped: Number of its characters whose font does not say what they stand for.
    """
    characters = [character for character in text if not character.isspace()]
    bad = sum(not character.isprintable() or character == "\ufffd" for character in characters)
    return len(characters) >= _MIN_CHARACTERS and max(bad, unmapped) <= _MAX_UNREADABLE * len(characters)


def _has_annotations(page: PdfPage) -> bool:
    from pypdfium2 import raw  # noqa: PLC0415 - in the worker, with the first PDF

    for index in range(raw.FPDFPage_GetAnnotCount(page.raw)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, index)
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        if kind not in {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP}:
            return True
    return False


def _consists_of_text(page: PdfPage) -> bool:
    """Return whether all text is visible, and images cover at most half of the page.

    Invisible text was laid under a scan by OCR of unknown quality.
    """
    from pypdfium2 import raw  # noqa: PLC0415 - in the worker, with the first PDF

    left, bottom, right, top = page.raw.get_bbox()
    covered = 0.0
    for found in page.raw.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_IMAGE]):
        if found.type == raw.FPDF_PAGEOBJ_TEXT:
            if raw.FPDFTextObj_GetTextRenderMode(found) == INVISIBLE:
                return False
            continue
        matrix = matrix_on_page(found)
        covered += abs(matrix.a * matrix.d - matrix.b * matrix.c)
    return bool(covered <= _MAX_IMAGE * (right - left) * (top - bottom))


def _count_unmapped(opened: "pypdfium2.PdfTextPage") -> int:
    from pypdfium2 import raw  # noqa: PLC0415 - in the worker, with the first PDF

    return sum(raw.FPDFText_HasUnicodeMapError(opened, index) == 1 for index in range(opened.count_chars()))
