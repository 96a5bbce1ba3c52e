"""Records how a page ended: first on disk, then in the index, then in the run's counters."""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio

from pipeline.batch.events import EventQueue
from pipeline.batch.page import Page, Text, first_source, text_of
from pipeline.batch.page_lines import PageEnd, deferred_of, part_of, record_of
from pipeline.errors import MaxFailuresError, PageError, StorageError, TemporaryError, UnreadableFileError
from pipeline.records import (
    MAX_FAILED_RUNS,
    TEXT_LAYER,
    Failure,
    PageId,
    Record,
    Reply,
    SourceFile,
    State,
    limits_runs,
    rfc3339,
)
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.page_rows import deferred_row
from pipeline.workspace.part_lines import Part
from pipeline.workspace.sink import Sink

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class _Undecided:
    """A failed page of which it is not known yet whether the page or the service is to blame.

    Attributes:
        file: The page's file.
        number: The page's number, 1-based.
        id: The page's identity.
        error: Why its attempts failed.
        since: Number of its first failed call.
    """

    file: SourceFile
    number: int
    id: PageId
    error: PageError
    since: int


class Recorder:
    """Records the pages that end in one run.

    A failure that may be the service's is not written before a text shows that the service works; when the run ends
    with none, the page stays pending.

    Args:
        sink: Appends to the JSONL files.
        index: Derived from those files.
        shutdown: Requested when too many pages fail.
        max_failures: Failures after which the run stops; None for no bound.
        events: Takes each record and failure once it is synced.
    """

    def __init__(
        self, sink: Sink, index: Index, shutdown: Shutdown, *, max_failures: int | None, events: EventQueue
    ) -> None:
        self._sink = sink
        self._index = index
        self._shutdown = shutdown
        self._max_failures = max_failures
        self._events = events
        self._begun = rfc3339(datetime.now(UTC))
        self._undecided: list[_Undecided] = []
        self.has_text = False
        """A call of this run has brought a text."""
        self.ended: Counter[State] = Counter()
        """Pages that ended in this run."""
        self.settled: Counter[State] = Counter()
        """Pages of the input that had ended before this run."""

    def __repr__(self) -> str:
        return f"<Recorder {dict(self.ended)}>"

    async def record_text(self, page: Page, text: Text, *, duplicate_of: str | None = None) -> Record:
        """Append a page's record to results.jsonl, count the page, and return the record once it is synced."""
        record = await self._append(page, text, duplicate_of)
        self.ended[record.state] += 1
        self.has_text = self.has_text or (duplicate_of is None and bool(text.attempts))
        message = "recognised" if duplicate_of is None else f"a duplicate of {duplicate_of}"
        message = message if text.skipped is None else f"skipped, {text.skipped.reason}"
        logger.debug("%s: %s", page.file.name, message, extra={"page": page.payload.page})
        return record

    async def record_without_call(self, page: Page) -> Record:
        """Record a page with the text that its file has already, or that it is not worth a call."""
        payload = page.payload
        origin = TEXT_LAYER if payload.skipped is None else None
        reply = Reply(None, None, origin or "skipped")
        return await self.record_text(page, Text(payload.text or "", reply, (), None, None, origin, payload.skipped))

    async def record_duplicate(self, page: Page, original: Record) -> None:
        """Record a page with the text of an earlier record of the same content, which may be the page's own."""
        await self.record_text(page, text_of(original, page.payload.id), duplicate_of=first_source(original))

    async def record_fields(self, page: Page, original: Record) -> None:
        """Record further fields of a manifest for a page that has its text already; the page counts as settled."""
        record = await self._append(page, text_of(original, page.payload.id), first_source(original))
        self.settled[record.state] += 1

    async def _append(self, page: Page, text: Text, duplicate_of: str | None) -> Record:
        is_again = duplicate_of is None and self._is_sent_again(page.file, page.payload.id)
        record = record_of(page, text, _end_of(page), duplicate_of=duplicate_of, is_again=is_again)
        record = self._index.reviewed.keep(record, page.file)
        self._index.add_record(record, await self._sink.append_record(record))
        self._events.put(record)
        return record

    async def record_part(self, page: Page, text: Text) -> Part:
        """Append the text of a tile to parts.jsonl, and return it once it is synced; the page has not ended by that."""
        part = part_of(page, text, _end_of(page))
        self._index.parts.add(part, await self._sink.append_part(part))
        self.has_text = True
        message = "%s: tile %d of %d recognised"
        logger.debug(message, part.source, part.tile.number, part.tile.of, extra={"page": part.page})
        return part

    async def record_failure(self, file: SourceFile, number: int, page_id: PageId | None, error: PageError) -> None:
        """Append a page's failure to failures.jsonl, and return once it is synced; an undecided one waits.

        Args:
            file: The page's file.
            number: The page's number, 1-based.
            page_id: The page's identity; None when its content is not known.
            error: Why it failed.
        """
        if error.undecided_since is not None and page_id is not None:
            self._undecided.append(_Undecided(file, number, page_id, error, error.undecided_since))
            return
        await self._write_failure(file, number, page_id, error)

    async def keep_reply(self, attempt: str, body: bytes) -> str | None:
        """Keep a paid reply that could not be understood; return its file's name in the workspace, if it is kept."""
        return await self._sink.keep_reply(attempt, body)

    def has_failed_before(self, page: Page) -> bool:
        """Return whether the calls for a page failed in the last run, too."""
        return self._count_runs(page.file, page.payload.page, page.payload.id) > 0

    def is_undecided(self, file: SourceFile, number: int) -> bool:
        """Return whether a page has failed in this run, and it is not known yet whether the service is to blame."""
        return any(each.file.name == file.name and each.number == number for each in self._undecided)

    async def settle_undecided(self, *, blames_pages: bool) -> None:
        """Decide at the end of the inputs whether the pages left or the service failed.

        When not one call of the run has succeeded and several pages have failed, the service is to blame: the run ends
        as temporary, and the pages stay pending. So do they when the run ends early. A page that failed in an earlier
        run, among others that got their text, is to blame itself, or each run would send it again.

        Args:
            blames_pages: The run ended because calls fail, and the pages are to blame rather than the service.
        """
        failed_before = [each for each in self._undecided if self._count_runs(each.file, each.number, each.id)]
        self._undecided = [each for each in self._undecided if each not in failed_before]
        fresh = {each.id for each in self._undecided}
        if len(fresh) > 1 and not self.has_text and not blames_pages and self._shutdown.reason is None:
            message = f"every call of this run failed; {self._undecided[-1].error}; run again later"
            self._shutdown.request(TemporaryError(message))
        try:
            for each in failed_before:
                await self._write_failure(each.file, each.number, each.id, each.error)
            if self._shutdown.reason is None or blames_pages:
                await self.write_undecided()
            for each in self._undecided:
                self._index.inventory.mark_page_pending(each.file, each.number, each.id)
        except StorageError as exc:
            self._shutdown.request(exc)

    async def write_undecided(self, *, before_call: int | None = None) -> None:
        """Write the failures of pages that are to blame after all.

        Args:
            before_call: Number of a call that brought a text: pages whose first failed call was earlier are to blame.
                None blames all.
        """
        decided = [each for each in self._undecided if before_call is None or each.since < before_call]
        self._undecided = [each for each in self._undecided if before_call is not None and each.since >= before_call]
        for each in decided:
            await self._write_failure(each.file, each.number, each.id, each.error)

    async def record_left(self, page: Page, failure: Failure) -> None:
        """Record that a page was not sent, because its content has failed before and is left to `retry`.

        Args:
            page: The page.
            failure: Of the content, as this page or another one.
        """
        number = page.payload.page
        if (failure.source, failure.page) == (page.file.name, number):  # it was touched, or moved back
            self.settled[State.FAILED] += 1
            return
        message = f"the same content has failed as {failure.source}; pagemill retry sends both"
        await self._append_failure(
            replace(
                failure,
                source=page.file.name,
                page=number,
                message=message,
                attempts=0,
                added=rfc3339(datetime.now(UTC)),
                meta=page.file.meta,
                again=False,
            )
        )

    async def record_deferred(self, page: Page, shard: str) -> None:
        """Record that a page is left to the shard that has claimed its content; it stays pending here."""
        deferred = deferred_of(page, shard, _end_of(page))
        if not self._index.deferrals.is_left(deferred_row(deferred)):
            self._index.add_deferred(deferred, await self._sink.append_deferred(deferred))
            logger.debug("%s: left to shard %s", page.file.name, shard, extra={"page": deferred.page})

    async def record_listed(self, name: str) -> None:
        """Record that an archive or a folder whose listing failed in an earlier run was listed whole."""
        kind, added = UnreadableFileError, rfc3339(datetime.now(UTC))
        over = Failure(None, name, 1, kind.name, "listed whole", 0, kind.retryable, added, is_over=True)
        self._index.add_failure(over, await self._sink.append_failure(over))

    def _is_sent_again(self, file: SourceFile, page_id: PageId) -> bool:
        is_again = file.again_before is not None and self._index.find_record(page_id) is not None
        return is_again or self._index.positioned.sends_again(page_id)

    def _count_runs(self, file: SourceFile, number: int, page_id: PageId | None) -> int:
        """Return the number of earlier runs in a row in which the calls for a page have failed."""
        return self._index.count_failed_runs(file.name, number, page_id, before=self._begun)

    async def _write_failure(self, file: SourceFile, number: int, page_id: PageId | None, error: PageError) -> None:
        runs = self._count_runs(file, number, page_id) + 1 if limits_runs(error.name) else 0
        is_left = error.retryable and runs >= MAX_FAILED_RUNS
        message = f"{error}; it has failed in {runs} runs and is left to: pagemill retry" if is_left else str(error)
        await self._append_failure(
            Failure(
                id=page_id,
                source=file.name,
                page=number,
                error=error.name,
                message=message,
                attempts=error.attempts,
                retryable=error.retryable and not is_left,
                added=rfc3339(datetime.now(UTC)),
                meta=file.meta,
                runs=runs,
                again=page_id is not None and self._is_sent_again(file, page_id),
            )
        )

    async def _append_failure(self, failure: Failure) -> None:
        self._index.add_failure(failure, await self._sink.append_failure(failure))
        self._events.put(failure)
        self.ended[failure.state] += 1
        logger.warning("%s: %s", failure.source, failure.message, extra={"page": failure.page, "class": failure.error})
        failed = self.ended[State.FAILED] + self.ended[State.UNCERTAIN]
        if self._max_failures is not None and failed > self._max_failures:
            self._shutdown.request(MaxFailuresError(f"more than {self._max_failures} pages failed"))


def _end_of(page: Page) -> PageEnd:
    return PageEnd(round((anyio.current_time() - page.begun_s) * 1000), rfc3339(datetime.now(UTC)))
