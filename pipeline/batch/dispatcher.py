"""Turns files into pages, and pages into calls or duplicates; the slots bound how many are in flight."""

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
from pipeline.inputs.conversion import PrepareSettings
from pipeline.inputs.image import Converter, ImageFile, prepare_url
from pipeline.records import PageId, Payload, Record, SourceFile, State
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.wire import Limits
from pipeline.workspace.index import Index

_WAITING_DUPLICATES: Final = 1000
"""Duplicates that may wait for their originals at a time; without a bound, memory would grow with the input."""


_BYTES_IN_MEMORY_PER_FILE_BYTE: Final = 3.0
"""The file, its base64 (4/3) and the request body that is being built."""


class Slots:
    """The slots of a run.

    Args:
        jobs: Files in flight at a time.
        max_bytes: Memory that they may hold together; a larger file goes alone.
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
        """Number of slots that are taken."""
        return self._jobs - self._free.value

    async def take(self, file_bytes: int) -> "Slot":
        """Return a slot once one is free and the file fits into the memory that is left."""
        slot = Slot(self, min(int(file_bytes * _BYTES_IN_MEMORY_PER_FILE_BYTE), self._max_bytes))
        await slot.retake()
        return slot

    async def acquire(self, size: int) -> None:
        """Wait for a slot and for memory; only `Slot` calls this."""
        await self._free.acquire()
        try:
            while self._held_bytes + size > self._max_bytes:
                await self._changed.wait()
        except BaseException:
            self._free.release()
            raise
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Free a slot; only `Slot` calls this."""
        self._held_bytes -= size
        self._free.release()
        self._changed.set()
        self._changed = anyio.Event()


class Slot:
    """The slot of one file; may be released early and taken again."""

    def __init__(self, slots: Slots, size: int) -> None:
        self._slots = slots
        self._size = size
        self._held = False

    def __repr__(self) -> str:
        return f"<Slot {self._size} bytes, {'held' if self._held else 'released'}>"

    async def retake(self) -> None:
        """Take the slot again; does nothing while it is held."""
        if not self._held:
            await self._slots.acquire(self._size)
            self._held = True

    def release(self) -> None:
        """Free the slot for another file; does nothing when it is free."""
        if self._held:
            self._held = False
            self._slots.release(self._size)


class _Claim:
    """A content that is being recognised, and the event that its duplicates wait for."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.outcome: Record | PageError | None = None
        """None until it ends; stays None when the run ends first."""


def prepare_settings(config: Config) -> PrepareSettings:
    """Return how pages are made to fit, from the configuration."""
    prepare = config.prepare
    limits = Limits(prepare.min_edge_px, prepare.max_edge_px, prepare.max_bytes)
    return PrepareSettings(limits, prepare.jpeg_quality, prepare.orient, prepare.max_pixels)


class Dispatcher:
    """Recognises the files of one run.

    Args:
        attempts: Calls for a page whose content is new.
        index: Finds pages and contents that are done.
        recorder: Records how pages end.
        shutdown: Ends the run early.
        config: All settings.
        converter: Converts pages that do not fit.
    """

    def __init__(
        self,
        attempts: Attempts,
        index: Index,
        recorder: Recorder,
        shutdown: Shutdown,
        *,
        config: Config,
        converter: Converter,
    ) -> None:
        self._attempts = attempts
        self._index = index
        self._recorder = recorder
        self._shutdown = shutdown
        self._config = config
        self._converter = converter
        self._prepare_settings = prepare_settings(config)
        self._slots = Slots(config.run.jobs, config.run.max_inflight_bytes)
        self._waiting = anyio.Semaphore(_WAITING_DUPLICATES)
        # A read from a dead network mount never returns, so it runs in a thread that the run's end does not join.
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "prepare")
        self._claims: dict[PageId, _Claim] = {}

    def __repr__(self) -> str:
        return f"<Dispatcher {self._slots!r}, {len(self._claims)} contents in flight>"

    @property
    def in_flight(self) -> int:
        """Number of files that hold a slot."""
        return self._slots.taken

    async def dispatch(self, files: AsyncIterator[SourceFile], *, endless: bool = False) -> None:
        """Recognise each file once; return when every file has ended or the run is ending.

        After the quota is used up the walk goes on, so that the files left for the next month are counted as pending.

        Args:
            files: From the source.
            endless: True for a stream that may never end, such as a pipe: a shutdown then ends the walk too.
        """
        try:
            async with anyio.create_task_group() as pages:
                try:
                    await self._start_pages(files, pages, endless=endless)
                except ShuttingDownError:
                    pass
                except StopError as exc:  # raised here, it would cancel the calls in flight
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
        """Recognise a file's pages one after another; a `StopError` requests the shutdown and cancels no other page."""
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
        with suppress(StorageError):  # a failed index is rebuilt; raised here, the error would cancel other calls
            self._index.mark_file_pending(file)

    async def _dispatch_pages(self, file: SourceFile, slot: Slot) -> None:
        image = ImageFile(file.path, self._prepare_settings) if file.path is not None else None
        number = pages = 1
        while number <= pages:
            begun_s = anyio.current_time()
            try:
                with self._shutdown.cancels_unsent():
                    await slot.retake()
                    payload = await self._prepare(file, image, number)
            except PageError as exc:
                await self._recorder.record_failure(file, number, None, exc)
            else:
                await self._dispatch_page(Page(file, payload, begun_s), slot)
            pages = image.pages if image is not None else 1  # a damaged first page does not fail the others
            number += 1
        self._index.add_file(file, pages)

    async def _prepare(self, file: SourceFile, image: ImageFile | None, number: int) -> Payload:
        if file.problem is not None:
            raise file.problem
        if image is None:
            return prepare_url(file.name)
        return await image.prepare(number, self._converter, self._threads)

    async def _dispatch_page(self, page: Page, slot: Slot) -> None:
        """Settle the page from its own earlier record, or recognise it; a page that is not sent becomes pending."""
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
        """Take the text of the same content that is done or in flight, or call for it."""
        payload = page.payload
        if not self._config.prepare.dedup:
            await self._record_end(page, await self._attempts.recognise_page(page))
        elif (record := self._index.find_record(payload.id)) is not None:
            await self._recorder.record_duplicate(page, record)
        elif payload.id in self._claims:
            await self._wait_for_original(page, self._claims[payload.id], slot)
        else:
            await self._claim(page)

    async def _claim(self, page: Page) -> None:
        """Call for the page, then wake its duplicates."""
        claim = self._claims[page.payload.id] = _Claim()
        try:
            claim.outcome = await self._attempts.recognise_page(page)
        finally:
            del self._claims[page.payload.id]
            claim.ended.set()
        await self._record_end(page, claim.outcome)

    async def _wait_for_original(self, page: Page, claim: _Claim, slot: Slot) -> None:
        """Wait, without a slot or memory, until the same content has ended; then end the same way."""
        page = replace(page, payload=replace(page.payload, body=b""))
        async with self._waiting:
            slot.release()
            await claim.ended.wait()
        match claim.outcome:
            case Record() as record:
                await self._recorder.record_duplicate(page, record)
            case PageError() as error:
                await self._record_end(page, error)
            case None:
                raise ShuttingDownError

    async def _record_end(self, page: Page, outcome: Record | PageError) -> None:
        """Record a failure; a record is on disk already."""
        if isinstance(outcome, PageError):
            await self._recorder.record_failure(page.file, page.payload.page, page.payload.id, outcome)
