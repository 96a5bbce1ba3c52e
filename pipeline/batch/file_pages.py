"""The pages of one file: one after another in the file's own slot, and beside it in slots that are idle.

A file holds one slot from its first page to its last, so that at most `jobs` files are open. Where files are fewer than
slots, as with one long TIFF, its further pages take what is idle, each for itself, and give it back to the next file.
"""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor

import anyio
from anyio.abc import TaskGroup

from pipeline.batch.slots import Slot, Slots
from pipeline.config.page_ranges import PageRanges
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.image import Converter, ImageFile, prepare_url
from pipeline.records import Payload, SourceFile
from pipeline.shutdown import ShuttingDownError

Dispatch = Callable[[int, Slot], Awaitable[None]]
"""Recognises the page of this number in this slot; raises `ShuttingDownError` when the run is ending."""


class FilePages:
    """The pages of a file, or the tiles of a page.

    Args:
        numbers: Of the pages; all of them are known when the first page has ended.
        slots: All slots of the run.
        page_bytes: Memory that a page needs once the file has been read, in bytes.
        dispatch: Recognises one page.
    """

    def __init__(self, numbers: Iterator[int], slots: Slots, page_bytes: int, dispatch: Dispatch) -> None:
        self._numbers = numbers
        self._slots = slots
        self._page_bytes = page_bytes
        self._dispatch = dispatch
        self._begun: set[int] = set()
        self._has_stopped = False

    def __repr__(self) -> str:
        return f"<FilePages {sorted(self._begun)} begun{', stopped' if self._has_stopped else ''}>"

    @property
    def first_unfinished(self) -> int:
        """The lowest number of a page that was begun and has not ended; 1 when there is none."""
        return min(self._begun, default=1)

    async def run(self, slot: Slot, *, is_first_alone: bool = True) -> None:
        """Recognise all pages.

        Args:
            slot: Of the file; held by the caller.
            is_first_alone: The others are known when the first one has ended.

        Raises:
            ShuttingDownError: the run is ending; the pages that were begun have ended or are pending.
        """
        if is_first_alone and (first := self._next()) is not None:
            await self._recognise(first, slot)
        if (second := self._next()) is not None:
            slot.shrink(self._page_bytes)
            await self._recognise_rest(second, slot)
        if self._has_stopped:
            raise ShuttingDownError

    async def _recognise_rest(self, number: int | None, slot: Slot) -> None:
        async with anyio.create_task_group() as beside:
            while number is not None:
                self._fill_idle_slots(beside)
                await self._recognise(number, slot)
                number = self._next()

    def _next(self) -> int | None:
        number = None if self._has_stopped else next(self._numbers, None)
        if number is not None:
            self._begun.add(number)
        return number

    def _fill_idle_slots(self, beside: TaskGroup) -> None:
        while self._slots.has_idle(self._page_bytes) and (number := self._next()) is not None:
            beside.start_soon(self._work_beside, beside, number, self._slots.take_idle(self._page_bytes))

    async def _work_beside(self, beside: TaskGroup, number: int, slot: Slot) -> None:
        try:
            await self._recognise(number, slot)
        finally:
            slot.release()
        self._fill_idle_slots(beside)

    async def _recognise(self, number: int, slot: Slot) -> None:
        try:
            await self._dispatch(number, slot)
        except ShuttingDownError:
            self._has_stopped = True
        else:
            self._begun.discard(number)


def open_image(file: SourceFile, settings: PrepareSettings) -> ImageFile | None:
    """Return the pages of a file; None for a URL, and for a file with a problem."""
    return None if file.path is None else ImageFile(file.path, settings, file.member)


async def prepare_page(
    file: SourceFile, image: ImageFile | None, number: int, converter: Converter, threads: Executor
) -> Payload:
    """Return a page as a payload.

    Args:
        file: Of the page.
        image: Its pages; None for a URL, and for a file with a problem.
        number: 1-based.
        converter: As for `ImageFile.prepare`.
        threads: As for `ImageFile.prepare`.

    Raises:
        PageError: the page cannot be sent.
    """
    if file.problem is not None:
        raise file.problem
    return prepare_url(file.name) if image is None else await image.prepare(number, converter, threads)


def page_numbers(file: SourceFile, image: ImageFile | None, ranges: PageRanges | None = None) -> Iterator[int]:
    """Yield the numbers of the pages to recognise; a damaged first page does not fail the others.

    Args:
        file: Says which pages are asked for, if not all.
        image: Knows the number of its pages once one was prepared, or they were counted.
        ranges: `--pages`, for a file of several pages; None for all.
    """
    if file.pages is not None:
        yield from sorted(file.pages)
        return
    number = 1
    while number == 1 or number <= count_pages(image):
        if includes(ranges, number) or count_pages(image) == 1:
            yield number
        number += 1


def includes(ranges: PageRanges | None, number: int) -> bool:
    """Return whether a page is one of those that are asked for."""
    return ranges is None or number in ranges


def count_pages(image: ImageFile | None) -> int:
    """Return the number of a file's pages; 1 until it is known, and for a URL."""
    return 1 if image is None else image.pages
