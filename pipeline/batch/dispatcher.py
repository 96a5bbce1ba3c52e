"""Files become pages, pages become calls or duplicates; so many at a time as there are slots."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.batch.attempts import Attempts
from pipeline.batch.recorder import Page, Recorder
from pipeline.config import Config
from pipeline.errors import PageError, QuotaExhaustedError, StopError, StorageError
from pipeline.inputs.image import ImageFile, Rules, prepare_url
from pipeline.records import PageId, Payload, Record, SourceFile, State
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.wire import Limits
from pipeline.workspace.index import Index

_WAITING_DUPLICATES: Final = 1000
"""So many duplicates may wait for their originals at a time; more would let memory grow with the input."""


_BYTES_IN_MEMORY_PER_FILE_BYTE: Final = 3.0
"""The file, its base64 (4/3) and the body under construction."""


class Slots:
    """The slots of a run.

    Args:
        jobs: Pages under way at a time.
        max_bytes: Bytes that they may hold together; a page larger than this goes alone.
    """

    def __init__(self, jobs: int, max_bytes: int) -> None:
        self._jobs = jobs
        self._max_bytes = max_bytes
        self._free = anyio.Semaphore(jobs, fast_acquire=True)
        self._held_bytes = 0
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        return f"<Slots {self.taken} of {self._jobs} taken, {self._held_bytes} bytes>"

    @property
    def taken(self) -> int:
        """Slots that are taken."""
        return self._jobs - self._free.value

    async def take(self, file_bytes: int) -> "Slot":
        """Return a slot once one is free and the file's bytes have room."""
        slot = Slot(self, min(int(file_bytes * _BYTES_IN_MEMORY_PER_FILE_BYTE), self._max_bytes))
        await slot.retake()
        return slot

    async def acquire(self, size: int) -> None:
        """Wait for a slot and room; for `Slot` alone."""
        await self._free.acquire()
        try:
            while self._held_bytes + size > self._max_bytes:
                await self._changed.wait()
        except BaseException:
            self._free.release()
            raise
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Take a slot back; for `Slot` alone."""
        self._held_bytes -= size
        self._free.release()
        self._changed.set()
        self._changed = anyio.Event()


class Slot:
    """A slot of one file; may be released early and taken again."""

    def __init__(self, slots: Slots, size: int) -> None:
        self._slots = slots
        self._size = size
        self._held = False

    def __repr__(self) -> str:
        return f"<Slot {self._size} bytes, {'held' if self._held else 'released'}>"

    async def retake(self) -> None:
        """Hold the slot; nothing when it is held already."""
        if not self._held:
            await self._slots.acquire(self._size)
            self._held = True

    def release(self) -> None:
        """Give the slot to another page; nothing when it is released already."""
        if self._held:
            self._held = False
            self._slots.release(self._size)


class _Claim:
    """A content that is being recognised; its duplicates wait here."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.outcome: Record | PageError | None = None
        """None until it ends, and for ever when the run ended before it."""


