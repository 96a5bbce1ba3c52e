"""Searchable PDF: each page's image as it is, and its text, invisible, over it.

Pages are written in parts, and the parts are then joined, so that memory does not grow with a document's pages.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pikepdf import Array, Dictionary, Name, ObjectStreamMode, Page, Pdf, Stream

from pipeline.alignment import align
from pipeline.batch.line_positions import Size
from pipeline.batch.page_images import ImageReader, Images, PageImage
from pipeline.batch.placed_pages import PlacedPage, place
from pipeline.errors import UsageError
from pipeline.export.base import Count, Exported, ExportJob, Files
from pipeline.export.documents import Document
from pipeline.export.invisible_text import FONT, InvisibleFont, draw_line, number
from pipeline.export.names import export_path
from pipeline.export.page_pictures import Picture, add_picture
from pipeline.export.placing import export_placed
from pipeline.export.xml_text import xml_text
from pipeline.pixels.affine import orienting
from pipeline.pixels.orientation import rotation_deg, upright_size_px
from pipeline.positions import TextLine
from pipeline.workspace.result_lines import ResultLine

logger = logging.getLogger("pagemill")

_PAGES_PER_PART: Final = 20
_PARTS_AT_ONCE: Final = 20
_BLOCK_BYTES: Final = 1 << 20
_DEFAULT_DPI: Final = 300.0
"""Of an image that does not say."""
_MAX_EDGE_PT: Final = 14_400
"""Viewers refuse a larger page. Source: ISO 32000-1, annex C."""
_IMAGE: Final = Name("/Im0")


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a page of the PDF shows.

    Attributes:
        size_px: (width, height) of the page.
        lines: In px of the page.
        turned_deg: Clockwise turn that the image's own tag asks for; None for an image that is shown as it is stored.
        dpi: Its resolution, unless the image says one.
    """

    size_px: Size
    lines: Sequence[TextLine]
    turned_deg: int | None = None
    dpi: float = _DEFAULT_DPI


class PdfWriter:
    """Writes a file per document.

    Args:
        images: Of the pages; a page whose image is missing has its text only.
    """

    def __init__(self, images: ImageReader) -> None:
        self._images = images

    def __repr__(self) -> str:
        return f"<PdfWriter {self._images!r}>"

    def files(self, document: Document, records: Iterator[ResultLine]) -> Files:
        """Yield the file of a document."""
        pages = self._images.read((record, record) for record in records)
        with TemporaryDirectory() as folder:
            parts = list(_write_parts(Path(folder), pages, self._images))
            if parts:
                yield export_path(document.name or "pages", ".pdf"), _read(_join(parts))


_Page = tuple[ResultLine, PageImage | None]


def _write_parts(folder: Path, pages: Iterable[_Page], images: ImageReader) -> Iterator[Path]:
    remaining = iter(pages)
    at = 0
    while chunk := list(islice(remaining, _PAGES_PER_PART)):
        path = folder / f"{at:06}.pdf"
        with Pdf.new() as pdf:
            font = InvisibleFont()
            has_text = False
            for record, image in chunk:
                picture = None if image is None else _add_picture(pdf, image)
                images.missing += image is not None and picture is None
                frame = _frame(record, image, orients=images.orients)
                has_text |= _add_page(pdf, frame, picture, font)
            if has_text:
                _add_font(pdf, font)
            _save(pdf, path)
        yield path
        at += 1


def write_text_page(path: Path, size_px: Size, lines: Sequence[TextLine], dpi: float) -> None:
    """Write a PDF of one page that has nothing but invisible text.

    Args:
        path: The file.
        size_px: (width, height) of the page.
        lines: In px of the page.
        dpi: Its resolution.
    """
    with Pdf.new() as pdf:
        font = InvisibleFont()
        if _add_page(pdf, _Frame(size_px, lines, dpi=dpi), None, font):
            _add_font(pdf, font)
        _save(pdf, path)


def _add_font(pdf: Pdf, font: InvisibleFont) -> None:
    added = font.add_to(pdf)
    for page in pdf.pages:
        page.Resources.Font = Dictionary({str(FONT): added})


def _join(parts: Sequence[Path]) -> Path:
    """Join files into one, a few at a time, in the order given; a file of one part is that part."""
    while len(parts) > 1:
        joined = []
        for at in range(0, len(parts), _PARTS_AT_ONCE):
            target = parts[at].with_suffix(".joined")
            with ExitStack() as stack:
                pdf = stack.enter_context(Pdf.new())
                for part in parts[at : at + _PARTS_AT_ONCE]:
                    pdf.pages.extend(stack.enter_context(Pdf.open(part)).pages)
                _save(pdf, target)
            for part in parts[at : at + _PARTS_AT_ONCE]:
                part.unlink()
            joined.append(target.replace(parts[at]))
        parts = joined
    return parts[0]


