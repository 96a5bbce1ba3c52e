"""Messages between the server and the process that renders pages of PDFs."""

from typing import Final

import msgspec
from msgspec import Struct

from pipeline.convert.frames import Ready


class PdfTask(Struct, frozen=True, tag=True):
    """Count the pages of a document, or render one.

    Attributes:
        document: Its id; the process keeps the last document that it opened.
        page: 1-based; 0 counts the pages.
        content: The file; None when the process should have it already.
    """

    document: str
    page: int
    content: bytes | None = None


class PagesCounted(Struct, frozen=True, tag=True):
    """The number of pages of a document, at least 1."""

    pages: int


class PageRendered(Struct, frozen=True, tag=True):
    """A page as a JPEG within the API's limits for edges and bytes."""

    image: bytes


class DocumentMissing(Struct, frozen=True, tag=True):
    """The process does not have the document: send it again."""


class NotRendered(Struct, frozen=True, tag=True):
    """The document or the page cannot be rendered.

    Attributes:
        reason: What is wrong with it, after "the PDF" or "page 1 of the PDF".
    """

    reason: str


PdfResult = Ready | PagesCounted | PageRendered | DocumentMissing | NotRendered

PDF_RESULT: Final = msgspec.msgpack.Decoder(PdfResult)
