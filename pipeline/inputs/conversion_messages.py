"""The messages between a run and the worker processes that convert its pages."""

from dataclasses import dataclass

from msgspec import Struct

from pipeline.convert.frames import Ready
from pipeline.inputs.content import Place
from pipeline.inputs.fit import MAX_PIXELS
from pipeline.records import Prep
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
    """

    limits: Limits
    jpeg_quality: int = 92
    orient: bool = True
    max_pixels: int = MAX_PIXELS
    pdf_dpi: int = 300
    uses_text_layer: bool = False


class Convert(Struct, frozen=True, tag=True):
    """To the worker: convert a page.

    Attributes:
        place: Of the content.
        page: 1-based.
        settings: How.
    """

    place: Place
    page: int
    settings: PrepareSettings


class CountPages(Struct, frozen=True, tag=True):
    """To the worker: count the pages of a file without decoding any."""

    place: Place


class Converted(Struct, frozen=True, tag=True):
    """A page that the API accepts.

    Attributes:
        image: The encoded page; None when the file itself is sent.
        prep: How it was prepared.
        pages: Number of pages of the file.
    """

    image: bytes | None
    prep: Prep
    pages: int


class TextFound(Struct, frozen=True, tag=True):
    """The text that a page has already.

    Attributes:
        text: The text.
        pages: Number of pages of the file.
    """

    text: str
    pages: int


class Counted(Struct, frozen=True, tag=True):
    """The number of pages of a file."""

    pages: int


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


Task = Convert | CountPages
Result = Ready | Converted | TextFound | Counted | NotConverted
