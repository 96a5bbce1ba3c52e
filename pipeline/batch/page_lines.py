"""The values that are written of a page: its record, the part of a tile, the note that another shard has it."""

from dataclasses import dataclass

from pipeline.batch.page import Page, Text
from pipeline.records import Record
from pipeline.workspace.deferred_lines import Deferred
from pipeline.workspace.part_lines import Part


@dataclass(frozen=True, slots=True)
class PageEnd:
    """When a page ended.

    Attributes:
        elapsed_ms: Since its preparation began, in milliseconds.
        added: RFC 3339.
    """

    elapsed_ms: int
    added: str


def record_of(page: Page, text: Text, end: PageEnd, *, duplicate_of: str | None, is_again: bool) -> Record:
    """Return the record of a page with a text.

    Args:
        page: The page.
        text: Its text, or that of an earlier record of the same content.
        end: When it ended.
        duplicate_of: Source of the first record of its content; None for the first.
        is_again: The content was sent again, although it had a record.
    """
    payload = page.payload
    return Record(
        id=payload.id,
        source=page.file.name,
        page=payload.page,
        sha256=payload.sha256,
        text=text.content,
        duplicate_of=duplicate_of,
        prep=text.prep if payload.prep is None or (text.lines and text.prep) else payload.prep,
        reply=text.reply,
        attempts=text.attempts,
        elapsed_ms=end.elapsed_ms,
        added=end.added,
        meta=page.file.meta,
        note=text.note,
        again=is_again,
        quality=text.quality,
        text_from=text.origin,
        skipped=text.skipped,
        pixels=text.pixels or payload.pixels,
        lines=text.lines,
        operation=text.operation,
        review=text.review,
    )


def part_of(page: Page, text: Text, end: PageEnd) -> Part:
    """Return the part of a page that is the text of a tile."""
    payload = page.payload
    assert payload.tile is not None
    (attempt,) = text.attempts
    return Part(
        id=payload.id,
        source=page.file.name,
        page=payload.page,
        tile=payload.tile,
        text=text.content,
        prep=payload.prep,
        reply=text.reply,
        attempt=attempt,
        elapsed_ms=end.elapsed_ms,
        added=end.added,
        note=text.note,
        quality=text.quality,
        lines=text.lines,
        operation=text.operation,
    )


def deferred_of(page: Page, shard: str, end: PageEnd) -> Deferred:
    """Return the note that a page is left to the shard that has claimed its content."""
    payload = page.payload
    return Deferred(
        id=payload.id,
        source=page.file.name,
        page=payload.page,
        sha256=payload.sha256,
        prep=payload.prep,
        shard=shard,
        elapsed_ms=end.elapsed_ms,
        added=end.added,
        meta=page.file.meta,
        pixels=payload.pixels,
    )
