"""The columns of exports in table form: a row per page, in the order of documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pipeline.export.base import Count, ExportJob, Records, select_documents
from pipeline.wire import replace_surrogates
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.rows import PAGE_COLUMNS, page_values

COLUMNS: Final = ("source", "document", "page", "pages", "split", *PAGE_COLUMNS[2:])
"""`pages`: of the document, as far as they are exported."""


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
    source, page, *others = page_values(record)
    return (source, replace_surrogates(document), page, pages, split, *others)
