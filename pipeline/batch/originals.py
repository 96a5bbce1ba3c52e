"""Finds the original of a page: the same content or equal pixels, done or in flight. Only originals are sent."""

from dataclasses import dataclass, replace
from typing import Final

import anyio

from pipeline.batch.attempts import Attempts
from pipeline.batch.equal_pixels import EqualPixels
from pipeline.batch.page import Page
from pipeline.batch.recorder import Recorder
from pipeline.batch.slots import Slot
from pipeline.batch.tiled_pages import TiledPages
from pipeline.errors import PageError
from pipeline.ledger.claims import ContentClaims
from pipeline.records import Failure, PageId, Record
from pipeline.shutdown import ShuttingDownError
from pipeline.workspace.index import Index
from pipeline.workspace.part_lines import Part

_WAITING_DUPLICATES: Final = 1000
"""Duplicates that may wait for their originals at a time; without a bound, memory would grow with the input."""


@dataclass(frozen=True, slots=True)
class Left:
    """How a page ends whose content another shard has claimed.

    Attributes:
        shard: Such as "3/7".
    """

    shard: str


class _Claim:
    """A content that is being recognised, and the event that its duplicates wait for."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.outcome: Record | PageError | Left | None = None
        """None until it ends; stays None when the run ends first."""


class Originals:
    """Recognises each content once.

    Args:
        attempts: Calls for a page whose content is new.
        index: Finds contents that are done or have failed.
        recorder: Records how pages end.
        tiled: Calls for the tiles of a page that needs several.
        is_deduplicated: False sends each page, whatever its content.
        pixels: Finds contents of equal pixels; None compares contents only.
        claims: Of the run's shard; None for a run of whole INPUTs.
    """

    def __init__(
        self,
        attempts: Attempts,
        index: Index,
        recorder: Recorder,
        tiled: TiledPages,
        *,
        is_deduplicated: bool,
        pixels: EqualPixels | None = None,
        claims: ContentClaims | None = None,
    ) -> None:
        self._attempts = attempts
        self._tiled = tiled
        self._index = index
        self._recorder = recorder
        self._is_deduplicated = is_deduplicated
        self._pixels = pixels
        self._shard_claims = claims
        self._waiting = anyio.Semaphore(_WAITING_DUPLICATES)
        self._claims: dict[PageId, _Claim] = {}

    def __repr__(self) -> str:
        return f"<Originals {len(self._claims)} contents in flight>"

    async def recognise_page(self, page: Page, slot: Slot) -> None:
        """Take the text of the same content that is done or in flight, or call for it."""
        payload = page.payload
        equal: tuple[PageId, ...] = ()
        record = self._find_record(page) if self._is_deduplicated else None
        if record is None and self._pixels is not None and payload.needs_call and payload.id not in self._claims:
            page, equal = await self._pixels.find(page)
            record = self._find_record(page, *equal)
        claim = next((self._claims[found] for found in (payload.id, *equal) if found in self._claims), None)
        if record is not None:
            await self._recorder.record_duplicate(page, record)
        elif payload.needs_call and (failure := self._find_failure(page)) is not None:
            await self._recorder.record_left(page, failure)
        elif not self._is_deduplicated:
            await self._record_end(page, await self._obtain(page, slot))
        elif claim is not None:
            await self._wait_for_original(page, claim, slot)
        else:
            await self._claim(page, slot)

    def _find_record(self, page: Page, *equal: PageId) -> Record | None:
        """Return the record of the page's content, or of one that equals it, unless it is older than asked for."""
        for found in (page.payload.id, *equal):
            record = self._index.find_record(found)
            if record is not None and self._index.reviewed.is_as_asked(record, page.file):
                return record
        return None

    def _find_failure(self, page: Page) -> Failure | None:
        """Return the failure of the page's content that is left to `retry`, unless this run was asked to send it."""
        failure = (
            None
            if self._attempts.is_retry
            else self._index.find_left_failure(page.file, page.payload.page, page.payload.id)
        )
        return failure if failure is not None and failure.added >= (page.file.again_before or "") else None

    async def _claim(self, page: Page, slot: Slot) -> None:
        """Call for the page, then wake its duplicates."""
        claim = self._claims[page.payload.id] = _Claim()
        try:
            claim.outcome = await self._obtain_once(page, slot)
        finally:
            del self._claims[page.payload.id]
            claim.ended.set()
        await self._record_end(page, claim.outcome)

    async def _obtain_once(self, page: Page, slot: Slot) -> Record | PageError | Left:
        """Return how the page ends, unless another shard has claimed its content: then it is left to that one."""
        if self._shard_claims is None or not page.payload.needs_call:
            return await self._obtain(page, slot)
        shard = await self._shard_claims.take(page.payload.id)
        if shard is not None:
            return Left(shard)
        outcome = await self._obtain(page, slot)
        self._shard_claims.end(page.payload.id)
        return outcome

    async def _obtain(self, page: Page, slot: Slot) -> Record | PageError:
        """Return the page's record: with the text that it has already, that it is skipped, or by its calls."""
        if not page.payload.needs_call:
            return await self._recorder.record_without_call(page)
        if page.payload.tiles:
            return await self._tiled.recognise_page(page, slot)
        outcome = await self._attempts.recognise_page(page)
        assert not isinstance(outcome, Part)
        return outcome

    async def wait(self, ended: anyio.Event, slot: Slot) -> None:
        """Give the slot back and wait for another page to end."""
        async with self._waiting:
            slot.release()
            await ended.wait()

    async def _wait_for_original(self, page: Page, claim: _Claim, slot: Slot) -> None:
        """Wait, without a slot or memory, until the same content has ended; then end the same way."""
        page = replace(page, payload=replace(page.payload, body=b""))
        await self.wait(claim.ended, slot)
        match claim.outcome:
            case Record() as record:
                await self._recorder.record_duplicate(page, record)
            case PageError() | Left() as outcome:
                await self._record_end(page, outcome)
            case None:
                raise ShuttingDownError

    async def _record_end(self, page: Page, outcome: Record | PageError | Left) -> None:
        """Record a failure, or that the page is left; a record is on disk already."""
        if isinstance(outcome, Left):
            await self._recorder.record_deferred(page, outcome.shard)
        if isinstance(outcome, PageError):
            await self._recorder.record_failure(page.file, page.payload.page, page.payload.id, outcome)
