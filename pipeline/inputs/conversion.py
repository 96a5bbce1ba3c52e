"""Convert the pages of image files into what the API accepts, in a worker process.

A `Converter` is the border: whatever a decoder does with a page becomes a message with the page's failure. A crash, a
hang or an exhausted memory of the process itself is left to the pool that owns it.
"""

import math
from contextlib import suppress
from typing import Final

from pipeline.convert.pdf import PdfFile
from pipeline.errors import (
    ConversionError,
    PageError,
    TruncatedImageError,
    UnreadableFileError,
    UnsupportedImageError,
)
from pipeline.inputs.content import CHANGED, OUT_OF_MEMORY, MappedFile, Place
from pipeline.inputs.conversion_messages import (
    Convert,
    Converted,
    Counted,
    CountPages,
    Cut,
    HashPixels,
    NoCallNeeded,
    NotConverted,
    PrepareSettings,
    Result,
    Task,
    TextFound,
)
from pipeline.inputs.cutting import MAX_KEPT_BYTES, CutPage, CutPageError, find_tiles
from pipeline.inputs.kinds import HEAD_BYTES, is_pdf
from pipeline.inputs.page_conversion import convert_page, convert_tile, hash_page
from pipeline.inputs.page_images import PageImages
from pipeline.inputs.pdf_scan import scan_size_px
from pipeline.inputs.tiling import ELONGATED, count_tiles
from pipeline.inputs.worth import NotWorthACallError

_PILLOW_OUT_OF_MEMORY: Final = frozenset({"decoder error -9", "out of memory when reading image file"})
"""Messages of the OSError that Pillow raises when an allocation of a decoder fails."""


_LONG: Final = ELONGATED / 2
"""A page is parsed for the size of its scan when it is longer than this many times its width: the pixels of a fax may
be twice as high as wide. A4 has 1.41, so the pages of most documents are counted without being read."""


class Converter:
    """Converts pages; keeps the last file open for its next page, and a page that is cut for its next tile."""

    def __init__(self) -> None:
        self._file: PageImages | PdfFile | None = None
        self._cut: CutPage | None = None
        self._content: MappedFile | None = None
        self._pages = 0
        """Number of pages of the last task's file; 0 when it is not known."""

    def __repr__(self) -> str:
        return f"<Converter {self._file!r}>"

    def run(self, task: Task) -> Result:
        """Return the result of a task; raises nothing."""
        result = self._run(task)
        if self._content is not None and self._content.has_changed:
            self._close()
            return NotConverted(UnreadableFileError.name, CHANGED, self._pages)
        if isinstance(task, Convert) and task.page >= self._pages and _is_last(task, result):
            self._close()  # it has no further page, and may be large
        return result

    def _run(self, task: Task) -> Result:
        self._pages = 0
        try:
            if isinstance(task, HashPixels):
                return hash_page(task)
            file = self._open(task.place)
            self._pages = file.pages
            return _count(file, task) if isinstance(task, CountPages) else self._convert(file, task)
        except NotWorthACallError as exc:
            return NoCallNeeded(exc.skipped, self._pages)
        except PageError as exc:
            error = exc
        except MemoryError:
            self._close()
            error = ConversionError(OUT_OF_MEMORY)
        except Exception as exc:  # noqa: BLE001 - decoders raise exceptions of any type for damaged files
            error = self._translate(task, exc)
            if self._file is not None and self._file.format != "tiff":
                self._close()  # a GIF whose frame failed may be in any state; the pages of a TIFF are independent
        return NotConverted(error.name, str(error), self._pages)

    def _convert(self, file: PageImages | PdfFile, task: Convert) -> Converted | Cut | TextFound:
        """Return a page, one tile of it, or where it is cut."""
        if self._cut is not None and self._cut.number != task.page:
            self._cut = None
        if self._cut is None or task.tile is None:
            try:
                converted = convert_page(file, task)
            except CutPageError as exc:
                self._cut = CutPage(task.page, exc.pixels, exc.rotation_deg)
                if task.tile is None:
                    return Cut(find_tiles(exc.cuts, exc.pixels), file.pages, exc.source_px)
            else:
                return converted
        try:
            return convert_tile(self._cut, task, file.pages)
        finally:
            if self._cut.pixels.kept_bytes > MAX_KEPT_BYTES:
                self._cut = None

    def _open(self, place: Place) -> PageImages | PdfFile:
        if self._file is None or self._content is None or place != self._content.place:
            self._close()
            self._content = content = MappedFile.open(place)
            self._file = PdfFile(content) if is_pdf(content[:HEAD_BYTES]) else PageImages(content)
        return self._file

    def _close(self) -> None:
        if isinstance(self._file, PdfFile):
            self._file.close()
        self._file, self._content, self._cut = None, None, None

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


def _is_last(task: Convert, result: Result) -> bool:
    """Return whether no tile of the page follows."""
    return not isinstance(result, Cut) and (task.tile is None or task.tile.number == task.tile.of)


def _count(file: PageImages | PdfFile, task: CountPages) -> Counted:
    """Return the number of pages; of a PDF, whose headers say no more, also that of the tiles of its long pages."""
    tiles: dict[int, int] = {}
    if isinstance(file, PdfFile):
        for number in range(1, file.pages + 1):
            with suppress(PageError):
                tiles[number] = _count_pdf_tiles(file, number, task.settings)
    return Counted(file.pages, {number: count for number, count in tiles.items() if count > 1})


def _count_pdf_tiles(file: PdfFile, number: int, settings: PrepareSettings) -> int:
    """Return the most tiles that a page may need: rendered, or as the scan that it seems to consist of.

    Raises:
        PageError: the page is sure to fail.
    """
    size_px = file.size_px(number, settings.pdf_dpi)
    tiles = count_tiles(size_px, settings.limits, max(settings.max_pixels, math.prod(size_px)))
    if max(size_px) <= _LONG * min(size_px):
        return tiles
    with file.open(number) as page:
        scan_px = scan_size_px(page)
    if scan_px is None or math.prod(scan_px) > settings.max_pixels:
        return tiles
    return max(tiles, count_tiles(scan_px, settings.limits, settings.max_pixels))
