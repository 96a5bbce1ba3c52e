"""Records how a page ended: first on disk, then in the index, then in the run's counters."""

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
    """A page that is being recognised.

    Attributes:
        file: Its file.
        payload: The prepared request.
        begun_s: When its preparation began, on the event loop's clock.
    """

    file: SourceFile
    payload: Payload
    begun_s: float


@dataclass(frozen=True, slots=True)
class Text:
    """A recognised text and its provenance.

    Attributes:
        content: The text.
        reply: The service's id, time and host.
        attempt: The ledger's id of the call.
        note: A remark for readers of the text; None for none.
    """

    content: str
    reply: Reply
    attempt: str
    note: str | None


class Recorder:
    """Records the pages that end in one run.

    Args:
        sink: Appends to the JSONL files.
        index: Derived from those files.
        shutdown: Requested when too many pages fail.
        max_failures: Failures after which the run stops; None for no bound.
    """

    def __init__(self, sink: Sink, index: Index, shutdown: Shutdown, *, max_failures: int | None) -> None:
        self._sink = sink
        self._index = index
        self._shutdown = shutdown
        self._max_failures = max_failures
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
        message = "recognised" if duplicate_of is None else f"a duplicate of {duplicate_of}"
        logger.debug("%s: %s", page.file.name, message, extra={"page": page.payload.page})
        return record

    async def record_duplicate(self, page: Page, original: Record) -> None:
        """Record a page with the text of an earlier record of the same content, which may be the page's own."""
        await self.record_text(page, _text_of(original), duplicate_of=_first_source(original))

    async def record_fields(self, page: Page, original: Record) -> None:
        """Record further fields of a manifest for a page that has its text already; the page counts as settled."""
        record = await self._append(page, _text_of(original), _first_source(original))
        self.settled[record.state] += 1

    async def _append(self, page: Page, text: Text, duplicate_of: str | None) -> Record:
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
        return record

    async def record_failure(self, file: SourceFile, number: int, page_id: PageId | None, error: PageError) -> None:
        """Append a page's failure to failures.jsonl; return once it is synced.

        Args:
            file: The page's file.
            number: The page's number, 1-based.
            page_id: The page's identity; None when its content is not known.
            error: Why it failed.
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


def _text_of(record: Record) -> Text:
    return Text(record.text, record.reply, record.attempt, record.note)


def _first_source(record: Record) -> str:
    return record.duplicate_of if record.duplicate_of is not None else record.source
