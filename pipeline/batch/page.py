"""A page on its way through a run, and the text that it gets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pipeline.quality import Quality
from pipeline.records import PageId, Payload, Prep, Record, Reply, SourceFile
from pipeline.skipped import Skipped
from pipeline.tiles import Tile


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
        prep: The images as sent, of a page that needed several calls; else None.
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
        prep=record.prep if record.prep is not None and record.prep.tiles is not None else None,
    )


def first_source(record: Record) -> str:
    """Return the source of the first record of a record's content."""
    return record.duplicate_of if record.duplicate_of is not None else record.source
