"""The messages between a run and the worker processes that convert its pages."""

from dataclasses import dataclass

from msgspec import Struct

from pipeline.convert.frames import Ready
from pipeline.inputs.content import Place
from pipeline.inputs.fit import MAX_PIXELS
from pipeline.members import Member
from pipeline.records import Prep
from pipeline.skipped import Skipped
from pipeline.tiles import Tile
from pipeline.wire import Limits


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """How pages are made to fit.

    Attributes:
        limits: Sizes that the service accepts.
        jpeg_quality: Quality of pages that are encoded as JPEG.
        orient: Whether to turn pages by their EXIF orientation. Pillow always applies a TIFF's own tag.
        max_pixels: Most pixels of a page that is decoded.
        pdf_dpi: Resolution at which pages of a PDF are rendered.
        uses_text_layer: Whether the text that a page of a PDF has already takes the place of a call.
        skips_blank: Whether pages on which nothing could be text are skipped, so that every page is decoded.
        records_size: Whether the size of the source is recorded: to find equal pixels, or to place lines in it.
        skips_below_px: Images with a longer edge below this are skipped.
        auto_rotate: Whether to turn pages so that their text is upright.
        deskew: Whether to turn pages so that their lines are level.
        contrast: Whether to make the ink of faint pages black and their paper white.
    """

    limits: Limits
    jpeg_quality: int = 92
    orient: bool = True
    max_pixels: int = MAX_PIXELS
    pdf_dpi: int = 300
    uses_text_layer: bool = False
    skips_blank: bool = False
    skips_below_px: int = 0
    records_size: bool = False
    auto_rotate: bool = False
    deskew: bool = False
    contrast: bool = False

    @property
    def corrects(self) -> bool:
        """Whether each page is decoded, also one that fits, because it may have to be corrected."""
        return self.auto_rotate or self.deskew or self.contrast


class Convert(Struct, frozen=True, tag=True):
    """To the worker: convert a page.

    Attributes:
        place: Of the content.
        page: 1-based.
        settings: How.
        tile: The part of the page to convert; None for the whole page, or to learn its tiles.
    """

    place: Place
    page: int
    settings: PrepareSettings
    tile: Tile | None = None


class CountPages(Struct, frozen=True, tag=True):
    """To the worker: count the pages of a file without decoding any."""

    place: Place
    settings: PrepareSettings


class HashPixels(Struct, frozen=True, tag=True):
    """To the worker: hash the pixels of a page of a file that may have changed since it was recorded.

    Attributes:
        path: Of the file, as bytes.
        sha256: Of the content that was recorded.
        page: 1-based.
        settings: How pages are prepared.
        member: Where its bytes are when the path is that of an archive's member.
    """

    path: bytes
    sha256: str
    page: int
    settings: PrepareSettings
    member: Member | None = None


class Converted(Struct, frozen=True, tag=True):
    """A page that the API accepts.

    Attributes:
        image: The encoded page; None when the file itself is sent.
        prep: How it was prepared.
        pages: Number of pages of the file.
        source_px: (width, height) of the upright page before it was scaled; None for a page of a PDF.
    """

    image: bytes | None
    prep: Prep
    pages: int
    source_px: tuple[int, int] | None = None


class PixelsHashed(Struct, frozen=True, tag=True):
    """The hash of a page's pixels; empty for a page that cannot be compared."""

    sha256: str


class TextFound(Struct, frozen=True, tag=True):
    """The text that a page has already.

    Attributes:
        text: The text.
        pages: Number of pages of the file.
    """

    text: str
    pages: int


class Cut(Struct, frozen=True, tag=True):
    """A page that needs several calls; each of its tiles is converted by itself.

    Attributes:
        tiles: Of the page.
        pages: Number of pages of the file.
        source_px: As in `Converted`.
    """

    tiles: tuple[Tile, ...]
    pages: int
    source_px: tuple[int, int] | None = None


class NoCallNeeded(Struct, frozen=True, tag=True):
    """A page that is not worth a call.

    Attributes:
        skipped: Why.
        pages: Number of pages of the file.
    """

    skipped: Skipped
    pages: int


class Counted(Struct, frozen=True, tag=True):
    """The number of pages of a file.

    Attributes:
        pages: Their number.
        tiles: Of a PDF, the number of tiles of each page that is cut, by its number.
    """

    pages: int
    tiles: dict[int, int] = {}


class NotConverted(Struct, frozen=True, tag=True):
    """The page has failed.

    Attributes:
        error: Name of the error's class.
        message: One line for a person, without the name of the file.
        pages: Number of pages of the file; 0 when it is not known.
    """

    error: str
    message: str
    pages: int


Task = Convert | CountPages | HashPixels
Result = Ready | Converted | Cut | TextFound | NoCallNeeded | Counted | PixelsHashed | NotConverted