class Dispatcher:
    """Recognises the files of one run.

    Args:
        calls: Recognises a page whose content is new.
        index: Knows what is done.
        outcomes: Writes down how pages end.
        drain: Ends the run early.
        config: All settings.
    """

    def __init__(
        self, attempts: Attempts, index: Index, recorder: Recorder, shutdown: Shutdown, config: Config
    ) -> None:
        self._attempts = attempts
        self._index = index
        self._recorder = recorder
        self._shutdown = shutdown
        self._config = config
        limits = Limits(config.prepare.min_edge_px, config.prepare.max_edge_px, config.prepare.max_bytes)
        self._rules = Rules(limits, config.prepare.jpeg_quality, config.prepare.orient)
        self._slots = Slots(config.run.jobs, config.run.max_inflight_bytes)
        self._waiting = anyio.Semaphore(_WAITING_DUPLICATES)
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "prepare")
        self._claims: dict[PageId, _Claim] = {}

    def __repr__(self) -> str:
        return f"<Dispatcher {self._slots!r}, {len(self._claims)} contents on their way>"

    @property
    def in_flight(self) -> int:
        """Pages that hold a slot."""
        return self._slots.taken

    async def take(self, files: AsyncIterator[SourceFile], *, endless: bool = False) -> None:
        """Recognise all files, once; return when each has ended, or been called off by the drain.

        When the budget is used up the walk goes on, so that what is left for the next month is known as pending.

        Args:
            files: From the source.
            endless: True when they may never end, as on a pipe: what is left is not waited for, then.
        """
        try:
            async with anyio.create_task_group() as pages:
                try:
                    await self._start_pages(files, pages, endless=endless)
                except ShuttingDownError:
                    pass
                except StopError as exc:  # raised from here, it would cut off the calls under way
                    self._shutdown.request(exc)
        finally:
            self._threads.shutdown(wait=False)

    async def _start_pages(self, files: AsyncIterator[SourceFile], pages: TaskGroup, *, endless: bool) -> None:
        taken = 0
        with self._shutdown.cancels_unsent() if endless else self._shutdown.cancels_unsent(reserved=True):
            async for file in files:
                if self._is_settled(file):
                    continue
                if self._shutdown.reason is not None:
                    await self._leave_pending(file)
                    continue
                if taken == self._config.run.limit:
                    break
                taken += 1
                slot = await self._slots.take(file.stat.size_bytes if file.stat is not None else 0)
                pages.start_soon(self._dispatch_file, file, slot)

    async def _leave_pending(self, file: SourceFile) -> None:
        self._index.mark_file_pending(file)
        if self._index.needs_commit:
            await anyio.to_thread.run_sync(self._index.commit)

    def _is_settled(self, file: SourceFile) -> bool:
        if self._config.input.changed_by == "sha256" and not file.is_url:
            return False
        settled = self._index.settled_states(file, keep_uncertain=self._config.run.at_most_once)
        if settled is not None:
            self._recorder.settled.update(settled)
        return settled is not None

    async def _dispatch_file(self, file: SourceFile, slot: Slot) -> None:
        """Recognise a file's pages one after another; a reason to stop ends the run, not the other pages."""
        try:
            await self._dispatch_pages(file, slot)
            if self._index.needs_commit:
                await anyio.to_thread.run_sync(self._index.commit)
        except ShuttingDownError:
            self._note_pending(file)
        except StopError as exc:
            self._shutdown.request(exc, spare_reserved=isinstance(exc, QuotaExhaustedError))
            self._note_pending(file)
        finally:
            slot.release()

    def _note_pending(self, file: SourceFile) -> None:
        with suppress(StorageError):  # an index that fails is made anew; raised here, it would cut off other calls
            self._index.mark_file_pending(file)

    async def _dispatch_pages(self, file: SourceFile, slot: Slot) -> None:
        image = ImageFile(file.path, self._rules) if file.path is not None else None
        number = pages = 1
        while number <= pages:
            begun_s = anyio.current_time()
            try:
                with self._shutdown.cancels_unsent():
                    await slot.retake()
                    payload = await self._prepare(file, image, number)
            except PageError as exc:
                await self._recorder.fail(file, number, None, exc)
            else:
                await self._dispatch_page(Page(file, payload, begun_s), slot)
            pages = image.pages if image is not None else 1  # a bad first page does not take the others along
            number += 1
        self._index.add_file(file, pages)

    async def _prepare(self, file: SourceFile, image: ImageFile | None, number: int) -> Payload:
        if file.problem is not None:
            raise file.problem
        if image is None:
            return prepare_url(file.name)
        # A read from a dead network mount never returns: the end of the run does not wait for it.
        return await asyncio.get_running_loop().run_in_executor(self._threads, image.prepare, number)

    async def _dispatch_page(self, page: Page, slot: Slot) -> None:
        """Find the page's content among what is done or on its way, or call for it."""
        payload = page.payload
        if self._index.has_result(page.file, payload.page, payload.id):
            self._recorder.settled[State.DONE] += 1
            return
        try:
            await self._recognise_page(page, slot)
        except (ShuttingDownError, StopError):
            with suppress(StorageError):
                self._index.mark_page_pending(page.file, payload.page, payload.id)
            raise

    async def _recognise_page(self, page: Page, slot: Slot) -> None:
        payload = page.payload
        if not self._config.prepare.dedup:
            await self._end(page, await self._attempts.recognise(page))
        elif (record := self._index.find_record(payload.id)) is not None:
            await self._recorder.record_duplicate(page, record)
        elif payload.id in self._claims:
            await self._wait_for_original(page, self._claims[payload.id], slot)
        else:
            await self._claim(page)

    async def _claim(self, page: Page) -> None:
        """Call for the page, and let its duplicates know how that ended."""
        claim = self._claims[page.payload.id] = _Claim()
        try:
            claim.outcome = await self._attempts.recognise(page)
        finally:
            del self._claims[page.payload.id]
            claim.ended.set()
        await self._end(page, claim.outcome)

    async def _wait_for_original(self, page: Page, claim: _Claim, slot: Slot) -> None:
        """Take over what becomes of the same content, without holding a slot or its bytes meanwhile."""
        page = replace(page, payload=replace(page.payload, body=b""))
        async with self._waiting:
            slot.release()
            await claim.ended.wait()
        match claim.outcome:
            case Record() as record:
                await self._recorder.record_duplicate(page, record)
            case PageError() as error:
                await self._end(page, error)
            case None:
                raise ShuttingDownError

    async def _end(self, page: Page, outcome: Record | PageError) -> None:
        """Write down a failure; a record is on disk already."""
        if isinstance(outcome, PageError):
            await self._recorder.fail(page.file, page.payload.page, page.payload.id, outcome)
