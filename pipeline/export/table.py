"""The columns of exports in table form: a row per page, in the order of documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.export.base import Count, ExportJob, Records, select_documents
from pipeline.wire import replace_surrogates
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.reviewed import is_reviewed

COLUMNS: Final = (
    "source", "document", "page", "pages", "split", "state", "text", "characters", "id", "sha256", "duplicate_of",
    "text_from", "checked", "original_text", "score", "in_doubt", "format", "width_px", "height_px", "scale",
    "rotation_deg", "host", "added", "elapsed_ms", "meta",
)  # fmt: skip
"""`pages`: of the document, as far as they are exported; `checked`: when a person marked the text as checked;
`original_text`: of a text that a person wrote; `meta`: the manifest's further fields, as JSON."""


@dataclass(slots=True)
class Rows:
    """The rows of an export; counts what it yields.

    Attributes:
        job: What is exported.
        records: Reads them.
        count: Called with the number of pages of each document.
        documents: Number of documents so far.
    """

    job: ExportJob
    records: Records
    count: Count
    documents: int = 0

    def read(self) -> Iterator[tuple[Any, ...]]:
        """Yield the values of `COLUMNS` of each page."""
        for document in select_documents(self.job, self.records):
            self.documents += 1
            split = None if self.job.split is None else self.job.split.choose(document.split_key())
            for record in self.records.read_texts(document.pages):
                yield row(document.name, len(document.pages), record, split)
            self.count(len(document.pages))


def row(document: str, pages: int, record: PageText, split: str | None) -> tuple[Any, ...]:
    """Return the values of `COLUMNS` of a page.

    Args:
        document: Name of its document.
        pages: Number of the document's pages.
        record: Of the page.
        split: Name of its split.
    """
    prep, quality, review = record.prep, record.quality, record.review
    original = None if review is None else review.original
    return (
        record.source,
        replace_surrogates(document),
        record.page,
        pages,
        split,
        record.state.value,
        record.text,
        len(record.text),
        record.id,
        record.sha256,
        record.duplicate_of,
        record.text_from or "service",
        None if review is None else review.checked,
        None if original is None else original.text,
        None if quality is None else quality.score,
        None if quality is None else quality.is_in_doubt and not is_reviewed(record),
        None if prep is None else prep.format,
        None if prep is None else prep.width_px,
        None if prep is None else prep.height_px,
        None if prep is None else prep.scale,
        None if prep is None else prep.rotation_deg,
        record.reply.host,
        record.added,
        record.elapsed_ms,
        None if record.meta is None else orjson.dumps(record.meta).decode(),
    )
