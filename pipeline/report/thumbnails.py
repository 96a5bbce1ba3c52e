"""The thumbnails in the list of pages: made in worker processes, and kept for the next report."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from anyio.from_thread import start_blocking_portal

from pipeline.batch.page_images import ImageReader, PageImage
from pipeline.convert.command import module_command
from pipeline.convert.pool import ConversionPool, PoolOptions
from pipeline.convert.resources import read_machine
from pipeline.errors import ConversionError
from pipeline.report.folder import create_folder, list_names, write_file
from pipeline.report.pages import ReportPage
from pipeline.report.pictures import PictureKind, stem_of
from pipeline.report.thumbnail_worker import Result, Shrink, Shrunk

if TYPE_CHECKING:
    from concurrent.futures import Future

FOLDER: Final = "thumbnails"
_SUFFIX: Final = ".jpg"
_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Of a worker: the images of pages, which fit 4000 px and 10 MB by default, take 0.2 GB at most."""
_TIMEOUT_S: Final = 30.0
_AHEAD: Final = 8


class Thumbnails:
    """The thumbnails of a report.

    Args:
        report: The report's folder.
        is_wanted: False has none.
    """

    def __init__(self, report: Path, *, is_wanted: bool) -> None:
        self._folder, self._is_wanted = report / FOLDER, is_wanted
        self._made = set(list_names(self._folder))
        self._used: set[str] = set()

    def __repr__(self) -> str:
        return f"<Thumbnails {len(self._made)} made>"

    def find(self, page: ReportPage) -> str | None:
        """Return the URL of a page's thumbnail, relative to the report; None for none."""
        stem = stem_of(page, PictureKind.SENT)
        if not self._is_wanted or stem not in self._made:
            return None
        self._used.add(stem)
        return f"{FOLDER}/{stem}{_SUFFIX}"

    def make(self, workspace: Path, pages: Iterable[ReportPage], tick: Callable[[], object]) -> None:
        """Make the thumbnails that are not there yet.

        Args:
            workspace: The directory.
            pages: All pages of the report.
            tick: Called for each page that was looked at.

        Raises:
            UsageError: the files of the workspace are not where they were.
            StorageError: a thumbnail cannot be written.
        """
        if not self._is_wanted:
            return
        create_folder(self._folder)
        with ImageReader(workspace, "sent") as reader:
            for stem, image in _shrink_all(reader.read(self._missing(pages, tick))):
                whole = self._folder / f".{stem}.new"  # which a kill may cut short
                write_file(whole, image)
                whole.replace(self._folder / f"{stem}{_SUFFIX}")
                self._made.add(stem)

    def remove_others(self) -> None:
        """Remove the thumbnails that no page has any more."""
        for stem in self._made - self._used if self._is_wanted else ():
            (self._folder / f"{stem}{_SUFFIX}").unlink(missing_ok=True)

    def _missing(self, pages: Iterable[ReportPage], tick: Callable[[], object]) -> Iterator[tuple[str, ReportPage]]:
        asked: set[str] = set()
        for page in pages:
            tick()
            stem = stem_of(page, PictureKind.SENT)
            if page.id is not None and stem not in self._made and stem not in asked:
                asked.add(stem)
                yield stem, page


def _shrink_all(images: Iterable[tuple[str, PageImage | None]]) -> Iterator[tuple[str, bytes]]:
    """Yield the thumbnails of images, a few of which are taken ahead."""
    command = module_command("pipeline.report.thumbnail_worker", "--memory-bytes", str(_MEMORY_BYTES))
    options = PoolOptions(command, read_machine().cores, _TIMEOUT_S)
    pool: ConversionPool[Result] = ConversionPool(options, msgspec.msgpack.Decoder(Result))
    ahead: deque[tuple[str, Future[bytes | None]]] = deque()

    async def shrink(image: bytes) -> bytes | None:
        with suppress(ConversionError):  # the worker has died of it
            result = await pool.run(Shrink(image), key="")
            return result.image if isinstance(result, Shrunk) else None
        return None

    def take() -> Iterator[tuple[str, bytes]]:
        stem, future = ahead.popleft()
        if (small := future.result()) is not None:
            yield stem, small

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(pool):
        for stem, image in images:
            if image is not None:
                ahead.append((stem, portal.start_task_soon(shrink, image.data)))
            if len(ahead) > _AHEAD:
                yield from take()
        while ahead:
            yield from take()
