"""Counts what headers do not tell: the pages of a PDF, and the calls for a file as a run would make them."""

import os
from collections import Counter
from concurrent.futures import Executor
from contextlib import suppress

from pipeline.batch.equal_pixels import EqualPixels
from pipeline.batch.file_pages import count_pages, includes, open_image, page_numbers, prepare_page
from pipeline.batch.page import Page
from pipeline.batch.planning.survey import URL, Survey
from pipeline.config import Config
from pipeline.errors import PageError
from pipeline.inputs.archives.holding import hold, must_hold, release
from pipeline.inputs.content import MAX_FILE_BYTES
from pipeline.inputs.conversion_messages import PrepareSettings
from pipeline.inputs.headers import Header, format_of_name
from pipeline.inputs.image import Converter
from pipeline.records import TEXT_LAYER, PageId, Payload, Record, SourceFile, State
from pipeline.storage.temporary import KeySet, TemporaryDatabase
from pipeline.tiles import Tile
from pipeline.workspace.index import Index
from pipeline.workspace.pixel_table import PIXELS_SCHEMA, PixelTable
from pipeline.workspace.source_names import encode_name


class ExactCount:
    """Decides about each page as the dispatcher does; of equal contents the first needs the call.

    Args:
        survey: Where the pages are counted.
        index: Of the workspace, which is not changed; None for a new one.
        config: All settings.
        settings: How pages are made to fit.
        converter: Converts pages that do not fit.
        threads: Where files are read.
        root: The directory that source names are relative to.
    """

    def __init__(
        self,
        survey: Survey,
        index: Index | None,
        config: Config,
        settings: PrepareSettings,
        *,
        converter: Converter,
        threads: Executor,
        root: str,
    ) -> None:
        self._survey = survey
        self._index = index
        self._dedup = config.prepare.dedup != "off"
        self._page_ranges = config.input.page_ranges
        self._settings = settings
        self._converter = converter
        self._threads = threads
        self._sent = KeySet()
        self._sizes = TemporaryDatabase(PIXELS_SCHEMA)
        self._pixels: EqualPixels | None = None
        if config.prepare.dedup == "pixels":
            table = PixelTable(self._sizes, None if index is None else index.pixels)
            self._pixels = EqualPixels(table, converter, settings, root)
        self._uncertain: frozenset[PageId] = frozenset()
        if config.run.at_most_once and index is not None:
            self._uncertain = index.uncertain_ids()

    def __repr__(self) -> str:
        return f"<ExactCount {self._survey!r}>"

    def close(self) -> None:
        """Forget the contents."""
        self._sent.close()
        self._sizes.close()

    async def add(self, file: SourceFile) -> None:
        """Count a file's pages."""
        if must_hold(file):
            file = await hold(file, MAX_FILE_BYTES, self._threads)
        try:
            await self._add(file)
        finally:
            release(file.member)

    async def _add(self, file: SourceFile) -> None:
        states: Counter[State] = Counter()
        sent_bytes = more_calls = 0
        image_format = format_of_name(file.name) if file.path is not None else URL
        image = open_image(file, self._settings)
        if image is not None and not includes(self._page_ranges, 1):
            await image.count(self._converter, self._threads)
        for number in page_numbers(file, image, self._page_ranges):
            try:
                payload = await prepare_page(file, image, number, self._converter, self._threads)
            except PageError as exc:
                self._survey.counts.unreadable[exc.name] += 1
                states[State.FAILED] += 1
                continue
            state = await self._state(file, payload)
            states[state] += 1
            if state is State.PENDING and payload.tiles and image is not None:
                more_calls += len(missing := self._missing_tiles(file, payload)) - 1
                for tile in missing:
                    with suppress(PageError):
                        prepared = await image.prepare_tile(number, tile, self._converter, self._threads)
                        sent_bytes += len(prepared.body)
                self._survey.counts.conversions += 1
            elif state is State.PENDING:
                sent_bytes += len(payload.body)
                is_whole = payload.prep is None or payload.prep.bytes == (file.stat and file.stat.size_bytes)
                self._survey.counts.conversions += not (is_whole and count_pages(image) == 1)
        if image is not None:
            image.close()
        self._survey.add_states(file, image_format, states, sent_bytes, more_calls)

    def _missing_tiles(self, file: SourceFile, payload: Payload) -> list[Tile]:
        """Return the tiles of a page that have no text yet."""
        if self._index is None:
            return list(payload.tiles)
        found = self._index.parts.find(payload.id, payload.tiles, since=file.again_before)
        return [tile for tile in payload.tiles if tile.number not in found]

    async def _state(self, file: SourceFile, payload: Payload) -> State:
        known = self._known_state(file, payload)
        if known is not None:
            return known
        if self._pixels is not None and os.fsencode(payload.id) not in self._sent:
            _, equal = await self._pixels.find(Page(file, payload, 0.0))
            if any(os.fsencode(found) in self._sent or self._find_record(file, found) for found in equal):
                return State.DUPLICATE
        if self._dedup and not self._sent.add(os.fsencode(payload.id)):
            return State.DUPLICATE
        return State.UNCERTAIN if payload.id in self._uncertain else State.PENDING

    def _known_state(self, file: SourceFile, payload: Payload) -> State | None:
        """Return the state of a page that needs no call, by the index or by itself; None for any other."""
        index, since = self._index, file.again_before or ""
        if index is not None and index.has_result(file, payload.page, payload.id):
            skipped = index.skips.find_now(encode_name(file.name), payload.page)
            return State.DONE if skipped is None else self._skip(skipped.reason)
        if (record := self._find_record(file, payload.id)) is not None:
            return State.DUPLICATE if record.skipped is None else self._skip(record.skipped.reason)
        if not payload.needs_call:
            return self._skip(TEXT_LAYER if payload.skipped is None else payload.skipped.reason)
        failure = None if index is None else index.find_left_failure(file, payload.page, payload.id)
        return State.FAILED if failure is not None and failure.added >= since else None

    def _find_record(self, file: SourceFile, page_id: PageId) -> Record | None:
        record = None if self._index is None or not self._dedup else self._index.find_record(page_id)
        is_as_asked = record is not None and self._index is not None and self._index.reviewed.is_as_asked(record, file)
        return record if is_as_asked else None

    def _skip(self, reason: str) -> State:
        self._survey.counts.skipped[reason] += 1
        return State.SKIPPED


class PdfCount:
    """Counts the pages of PDFs, without rendering one.

    Args:
        survey: Where the pages are counted.
        settings: How pages are made to fit.
        converter: Opens the file in a worker process.
        threads: Where files are read.
    """

    def __init__(self, survey: Survey, settings: PrepareSettings, converter: Converter, threads: Executor) -> None:
        self._survey, self._settings = survey, settings
        self._converter, self._threads = converter, threads

    def __repr__(self) -> str:
        return f"<PdfCount {self._survey!r}>"

    async def add(self, file: SourceFile) -> None:
        """Count a file's pages, 1 for one that cannot be opened; each may need a call and a conversion."""
        image = open_image(file, self._settings)
        if image is not None:
            await image.count(self._converter, self._threads)
            image.close()
        pages = count_pages(image)
        tiles = {} if image is None else image.tiles
        self._survey.add_pages(file, Header("pdf", pages, conversions=pages, tiles=tiles))
