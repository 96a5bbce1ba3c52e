"""Writes down how a page ended: on disk first, then in the index, then in the tally."""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from pipeline.errors import MaxFailuresError, PageError
from pipeline.records import Failure, PageId, Payload, Record, Reply, SourceFile, State, rfc3339
from pipeline.shutdown import Shutdown
from pipeline.workspace.index import Index
from pipeline.workspace.sink import Sink

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class Page:
    """A page on its way.

    Attributes:
        file: Where it comes from.
        payload: What is sent.
        begun_s: When it was taken up, on the event loop's clock.
    """

    file: SourceFile
    payload: Payload
    begun_s: float


@dataclass(frozen=True, slots=True)
class Text:
    """What a call brought, and where from."""

    content: str
    reply: Reply
    attempt: str
    note: str | None


class Recorder:
    """The ends of pages in one run.

    Args:
        sink: The files.
        index: What is derived from them.
        drain: Ended when too many pages fail.
        max_failures: So many may fail; None is any number.
    """

    def __init__(self, sink: Sink, index: Index, shutdown: Shutdown, *, max_failures: int | None) -> None:
        self._sink = sink
        self._index = index
        self._shutdown = shutdown
        self._max_failures = max_failures
        self.ended: Counter[State] = Counter()
        """Pages that ended in this run."""
        self.settled: Counter[State] = Counter()
        """Pages that were found to have ended before."""

    def __repr__(self) -> str:
        return f"<Recorder {dict(self.ended)}>"

    async def record(self, page: Page, text: Text, *, duplicate_of: str | None = None) -> Record:
        """Put a page's text on disk, and return its record."""
        payload = page.payload
        record = Record(
            id=payload.id,
            source=page.file.name,
            page=payload.page,
            sha256=payload.sha256,
            text=text.content,
            duplicate_of=duplicate_of,
            prep=payload.prep,
            reply=text.reply,
            attempt=text.attempt,
            elapsed_ms=round((anyio.current_time() - page.begun_s) * 1000),
            added=rfc3339(datetime.now(UTC)),
            meta=page.file.meta,
            note=text.note,
        )
        span = await self._sink.append_record(record)
        self._index.add_record(record, span)
        self.ended[record.state] += 1
        message = "recognised" if duplicate_of is None else f"a duplicate of {duplicate_of}"
        logger.debug("%s: %s", page.file.name, message, extra={"page": payload.page})
        return record

    async def record_duplicate(self, page: Page, original: Record) -> None:
        """Give a page the text of an earlier record of the same content, which may be its own."""
        first = original.duplicate_of if original.duplicate_of is not None else original.source
        text = Text(original.text, original.reply, original.attempt, original.note)
        await self.record(page, text, duplicate_of=first)

    async def fail(self, file: SourceFile, number: int, page_id: PageId | None, error: PageError) -> None:
        """Put a page's failure on disk.

        Args:
            file: The page's file.
            number: 1-based.
            page_id: The page's identity; None when its content is not known.
            error: Why.
        """
        failure = Failure(
            id=page_id,
            source=file.name,
            page=number,
            error=error.name,
            message=str(error),
            attempts=error.attempts,
            retryable=error.retryable,
            added=rfc3339(datetime.now(UTC)),
            meta=file.meta,
        )
        span = await self._sink.append_failure(failure)
        self._index.add_failure(failure, span)
        self.ended[failure.state] += 1
        logger.warning("%s: %s", file.name, error, extra={"page": number, "class": error.name})
        failed = self.ended[State.FAILED] + self.ended[State.UNCERTAIN]
        if self._max_failures is not None and failed > self._max_failures:
            self._shutdown.request(MaxFailuresError(f"more than {self._max_failures} pages failed"))
