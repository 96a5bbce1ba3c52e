"""One export: documents of the workspace, and the format's writer, which turns each into files or rows."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import orjson

from pipeline.batch.page_images import ImageReader, Images
from pipeline.export.destination import Destination, open_destination
from pipeline.export.documents import Document, Grouping, read_documents
from pipeline.export.selection import Split, Where
from pipeline.workspace.finished_pages import FinishedPage, ResultLines
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.snapshot import open_snapshot


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is exported.

    Attributes:
        workspace: The directory given to `-o`.
        destination: The file or folder that is written.
        where: The pages that are taken.
        grouping: What a document is.
        split: Shares of the documents; None for one whole.
        per_page: Whether text formats write a file per page.
        images: The pages' images beside their texts, in the formats that hold images.
        license_id: For the dataset card.
    """

    workspace: Path
    destination: Path
    where: Where = field(default_factory=Where)
    grouping: Grouping = "file"
    split: Split | None = None
    per_page: bool = False
    images: Images = "none"
    license_id: str = "unknown"

    def digest(self) -> bytes:
        """Return a digest of the options that the content of a unit depends on."""
        split = None if self.split is None else [dict(self.split.shares), self.split.seed]
        options = [repr(self.where), self.grouping, split, self.per_page, self.images]
        return blake2b(orjson.dumps(options), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export.

    Attributes:
        documents: Number of documents taken.
        pages: Number of their pages.
        written: Files written.
        unchanged: Documents or shards that were there already.
        removed: Files removed, because their pages are no longer taken.
        unreadable: Lines that are damaged, or that another program has changed; their pages are left out.
        missing: Pages whose image is not there, or not the one that was read.
    """

    documents: int = 0
    pages: int = 0
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    unreadable: int = 0
    missing: int = 0


Files = Iterator[tuple[str, Iterable[bytes]]]
"""Relative paths and contents."""


class DocumentWriter(Protocol):
    """A format with files for each document."""

    def files(self, document: Document, records: Iterator[ResultLine]) -> Files:
        """Yield the files of a document.

        Args:
            document: Its name, and where its pages are.
            records: Of its pages, in their order.
        """
        ...


class Records:
    """Reads the records of an export's documents.

    Args:
        lines: Of results.jsonl.
        images: Of the pages; None for a format without any.
    """

    def __init__(self, lines: ResultLines, images: ImageReader | None = None) -> None:
        self._lines = lines
        self._images = images
        self.pages = 0
        """Number of records read."""
        self.unreadable = 0
        """Number of lines that are damaged, or that another program has changed."""

    def __repr__(self) -> str:
        return f"<Records {self.pages} read>"

    @property
    def missing(self) -> int:
        """Number of images that are missing."""
        return 0 if self._images is None else self._images.missing

    def count_flaws(self) -> int:
        """Return the number of records and images that could not be read."""
        return self.unreadable + self.missing

    def read(self, pages: Iterable[FinishedPage]) -> Iterator[ResultLine]:
        """Yield the records of pages."""
        for page in pages:
            record = self._lines.read(page)
            if record is None:
                self.unreadable += 1
            else:
                self.pages += 1
                yield record


Count = Callable[[int], object]
"""Takes the number of pages that were just exported."""


def export_documents(
    job: ExportJob, form: str, writer: DocumentWriter, count: Count, images: ImageReader | None = None
) -> Exported:
    """Write the files of each document that is new or changed, and remove those of documents that are gone.

    Args:
        job: What is exported.
        form: The format's name.
        writer: Of the format.
        count: Called with the number of pages of each document.
        images: Of the pages, if the writer reads them.

    Raises:
        UsageError: the destination cannot be used.
        StorageError: the workspace cannot be read, or the destination not be written.
    """
    documents = known = 0
    options = job.digest()
    with (
        open_lines(job, images) as records,
        open_destination(job.destination, form, records.count_flaws) as destination,
    ):
        for document in select_documents(job, records):
            documents += 1
            known += len(document.pages)
            key = document.name.encode("utf-8", "surrogateescape")
            digest = options + document.digest()
            if not destination.is_current(key, digest):
                folder = "" if job.split is None else f"{job.split.choose(document.split_key())}/"
                files = writer.files(document, records.read(document.pages))
                destination.put(key, digest, ((folder + path, chunks) for path, chunks in files))
            count(len(document.pages))
        destination.remove_others()
    return conclude(destination, records, documents, known)


def conclude(destination: Destination, records: Records, documents: int, pages: int) -> Exported:
    """Return the result of an export into a folder."""
    return Exported(
        documents=documents,
        pages=pages,
        written=destination.written,
        unchanged=destination.unchanged,
        removed=destination.removed,
        unreadable=records.unreadable,
        missing=records.missing,
    )


@contextmanager
def open_lines(job: ExportJob, images: ImageReader | None = None) -> Generator[Records]:
    """Open the lines of the job's workspace."""
    with ResultLines(job.workspace) as lines:
        yield Records(lines, images)


def select_documents(job: ExportJob, records: Records) -> Iterator[Document]:
    """Yield the documents of the workspace, with the pages that the job takes; count the lines that hold none."""
    with open_snapshot(job.workspace) as index, ResultLines(job.workspace) as lines:
        damaged = {line.offset_bytes for line in index.damaged if line.file == RESULTS}
        edited = {line.offset_bytes for line in index.proofs.edited() if line.file == RESULTS}
        records.unreadable += len(damaged | edited)
        pages = (page for page in index.finished_pages(job.where.states) if _takes(job.where, page, lines))
        yield from read_documents(pages, job.grouping)


def _takes(where: Where, page: FinishedPage, lines: ResultLines) -> bool:
    """Return whether a page is taken; its line is read only for a condition on its score, which the index lacks."""
    if not where.takes(page):
        return False
    if page.is_checked or page.is_corrected:
        return where.takes_reviewed
    line = lines.read(page) if where.reads_quality else None
    return line is None or where.takes_quality(line.quality)  # an unreadable one is counted where its text is read
