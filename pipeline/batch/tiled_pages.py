"""Pages that need several calls: each tile is prepared, sent and recorded by itself; the joined text is the page's."""

from collections.abc import Iterator, Sequence
from functools import partial

import anyio

from pipeline.batch.attempts import Attempts
from pipeline.batch.file_pages import FilePages
from pipeline.batch.joining import TileText, join_texts
from pipeline.batch.line_positions import TileLines, join_tile_lines
from pipeline.batch.page import Page, Text
from pipeline.batch.recorder import Recorder
from pipeline.batch.slots import Slot, Slots
from pipeline.errors import PageError, PlannedStopError, QuotaExhaustedError, StopError
from pipeline.positions import TextLine
from pipeline.quality import Confidence, Quality
from pipeline.records import Prep, Record
from pipeline.shutdown import Shutdown, ShuttingDownError
from pipeline.tiles import Tile
from pipeline.workspace.index import Index
from pipeline.workspace.part_lines import Part


class TiledPages:
    """Recognises pages that need several calls.

    Args:
        attempts: Calls for a tile.
        index: Knows the tiles that have a text.
        recorder: Records the page.
        shutdown: Ends the run early.
        slots: All slots of the run: tiles of a page go side by side where slots are idle.
        tile_bytes: Memory that a tile needs, in bytes.
    """

    def __init__(
        self,
        attempts: Attempts,
        index: Index,
        recorder: Recorder,
        shutdown: Shutdown,
        *,
        slots: Slots,
        tile_bytes: int,
    ) -> None:
        self._attempts = attempts
        self._index = index
        self._recorder = recorder
        self._shutdown = shutdown
        self._slots = slots
        self._tile_bytes = tile_bytes

    def __repr__(self) -> str:
        return f"<TiledPages {self._attempts!r}>"

    async def recognise_page(self, page: Page, slot: Slot) -> Record | PageError:
        """Make the calls for the tiles that have no text; return the page's record, which is on disk, or its failure.

        Tiles that have a text are not sent again, unless `--again` asks for it. A tile that fails ends the page, once
        those that are in flight have ended.

        Raises:
            ShuttingDownError: the run is ending and no call of the page is in flight.
        """
        tiles = page.payload.tiles
        since = page.file.again_before
        page_parts = _PageParts(tiles, self._index.parts.find(page.payload.id, tiles, since=since))
        for number in page_parts.missing():
            if (error := self._attempts.forbid(page.payload.id, tiles[number - 1])) is not None:
                return _name(tiles[number - 1], error)
        recognise = partial(self._recognise_or_stop, page, page_parts)
        await FilePages(page_parts.missing(), self._slots, self._tile_bytes, recognise).run(slot, is_first_alone=False)
        if page_parts.error is not None:
            return page_parts.error
        return await self._recorder.record_text(page, join_parts(page_parts.in_order()))

    async def _recognise_or_stop(self, page: Page, page_parts: "_PageParts", number: int, slot: Slot) -> None:
        """Recognise a tile; a `StopError` requests the shutdown while other tiles are in flight."""
        try:
            await self._recognise_tile(page, page_parts, page.payload.tiles[number - 1], slot)
        except StopError as exc:
            self._shutdown.request(exc, spare_reserved=isinstance(exc, QuotaExhaustedError | PlannedStopError))
            raise ShuttingDownError from exc

    async def _recognise_tile(self, page: Page, page_parts: "_PageParts", tile: Tile, slot: Slot) -> None:
        begun_s = anyio.current_time()
        assert page.prepare_tile is not None
        try:
            with self._shutdown.cancels_unsent():
                await slot.retake()
                payload = await page.prepare_tile(tile)
        except PageError as exc:
            page_parts.fail(tile, exc)
            return
        outcome = await self._attempts.recognise_page(Page(page.file, payload, begun_s))
        assert not isinstance(outcome, Record)
        if isinstance(outcome, PageError):
            page_parts.fail(tile, outcome)
        else:
            page_parts.add(outcome)


class _PageParts:
    """The tiles of one page that have a text, and the failure that ends the page."""

    def __init__(self, tiles: Sequence[Tile], found: dict[int, Part]) -> None:
        self._tiles = tiles
        self._found = found
        self.error: PageError | None = None

    def __repr__(self) -> str:
        return f"<_PageParts {len(self._found)} of {len(self._tiles)}>"

    def missing(self) -> Iterator[int]:
        """Yield the numbers of the tiles that have no text; none after a failure."""
        for tile in self._tiles:
            if self.error is not None:
                return
            if tile.number not in self._found:
                yield tile.number

    def add(self, part: Part) -> None:
        """Take the text of a tile."""
        self._found[part.tile.number] = part

    def fail(self, tile: Tile, error: PageError) -> None:
        """Take the failure of a tile; the first one is the page's."""
        if self.error is None:
            self.error = _name(tile, error)
        else:
            self.error.attempts += error.attempts

    def in_order(self) -> list[Part]:
        """Return all tiles."""
        return [self._found[tile.number] for tile in self._tiles]


def _name(tile: Tile, error: PageError) -> PageError:
    """Return a tile's failure with the tile named."""
    error.args = (f"tile {tile.number} of {tile.of}: {error}",)
    return error


def join_parts(parts: Sequence[Part]) -> Text:
    """Return the text of a page from its tiles, in their order."""
    preps = [part.prep for part in parts if part.prep is not None]
    notes = [f"tile {part.tile.number}: {part.note}" for part in parts if part.note is not None]
    size_px = parts[-1].tile.box[2:]
    prep = Prep(
        preps[0].format,
        *size_px,
        bytes=sum(prep.bytes for prep in preps),
        scale=min(prep.scale for prep in preps),
        rotation_deg=preps[0].rotation_deg,
        tiles=tuple(part.tile for part in parts),
    )
    return Text(
        join_texts([TileText(part.tile, part.text) for part in parts]),
        parts[-1].reply,
        tuple(part.attempt for part in parts),
        "; ".join(notes) or None,
        _join_quality(parts),
        prep=prep,
        lines=_join_lines(parts),
        operation=parts[-1].operation,
    )


def _join_lines(parts: Sequence[Part]) -> tuple[TextLine, ...] | None:
    """Return the lines of all tiles; None when one has none that were asked for."""
    found = [TileLines(part.tile, part.prep, part.lines) for part in parts if part.lines is not None]
    return join_tile_lines(found) if len(found) == len(parts) else None


def _join_quality(parts: Sequence[Part]) -> Quality | None:
    """Return the quality of the worst tile, with the mean confidence of all; None when a tile has none."""
    found = [part.quality for part in parts if part.quality is not None]
    if len(found) < len(parts):
        return None
    worst = min(found, key=lambda quality: quality.score - quality.threshold)
    sure = [(part.quality.confidence, len(part.text)) for part in parts if part.quality and part.quality.confidence]
    confidence: Confidence | None = None
    if sure:
        weight = sum(length for _, length in sure) or 1
        mean = sum(each.mean * (length or 1) for each, length in sure) / max(weight, len(sure))
        confidence = Confidence(round(min(1.0, mean), 4), min(each.minimum for each, _ in sure))
    ink = max(quality.unread_ink for quality in found)
    type_ = max(quality.unread_type for quality in found)
    return Quality(worst.score, worst.threshold, confidence, ink, type_, worst.precision)