def _save(pdf: Pdf, path: Path) -> None:
    pdf.save(path, object_stream_mode=ObjectStreamMode.generate, deterministic_id=True)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _frame(record: ResultLine, image: PageImage | None, *, orients: bool) -> _Frame:
    """Return the page as its image shows it: in px of the source, or of the image as sent.

    Args:
        record: Of the page.
        image: Of the page; None for one that is missing.
        orients: Whether runs turn pages by their tags: a record does not say so of a page that is only mirrored.
    """
    page = place(record, None if image is None else image.size_px)
    frame = _find_frame(page, record, image, orients=orients)
    return replace(frame, lines=align((), "\n".join(page.unplaced), frame.size_px)) if page.unplaced else frame


def _find_frame(page: PlacedPage, record: ResultLine, image: PageImage | None, *, orients: bool) -> _Frame:
    prep = image.prep if record.prep is None and image is not None else record.prep
    if prep is None:
        return _Frame(page.size_px, page.lines)
    if image is None or image.is_original or prep.tiles is not None:
        further_deg = 0 if prep.corrections is None else prep.corrections.turned_deg
        turned_deg = (prep.rotation_deg - further_deg) % 360
        return _Frame(page.size_px, page.lines, turned_deg if turned_deg or orients else None)
    return _Frame((prep.width_px, prep.height_px), record.lines or (), dpi=_DEFAULT_DPI * prep.scale)


def _add_page(pdf: Pdf, frame: _Frame, picture: Picture | None, font: InvisibleFont) -> bool:
    """Add a page; return whether it has a text."""
    dpi = picture.dpi if picture is not None and picture.dpi is not None else frame.dpi
    width, height = frame.size_px
    pt_per_px = min(72 / dpi, _MAX_EDGE_PT / max(width, height))
    content = b"" if picture is None else _draw_picture(picture, frame, pt_per_px)
    texts = [(line, xml_text(line.text)) for line in frame.lines]
    text = b"".join(draw_line(line, words, font, height, pt_per_px) for line, words in texts if words)
    if text:
        content += b"BT 3 Tr\n%bET\n" % text  # 3: neither filled nor stroked
    resources = Dictionary() if picture is None else Dictionary(XObject=Dictionary({str(_IMAGE): picture.stream}))
    page = Dictionary(
        Type=Name.Page,
        MediaBox=Array([0, 0, round(width * pt_per_px, 4), round(height * pt_per_px, 4)]),
        Resources=resources,
        Contents=pdf.make_indirect(Stream(pdf, content)),
    )
    pdf.pages.append(Page(pdf.make_indirect(page)))
    return bool(text)


def _add_picture(pdf: Pdf, image: PageImage) -> Picture | None:
    try:
        return add_picture(pdf, image.data)
    except Exception as exc:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
        logger.warning("%s image of a page left out: %s", image.suffix, exc)
        return None


def _draw_picture(picture: Picture, frame: _Frame, pt_per_px: float) -> bytes:
    """Return the operators that fill a page with a picture."""
    size_px, orientation = frame.size_px, picture.orientation
    if rotation_deg(orientation) != frame.turned_deg:
        orientation = 1  # the run had `orient = false`
    stored_px = upright_size_px(size_px, orientation)
    turned = orienting(stored_px, orientation)
    corners = []
    for x, y in ((0, stored_px[1]), (stored_px[0], stored_px[1]), (0, 0)):  # of the unit square: 0 0, 1 0, 0 1
        right, down = turned.map(x, y)
        corners.append((right * pt_per_px, (size_px[1] - down) * pt_per_px))
    (e, f), (right_x, right_y), (up_x, up_y) = corners
    matrix = (right_x - e, right_y - f, up_x - e, up_y - f, e, f)
    return f"q {' '.join(map(number, matrix))} cm {_IMAGE} Do Q\n".encode()


def export(job: ExportJob, count: Count) -> Exported:
    """Export, with the original images unless those that were sent are asked for; see `export_placed`.

    Raises:
        UsageError: it would have no images.
    """
    if job.images == "none":
        raise UsageError("--images none: a pdf shows its pages; choose sent or original")
    kind: Images = "sent" if job.images == "sent" else "original"
    with ImageReader(job.workspace, kind, takes_pdf=False) as images:
        return export_placed(job, "pdf", PdfWriter(images), count, images)
