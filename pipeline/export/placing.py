"""Exports of pages as their images show them: where the lines are, and of a page without positions, how large it is."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.batch.page_images import ImageReader
from pipeline.batch.placed_pages import PlacedPage, count_unplaced, lacks_size, name_pages, place
from pipeline.errors import UsageError
from pipeline.export.base import Count, DocumentWriter, Exported, ExportJob, Files, ImageCount, export_documents
from pipeline.export.documents import Document
from pipeline.workspace.result_lines import ResultLine

logger = logging.getLogger("pagemill")

_UNPLACED: Final = "no positions of the text, and no run can add them; written as one block that covers the page"


PlacedPages = Iterator[tuple[PlacedPage, ResultLine]]
"""Pages with their records."""


class _PlacedWriter:
    """Places the lines of records; of a page that no call has read, it reads the size from the image.

    A context manager.

    Args:
        workspace: The directory given to `-o`.
        write: Yields the files of a document.
    """

    def __init__(self, workspace: Path, write: Callable[[Document, PlacedPages], Files]) -> None:
        self._workspace = workspace
        self._write = write
        self._stack = ExitStack()
        self._images: ImageReader | None = None
        self._unreadable = 0

    def __repr__(self) -> str:
        return f"<_PlacedWriter {self._images!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def missing(self) -> int:
        """Number of images that were needed and are missing."""
        return self._unreadable + (0 if self._images is None else self._images.missing)

    def files(self, document: Document, records: Iterator[ResultLine]) -> Files:
        """Yield the files of a document."""
        return self._write(document, self._place(records))

    def _place(self, records: Iterator[ResultLine]) -> PlacedPages:
        for needs_image, run in groupby(records, lacks_size):
            if not needs_image:
                yield from ((place(record), record) for record in run)
            elif (images := self._open_images()) is not None:
                for record, image in images.read((record, record) for record in run):
                    yield place(record, None if image is None else image.size_px), record
            else:
                for record in run:
                    self._unreadable += 1
                    yield place(record), record

    def _open_images(self) -> ImageReader | None:
        """Return a reader of images; None when their folder is not there."""
        if self._images is None and not self._unreadable:
            try:
                self._images = self._stack.enter_context(ImageReader(self._workspace, "original"))
            except UsageError as exc:
                logger.warning("%s", exc)
        return self._images


def export_placed(
    job: ExportJob,
    form: str,
    writer: DocumentWriter,
    count: Count,
    images: ImageCount,
) -> Exported:
    """Export to a format with positions; see `export_documents`.

    Raises:
        UsageError: a text has no positions, and a run can add them.
    """
    unplaced = 0

    def check(records: Iterable[ResultLine]) -> None:
        nonlocal unplaced
        unplaced, first = count_unplaced(records)
        if first is not None:
            logger.warning("%s: %s", name_pages(first, unplaced), _UNPLACED)

    exported = export_documents(job, form, writer, count, check=check, images=images)
    return replace(exported, without_positions=unplaced)


def export_by_page(
    job: ExportJob, form: str, write: Callable[[Document, PlacedPages], Files], count: Count
) -> Exported:
    """Export to a format with positions and without images; see `export_placed`.

    Args:
        job: What is exported.
        form: The format's name.
        write: Yields the files of a document.
        count: Called with the number of pages of each document.
    """
    with _PlacedWriter(job.workspace, write) as writer:
        return export_placed(job, form, writer, count, writer)
