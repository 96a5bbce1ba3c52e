"""A recognised text and its provenance, from a call or from an earlier record."""

from dataclasses import dataclass

from pipeline.quality import Quality
from pipeline.records import PageId, Record, Reply
from pipeline.skipped import Skipped


@dataclass(frozen=True, slots=True)
class Text:
    """A recognised text and its provenance.

    Attributes:
        content: The text.
        reply: The service's id, time and host.
        attempt: The ledger's id of the call; None when no call was made.
        note: A remark for readers of the text; None for none.
        quality: How well the service says it has read the page; None when it does not say.
        origin: `TEXT_LAYER`, or None for the service.
        skipped: Why there is no text; None for a page that was not skipped.
        pixels: `Record.pixels` of an earlier record of the same content; None takes the page's.
    """

    content: str
    reply: Reply
    attempt: str | None
    note: str | None
    quality: Quality | None
    origin: str | None = None
    skipped: Skipped | None = None
    pixels: str | None = None


def text_of(it: Record, page_id: PageId) -> Text:
    """Return the text of an earlier record, for a page whose content has this identity."""
    pixels = it.pixels if it.id == page_id else None
    return Text(it.text, it.reply, it.attempt, it.note, it.quality, it.text_from, it.skipped, pixels)


def first_source(record: Record) -> str:
    """Return the source of the first record with the content of this one."""
    return record.duplicate_of if record.duplicate_of is not None else record.source
