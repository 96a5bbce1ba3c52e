"""Plain text: a tree of files that mirrors the input, one per document or one per page."""

from collections.abc import Iterable, Iterator

from pipeline.export.base import Count, Exported, ExportJob, Files, export_documents
from pipeline.export.documents import Document
from pipeline.export.names import export_path, page_path
from pipeline.workspace.result_lines import ResultLine

PAGE_BREAK = b"\f\n"
"""Form feed, as pdftotext and tesseract end a page."""


class TextWriter:
    """Writes texts in UTF-8; each text ends with a newline.

    Args:
        per_page: True for a file per page, with its number before the suffix when the file has several pages.
    """

    def __init__(self, *, per_page: bool) -> None:
        self._per_page = per_page

    def __repr__(self) -> str:
        return f"<TextWriter per {'page' if self._per_page else 'document'}>"

    def files(self, document: Document, records: Iterator[ResultLine]) -> Files:
        """Yield the text files of a document."""
        if not self._per_page:
            yield export_path(document.name or "pages", ".txt"), _join(records)
            return
        for record in records:
            yield page_path(document, record, ".txt"), [_encode(record.text)]


def _join(records: Iterable[ResultLine]) -> Iterator[bytes]:
    for number, record in enumerate(records):
        if number:
            yield PAGE_BREAK
        yield _encode(record.text)


def _encode(text: str) -> bytes:
    content = text.encode()
    return content if not content or content.endswith(b"\n") else content + b"\n"


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_documents`."""
    return export_documents(job, "txt", TextWriter(per_page=bool(job.per_page)), count)
