"""One export: documents of the workspace, and the format's writer, which turns each into files or rows."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import orjson

from pipeline.batch.page_images import Images
from pipeline.export.destination import Destination, open_destination
from pipeline.export.documents import Document, Grouping, read_documents
from pipeline.export.selection import Split, Where
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage, ResultLines
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.snapshot import open_snapshot
from pipeline.workspace.source_names import encode_name

_Line = TypeVar("_Line", ResultLine, PageText)


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is exported.

    Attributes:
        workspace: The directory given to `-o`.
        destination: The file or folder that is written.
        where: The pages that are taken.
        grouping: What a document is.
        split: Shares of the documents; None for one whole.
        per_page: Whether txt writes a file per page; None for the format's default, as in the fields below.
        images: The pages' images beside their texts, in formats that hold images.
        license_id: For the dataset card of hf.
    """

    workspace: Path
    destination: Path
    where: Where = field(default_factory=Where)
    grouping: Grouping = "file"
    split: Split | None = None
    per_page: bool | None = None
    images: Images | None = None
    license_id: str | None = None

    def digest(self) -> bytes:
        """Return a digest of the options that the content of a unit depends on, and of the last resealing of lines."""
        split = None if self.split is None else [dict(self.split.shares), self.split.seed]
        resealed = require_workspace(self.workspace).resealed
        options = [repr(self.where), self.grouping, split, bool(self.per_page), self.images, resealed]
        return blake2b(orjson.dumps(options), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export.

    Attributes:
        documents: Number of documents taken.
        pages: Number of their pages whose records can be read.
        written: Files written.
        unchanged: Documents or shards that were there already.
        removed: Files removed, because their pages are no longer taken.
        unreadable: Lines that are damaged, or that another program has changed; their pages are left out.
        missing: Pages whose image is not there, or not the one that was read.
        without_positions: Pages of new and changed documents that were written as a block of text, in formats with
            positions.
        pending: Pages of the whole workspace, as in the next two, that no run has finished; none has a text.
        failed: Pages that have failed.
        uncertain: Pages whose call may have been billed.
    """

    documents: int = 0
    pages: int = 0
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    unreadable: int = 0
    missing: int = 0
    without_positions: int = 0
    pending: int = 0
    failed: int = 0
    uncertain: int = 0


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


class ImageCount(Protocol):
    """Reads images for an export."""

    @property
    def missing(self) -> int:
        """Number of images that are missing."""


class Records:
    """Reads the records of an export's documents.

    Args:
        lines: Of results.jsonl.
        images: Of the pages; None for a format without any.
    """

    def __init__(self, lines: ResultLines, images: ImageCount | None = None) -> None:
        self._lines = lines
        self._images = images
        self.pages = 0
        """Number of records read."""
        self.lost = 0
        """Number of records that could not be read."""
        self.unreadable = 0
        """Number of lines that are damaged, or that another program has changed."""
        self.totals: Mapping[State, int] = {}
        """Number of the workspace's pages by state, once the documents are selected."""

    def __repr__(self) -> str:
        return f"<Records {self.pages} read>"

    @property
    def missing(self) -> int:
        """Number of images that are missing."""
        return 0 if self._images is None else self._images.missing

    def count_flaws(self) -> int:
        """Return the number of records and images that could not be read."""
        return self.unreadable + self.missing

    def summarise(self, documents: int, pages: int) -> Exported:
        """Return the result of an export, but for its files."""
        without_text = {state.value: self.totals[state] for state in (State.PENDING, State.FAILED, State.UNCERTAIN)}
        return Exported(documents, pages, unreadable=self.unreadable, missing=self.missing, **without_text)

    def read(self, pages: Iterable[FinishedPage]) -> Iterator[ResultLine]:
        """Yield the records of pages."""
        return self._count(map(self._lines.read, pages))

    def read_texts(self, pages: Iterable[FinishedPage]) -> Iterator[PageText]:
        """Yield the texts of pages."""
        return self._count(map(self._lines.read_text, pages))

    def _count(self, lines: Iterable[_Line | None]) -> Iterator[_Line]:
        for line in lines:
            if line is None:
                self.lost += 1
                self.unreadable += 1
            else:
                self.pages += 1
                yield line


Count = Callable[[int], object]
"""Takes the number of pages that were just exported."""


Check = Callable[[Iterable[ResultLine]], None]
"""Takes the records that an export is going to write; raises UsageError when it cannot write one of them."""


def export_documents(
    job: ExportJob,
    form: str,
    writer: DocumentWriter,
    count: Count,
    *,
    check: Check | None = None,
    images: ImageCount | None = None,
) -> Exported:
    """Write the files of each document that is new or changed, and remove those of documents that are gone.

    Args:
        job: What is exported.
        form: The format's name.
        writer: Of the format.
        count: Called with the number of pages of each document.
        check: Of the format; before anything is written.
        images: Of the pages, if the writer reads them.

    Raises:
        UsageError: the destination cannot be used, or a record cannot be written.
        StorageError: the workspace cannot be read, or the destination not be written.
    """
    documents = known = 0
    options = job.digest()
    with (
        open_lines(job, images) as records,
        open_destination(job.destination, form, records.count_flaws) as destination,
    ):
        if check is not None:
            check(_read_unwritten(job, destination))
        for document in select_documents(job, records):
            documents += 1
            known += len(document.pages)
            key, digest = encode_name(document.name), options + document.digest()
            if not destination.is_current(key, digest):
                folder = "" if job.split is None else f"{job.split.choose(document.split_key())}/"
                files = _write_document(writer, document, records)
                destination.put(key, digest, ((folder + path, chunks) for path, chunks in files))
            count(len(document.pages))
        destination.remove_others()
    return conclude(destination, records, documents, known)


def _write_document(writer: DocumentWriter, document: Document, records: Records) -> Files:
    """Yield the files of a document; none when no record can be read: an empty one would be taken for its text."""
    found = records.read(document.pages)
    if (first := next(found, None)) is not None:
        yield from writer.files(document, chain([first], found))


def conclude(destination: Destination, records: Records, documents: int, pages: int) -> Exported:
    """Return the result of an export into a folder."""
    return replace(
        records.summarise(documents, pages - records.lost),
        written=destination.written,
        unchanged=destination.unchanged,
        removed=destination.removed,
    )


def _read_unwritten(job: ExportJob, destination: Destination) -> Iterator[ResultLine]:
    """Yield the records of the documents that are new or changed."""
    options = job.digest()
    with ResultLines(job.workspace) as lines:
        for document in select_documents(job, Records(lines)):
            if not destination.holds(encode_name(document.name), options + document.digest()):
                yield from Records(lines).read(document.pages)


@contextmanager
def open_lines(job: ExportJob, images: ImageCount | None = None) -> Generator[Records]:
    """Open the lines of the job's workspace."""
    with ResultLines(job.workspace) as lines:
        yield Records(lines, images)


def select_documents(job: ExportJob, records: Records) -> Iterator[Document]:
    """Yield the documents of the workspace, with the pages that the job takes; count the lines that hold none."""
    with open_snapshot(job.workspace) as index, ResultLines(job.workspace) as lines:
        records.unreadable += index.proofs.count_unreadable(RESULTS)
        records.totals = index.count_pages().totals
        pages = index.finished_pages(job.where.states)
        if job.where != Where(job.where.states):
            pages = (page for page in pages if _takes(job.where, page, lines))
        yield from read_documents(pages, job.grouping)


def _takes(where: Where, page: FinishedPage, lines: ResultLines) -> bool:
    """Return whether a page is taken; its line is read only for a condition on its score, which the index lacks."""
    if not where.takes(page):
        return False
    if page.is_checked or page.is_corrected:
        return where.takes_reviewed
    line = lines.read(page) if where.reads_quality else None
    return line is None or where.takes_quality(line.quality)  # an unreadable one is counted where its text is read
