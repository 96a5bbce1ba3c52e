"""A process that renders pages of PDFs: `python -m pipeline.server.workers.pdf_worker --memory-bytes N`.

It reads tasks from stdin and writes results to its original stdout; it exits at the end of stdin. It runs at a low
priority, because rendering is free of charge and the engine's workers are not to wait for it.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import Final

import msgspec
from PIL import Image

from pipeline.convert.child import process_tasks
from pipeline.convert.pdf import POINTS_PER_INCH, PdfFile
from pipeline.errors import ConversionError, EncryptedFileError, TruncatedImageError
from pipeline.server.workers.pdf_messages import (
    DocumentMissing,
    NotRendered,
    PageRendered,
    PagesCounted,
    PdfResult,
    PdfTask,
)
from pipeline.wire import Limits

LIMITS: Final = Limits()
DPI: Final = 300
"""Resolution where the page then fits: that of `[prepare] pdf_dpi`."""

_JPEG_QUALITIES: Final = (90, 75, 50)
"""The next lower one is used where the file would be too large. Noise of 4000×4000 px fits at 50."""
_NICENESS: Final = 10
_ALL_WHITE: Final = (255, 255)
"""The extrema of a page in mode L; a page of another mode has a colour."""


class PageRenderer:
    """Renders pages of one document at a time."""

    def __init__(self) -> None:
        self._document = ""
        self._file: PdfFile | None = None

    def run(self, task: PdfTask) -> PdfResult:
        """Return the result of a task; whatever is wrong with the document is a result, too."""
        try:
            file = self._open(task)
            if file is None:
                return DocumentMissing()
            return PagesCounted(file.pages) if task.page == 0 else PageRendered(render_page(file, task.page))
        except Exception as exc:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
            return NotRendered(describe(exc))

    def _open(self, task: PdfTask) -> PdfFile | None:
        if task.document != self._document:
            if self._file is not None:
                self._file.close()
            self._document, self._file = "", None
            if task.content is None:
                return None
            self._file = PdfFile(task.content)
            self._document = task.document
        return self._file


def describe(error: Exception) -> str:
    """Return what is wrong with a document or a page, and what to do."""
    match error:
        case EncryptedFileError():
            return "needs a password: save it without one, then choose it again"
        case TruncatedImageError():
            return "is damaged: open it in a viewer and save it anew, then choose that file"
        case ConversionError():
            return str(error)
        case MemoryError():
            return "needs too much memory"
        case _:
            return "cannot be rendered"


def render_page(file: PdfFile, number: int) -> bytes:
    """Return a page as a JPEG within the API's limits; its edges are below the least one only where no scale helps.

    Args:
        file: The document.
        number: 1-based.

    Raises:
        TruncatedImageError: the page is damaged.
        ConversionError: it has an image and shows nothing: PDFium leaves out what it cannot decode.
    """
    with file.open(number) as page:
        image = page.render(choose_size(page.size_px(POINTS_PER_INCH)))
        if image.getextrema() == _ALL_WHITE and page.has_images:
            raise ConversionError("shows nothing: it is blank, or its image cannot be decoded")
    for quality in _JPEG_QUALITIES:
        encoded = _encode(image, quality)
        if len(encoded) <= LIMITS.max_bytes:
            break
    return encoded


def choose_size(size_pt: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) in px: at `DPI` where that is within the API's limits, else as near to it as they allow.

    Args:
        size_pt: (width, height) of the page in points, each at least 1.
    """
    least, most = LIMITS.min_edge_px / min(size_pt), LIMITS.max_edge_px / max(size_pt)
    scale = min(max(DPI / POINTS_PER_INCH, least), most)
    width_px, height_px = (min(LIMITS.max_edge_px, max(1, round(edge * scale))) for edge in size_pt)
    return width_px, height_px


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)  # halved colour resolution would blur coloured type
    return buffer.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Process tasks until stdin ends.

    Args:
        arguments: The command line without the program.
    """
    with suppress(OSError):
        os.nice(_NICENESS)
    process_tasks(arguments, msgspec.msgpack.Decoder(PdfTask), PageRenderer().run)


if __name__ == "__main__":
    main(sys.argv[1:])
