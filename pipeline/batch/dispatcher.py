"""Turns files into pages, and prepares each for its call."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.batch.attempts import Attempts
from pipeline.batch.equal_pixels import EqualPixels
from pipeline.batch.events import EventQueue
from pipeline.batch.file_pages import FilePages, count_pages, includes, open_image, page_numbers, prepare_page
from pipeline.batch.job import prepare_settings
from pipeline.batch.originals import Originals
from pipeline.batch.page import Page
from pipeline.batch.recorder import Recorder
from pipeline.batch.slots import Slot, Slots, bytes_in_memory
from pipeline.batch.tiled_pages import TiledPages
from pipeline.batch.walk import Walk
from pipeline.config import Config
from pipeline.errors import PageError, PlannedStopError, QuotaExhaustedError, StopError, StorageError
from pipeline.inputs.archives.holding import hold, must_hold, release
from pipeline.inputs.content import MAX_FILE_BYTES
from pipeline.inputs.image import Converter, ImageFile
from pipeline.inputs.selection import Inputs
from pipeline.ledger.claims import ContentClaims
from pipeline.records import PageId, SourceFile, State
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.workspace.index import Index


class Dispatcher:
    """Recognises the files of one run.

    Args:
        attempts: Calls for a page whose content is new.
        index: Finds pages and contents that are done.
        recorder: Records how pages end.
        shutdown: Ends the run early.
        inputs: Whose files these are.
        config: All settings.
        converter: Converts pages that do not fit.
        events: No page begins while their reader is behind.
        claims: Of the run's shard; None for a run of whole INPUTs.
    """

    def __init__(
        self,
        attempts: Attempts,
        index: Index,
        recorder: Recorder,
        shutdown: Shutdown,
        inputs: Inputs,
        *,
        config: Config,
        converter: Converter,
        events: EventQueue,
        claims: ContentClaims | None = None,
    ) -> None:
        self._attempts = attempts
        self._index = index
        self._recorder = recorder
        self._shutdown = shutdown
        self._config, self._converter, self._events = config, converter, events
        self._prepare_settings = prepare_settings(config)
        self._page_ranges = config.input.page_ranges
        self._slots = Slots(config.run.jobs, config.run.max_inflight_bytes)
        self._page_bytes = bytes_in_memory(config.prepare.max_bytes, config.run.max_inflight_bytes)
        tiled = TiledPages(attempts, index, recorder, shutdown, slots=self._slots, tile_bytes=self._page_bytes)
        dedup = config.prepare.dedup
        root = str(inputs.names_root or inputs.root)
        pixels = EqualPixels(index.pixels, converter, self._prepare_settings, root, shutdown)
        self._originals = Originals(
            attempts,
            index,
            recorder,
            tiled,
            is_deduplicated=dedup != "off",
            pixels=pixels if dedup == "pixels" else None,
            claims=claims,
        )
        # A read from a dead network mount never returns, so it runs in a thread that the run's end does not join.
        self._threads = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "prepare")
        self._last_rows: dict[str, anyio.Event] = {}
        """By source name, the event that the last row in flight sets at its end."""

    def __repr__(self) -> str:
        return f"<Dispatcher {self._slots!r}, {self._originals!r}>"

    @property
    def in_flight(self) -> int:
        """Number of files that hold a slot."""
        return self._slots.taken

    async def dispatch(self, walk: Walk) -> None:
        """Recognise each file of the walk once; return when every file has ended or the run is ending."""
        try:
            async with anyio.create_task_group() as pages:
                try:
                    await walk.run(partial(self._start, walk, pages), pages)
                    self._attempts.history.expects_pages = False
                except StopError as exc:  # raised here, it would cancel the calls in flight
                    self._shutdown.request(exc)
            await self._recorder.settle_undecided(blames_pages=self._attempts.history.blames_pages)
        finally:
            self._threads.shutdown(wait=False)

    async def _start(self, walk: Walk, pages: TaskGroup, file: SourceFile) -> None:
        """Start the file's task once a slot is free; when the run ends first, the file becomes pending."""
        slot: Slot | None = None
        earlier, ended = self._last_rows.get(file.name), anyio.Event()
        try:
            with self._shutdown.cancels_unsent():
                slot = await self._slots.take(file.stat.size_bytes if file.stat is not None else 0)
                if must_hold(file) and earlier is None:
                    file = await hold(file, MAX_FILE_BYTES, self._threads)
        except (ShuttingDownError, StopError) as exc:
            if isinstance(exc, StopError):
                self._shutdown.request(exc)
            release(file.member)
            self._note_pending(file)
            if slot is not None:
                slot.release()
            return
        self._last_rows[file.name] = ended
        pages.start_soon(self._dispatch_in_turn, walk, file, slot, earlier, ended)

    async def _dispatch_in_turn(
        self, walk: Walk, file: SourceFile, slot: Slot, earlier: anyio.Event | None, ended: anyio.Event
    ) -> None:
        """Dispatch a file after its earlier rows in manifests: the first is sent, the others add their fields."""
        try:
            if earlier is not None:
                await self._originals.wait(earlier, slot)
                if walk.is_settled(file):
                    return
            await self._dispatch_file(file, slot, walk.begun)
        finally:
            if self._last_rows.get(file.name) is ended:
                del self._last_rows[file.name]
            ended.set()

    async def _dispatch_file(self, file: SourceFile, slot: Slot, begun: str) -> None:
        """Recognise a file's pages; a `StopError` requests the shutdown and cancels no other page."""
        try:
            await self._dispatch_pages(file, slot, begun)
            if self._index.needs_commit:
                await anyio.to_thread.run_sync(self._index.commit)
        except ShuttingDownError:
            self._note_pending(file)
        except StopError as exc:
            self._request_stop(exc)
            self._note_pending(file)
        finally:
            slot.release()

    def _note_pending(self, file: SourceFile) -> None:
        with suppress(StorageError):  # a failed index is rebuilt; raised here, the error would cancel other calls
            self._index.mark_file_pending(file)

    async def _dispatch_pages(self, file: SourceFile, slot: Slot, begun: str) -> None:
        image = open_image(file, self._prepare_settings)
        dispatch = partial(self._dispatch_or_stop, file, image, begun)
        pages = FilePages(page_numbers(file, image, self._page_ranges), self._slots, self._page_bytes, dispatch)
        try:
            if file.pages is None and image is not None and not includes(self._page_ranges, 1):
                with self._shutdown.cancels_unsent():
                    await image.count(self._converter, self._threads)
            await pages.run(slot)
        except ShuttingDownError:
            if file.pages is None:
                with suppress(StorageError):
                    self._index.inventory.mark_rest_pending(file, pages.first_unfinished, count_pages(image))
            raise
        finally:
            release(file.member)
            if image is not None:
                image.close()
        if file.pages is None and self._page_ranges is not None and count_pages(image) > 1:
            self._index.inventory.forget_pending_pages(file)  # those that were left out
        elif file.pages is None:
            self._index.add_file(file, count_pages(image))

    async def _dispatch_or_stop(
        self, file: SourceFile, image: ImageFile | None, begun: str, number: int, slot: Slot
    ) -> None:
        """Dispatch a page; a `StopError` requests the shutdown while other pages of the file are in flight."""
        try:
            await self._prepare_and_dispatch(file, image, number, slot, begun)
        except StopError as exc:
            self._request_stop(exc)
            raise ShuttingDownError from exc

    def _request_stop(self, exc: StopError) -> None:
        self._shutdown.request(exc, spare_reserved=isinstance(exc, QuotaExhaustedError | PlannedStopError))

    async def _prepare_and_dispatch(
        self, file: SourceFile, image: ImageFile | None, number: int, slot: Slot, begun: str
    ) -> None:
        """Prepare a page and dispatch it, unless it has failed in this run: an earlier row named it."""
        begun_s = anyio.current_time()
        if image is not None and self._is_done(file, number, image.id_of(number)):
            self._recorder.settled[State.DONE] += 1
            return
        has_failed = self._index.has_failed_since(file, number, begun) or self._recorder.is_undecided(file, number)
        try:
            with self._shutdown.cancels_unsent():
                await self._events.wait_for_room()
                await slot.retake()
                payload = await prepare_page(file, image, number, self._converter, self._threads)
        except PageError as exc:
            if not has_failed:
                await self._recorder.record_failure(file, number, None, exc)
        else:
            if not has_failed:
                prepare_tile = (
                    None
                    if image is None
                    else partial(image.prepare_tile, number, converter=self._converter, threads=self._threads)
                )
                await self._dispatch_page(Page(file, payload, begun_s, prepare_tile), slot)

    def _is_done(self, file: SourceFile, page: int, page_id: PageId | None) -> bool:
        """Return whether a page of a file that was read needs neither a call nor a record."""
        return (
            page_id is not None
            and self._index.has_result(file, page, page_id)
            and self._index.inventory.has_meta(file, page)
        )

    async def _dispatch_page(self, page: Page, slot: Slot) -> None:
        """Settle the page from its own earlier record, or recognise it; a page that is not sent becomes pending."""
        payload = page.payload
        if self._index.has_result(page.file, payload.page, payload.id):
            has_meta = self._index.inventory.has_meta(page.file, payload.page)
            if (
                not has_meta and (record := self._index.find_record(payload.id)) is not None
            ):  # the manifest has new fields for a page that is done
                await self._recorder.record_fields(page, record)
            else:
                self._recorder.settled[State.DONE] += 1
            return
        try:
            await self._originals.recognise_page(page, slot)
        except (ShuttingDownError, StopError):
            with suppress(StorageError):
                self._index.inventory.mark_page_pending(page.file, payload.page, payload.id)
            raise
