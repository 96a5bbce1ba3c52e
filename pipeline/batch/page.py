"""A page on its way through a run, and the text that it gets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pipeline.positions import ADVANCED_RECOGNITION, TextLine, describe_missing
from pipeline.quality import Quality
from pipeline.records import PageId, Payload, Prep, Record, Reply, SourceFile
from pipeline.review import Review
from pipeline.service import Service
from pipeline.skipped import Skipped
from pipeline.tiles import Tile
from pipeline.wire import WireReply


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or a tile of one, that is being recognised.

    Attributes:
        file: Its file.
        payload: The prepared request.
        begun_s: When its preparation began, on the event loop's clock.
        prepare_tile: Prepares a tile of a page that needs several calls; raises PageError.
    """

    file: SourceFile
    payload: Payload
    begun_s: float
    prepare_tile: Callable[[Tile], Awaitable[Payload]] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A recognised text and its provenance.

    Attributes:
        content: The text.
        reply: The service's id, time and host.
        attempts: The ledger's ids of the calls; none when no call was made.
        note: A remark for readers of the text; None for none.
        quality: How well the service says it has read the page; None when it does not say.
        origin: `TEXT_LAYER`, or None for the service.
        skipped: Why there is no text; None for a page that was not skipped.
        pixels: `Record.pixels` of an earlier record of the same content; None takes the page's.
        prep: The images as sent, of a page that needed several calls, or of the page whose lines these are; else None.
        lines: Where its lines are; None when that was not asked for.
        operation: As in `Record`.
        review: As in `Record`.
    """

    content: str
    reply: Reply
    attempts: tuple[str, ...]
    note: str | None
    quality: Quality | None
    origin: str | None = None
    skipped: Skipped | None = None
    pixels: str | None = None
    prep: Prep | None = None
    lines: tuple[TextLine, ...] | None = None
    operation: str | None = None
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the texts of a run come from.

    Attributes:
        host: Of the service; the embedded engine's name.
        keeps_lines: Positions are asked for.
        operation: As in `Record`.
    """

    host: str
    keeps_lines: bool = False
    operation: str | None = None

    def text(self, reply: WireReply, attempt: str, note: str | None) -> Text:
        """Return the text of a reply.

        Args:
            reply: It.
            attempt: The ledger's id of the call.
            note: A remark on it; None for none.
        """
        lines = None
        if self.keeps_lines:
            lines = () if reply.found is None else reply.found.lines
            note = "; ".join(filter(None, (note, describe_missing(reply.found, reply.content)))) or None
        origin = Reply(reply.id, reply.timestamp_ms, self.host)
        return Text(reply.content, origin, (attempt,), note, reply.quality, lines=lines, operation=self.operation)


def origin_of(service: Service, *, keeps_lines: bool) -> Origin:
    """Return where the texts of a service come from."""
    if not service.metered:
        return Origin(service.name, keeps_lines)
    return Origin(service.host, keeps_lines, ADVANCED_RECOGNITION if keeps_lines else None)


def text_of(record: Record, page_id: PageId) -> Text:
    """Return the text of a record, for a page of this content or of equal pixels."""
    return Text(
        record.text,
        record.reply,
        record.attempts,
        record.note,
        record.quality,
        record.text_from,
        skipped=record.skipped,
        pixels=record.pixels if record.id == page_id else None,
        prep=record.prep if record.prep is not None and (record.prep.tiles or record.lines) else None,
        lines=record.lines,
        operation=record.operation,
        review=record.review,
    )


def first_source(record: Record) -> str:
    """Return the source of the first record of a record's content."""
    return record.duplicate_of if record.duplicate_of is not None else record.source
