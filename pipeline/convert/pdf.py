"""The pages of a PDF, rendered.

PDFium crashes when threads share it, so it runs in worker processes only. It is imported when the first PDF is opened.
"""

import ctypes
import mmap
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from PIL import Image, ImageChops

from pipeline.errors import EncryptedFileError, TruncatedImageError, UnsupportedImageError

if TYPE_CHECKING:
    import pypdfium2

POINTS_PER_INCH: Final = 72
"""ISO 32000-1, 8.3.2.3: the default unit of user space."""

_ERROR_PASSWORD, _ERROR_SECURITY = 4, 5
"""FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY of fpdfview.h."""
_PAGES_PER_OPENING: Final = 32
"""Pages after which a PDF is opened anew: PDFium keeps the objects of each page, its images included, in memory."""
_SMALLER: Final = 4
"""A large page is rendered at a quarter of its size first. A page that shows no colour there is rendered in grey, which
takes a third of the time; a mark of fewer than 16 coloured pixels may become grey."""
_LEAST_SMALL_PX: Final = 250
_WHITE: Final = (255, 255, 255, 255)


class PdfFile:
    """The pages of one PDF, which stays open; nothing but its cross-reference table is read before a page is opened.

    Args:
        content: The whole file; a writable mapping is not written to.

    Raises:
        EncryptedFileError: it needs a password.
        TruncatedImageError: it is damaged.
        UnsupportedImageError: PDFium is not installed.
    """

    format: Final = "pdf"

    def __init__(self, content: bytes | mmap.mmap) -> None:
        # ctypes hands the memory to PDFium; nothing is copied
        self._data = content if isinstance(content, bytes) else (ctypes.c_char * len(content)).from_buffer(content)
        self._document = _open_document(self._data)
        self._opened_pages = 0
        self.pages = len(self._document)

    def __repr__(self) -> str:
        return f"<PdfFile, {self.pages} pages>"

    def close(self) -> None:
        """Free the memory of the document."""
        self._document.close()

    def size_px(self, page: int, dpi: float) -> tuple[int, int]:
        """Return (width, height) of a page as it is shown, each at least 1, without parsing its content.

        Args:
            page: 1-based.
            dpi: Resolution.

        Raises:
            TruncatedImageError: it is damaged.
        """
        import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF

        try:
            return _to_px(self._document.get_page_size(page - 1), dpi)
        except pypdfium2.PdfiumError as exc:
            raise TruncatedImageError("damaged: PDFium cannot load the page") from exc

    def open(self, page: int) -> "PdfPage":
        """Return a page with its content parsed.

        Args:
            page: 1-based.

        Raises:
            TruncatedImageError: it is damaged.
        """
        import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF

        if self._opened_pages == _PAGES_PER_OPENING:
            self._document.close()
            self._document, self._opened_pages = _open_document(self._data), 0
        self._opened_pages += 1
        try:
            return PdfPage(self._document[page - 1], self._document.formenv)
        except (pypdfium2.PdfiumError, IndexError) as exc:
            raise TruncatedImageError("damaged: PDFium cannot load the page") from exc


class PdfPage:
    """An open page; a context manager that closes it."""

    def __init__(self, page: "pypdfium2.PdfPage", forms: "pypdfium2.PdfFormEnv | None") -> None:
        self.raw = page
        """Of pypdfium2."""
        self._forms = forms

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raw.close()

    @property
    def rotation_deg(self) -> int:
        """The clockwise rotation with which the page is shown: 0, 90, 180 or 270."""
        return int(self.raw.get_rotation())

    @property
    def has_images(self) -> bool:
        """Whether there is an image on the page, outside its forms."""
        from pypdfium2 import raw  # noqa: PLC0415 - in the worker, with the first PDF

        return any(True for _ in self.raw.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=1))

    def size_px(self, dpi: float) -> tuple[int, int]:
        """Return (width, height) of the page as it is shown, each at least 1."""
        return _to_px(self.raw.get_size(), dpi)

    def render(
        self, size_px: tuple[int, int], *, whole_px: tuple[int, int] | None = None, at_px: tuple[int, int] = (0, 0)
    ) -> Image.Image:
        """Return the page, or a part of it, as a viewer shows it, with its annotations and forms, in mode L or RGB.

        Args:
            size_px: (width, height) of the image.
            whole_px: (width, height) of the whole page when the image is a part of it.
            at_px: Place of the part in the whole page: (left, top).
        """
        small_px = (size_px[0] // _SMALLER, size_px[1] // _SMALLER)
        if min(small_px) < _LEAST_SMALL_PX or whole_px is not None:
            return without_colour(self._draw(size_px, "RGB", whole_px or size_px, at_px))
        return self._draw(size_px, without_colour(self._draw(small_px, "RGB", small_px)).mode, size_px)

    def _draw(
        self, size_px: tuple[int, int], mode: str, whole_px: tuple[int, int], at_px: tuple[int, int] = (0, 0)
    ) -> Image.Image:
        import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF
        from pypdfium2 import raw  # noqa: PLC0415

        pixels, flags = (raw.FPDFBitmap_Gray, raw.FPDF_GRAYSCALE) if mode == "L" else (raw.FPDFBitmap_BGR, 0)
        bitmap = pypdfium2.PdfBitmap.new_native(*size_px, pixels)
        try:
            bitmap.fill_rect(_WHITE, 0, 0, *size_px)
            place = (bitmap, self.raw, -at_px[0], -at_px[1], *whole_px, 0, raw.FPDF_ANNOT | flags)
            raw.FPDF_RenderPageBitmap(*place)
            if self._forms:
                raw.FPDF_FFLDraw(self._forms, *place)
            image: Image.Image = bitmap.to_pil()
            return image
        finally:
            bitmap.close()


def _to_px(size_pt: tuple[float, float], dpi: float) -> tuple[int, int]:
    scale = dpi / POINTS_PER_INCH
    return max(1, round(size_pt[0] * scale)), max(1, round(size_pt[1] * scale))


def without_colour(image: Image.Image) -> Image.Image:
    """Return an RGB image in mode L when all its pixels are grey, else the image."""
    red, green, blue = image.split()
    for other in (green, blue):
        if ImageChops.difference(red, other).getbbox() is not None:
            return image
    return red


def is_installed() -> bool:
    """Return whether PDFium is installed: the extra `pdf`."""
    return find_spec("pypdfium2") is not None


def _open_document(data: "bytes | ctypes.Array[ctypes.c_char]") -> "pypdfium2.PdfDocument":
    """Return the document of pypdfium2."""
    if not is_installed():
        raise UnsupportedImageError(
            "a PDF needs the extra pdf: pip install 'pagemill[pdf]', then send it with: pagemill retry"
        )
    import pypdfium2  # noqa: PLC0415 - in the worker, with the first PDF

    try:
        document = pypdfium2.PdfDocument(data)
        document.init_forms()  # before the first page is loaded
    except pypdfium2.PdfiumError as exc:
        if exc.err_code in {_ERROR_PASSWORD, _ERROR_SECURITY}:
            raise EncryptedFileError("encrypted: the PDF needs a password; save it without one") from exc
        raise TruncatedImageError("damaged: PDFium cannot open the PDF") from exc
    if len(document) == 0:
        raise TruncatedImageError("damaged: a PDF without pages")
    return document
