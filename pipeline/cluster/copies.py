"""What a page becomes that a shard has left to another one: pure.

The results are made from their arguments alone, so that merging again makes the same lines.
"""

from dataclasses import replace

from pipeline.batch.page import first_source, text_of
from pipeline.records import Failure, Record
from pipeline.workspace.deferred_lines import Deferred


def copy_record(page: Deferred, original: Record) -> Record:
    """Return the record of a page whose content another workspace has recognised; no call was made for it."""
    text = text_of(original, page.id)
    return Record(
        id=page.id,
        source=page.source,
        page=page.page,
        sha256=page.sha256,
        text=text.content,
        duplicate_of=first_source(original),
        prep=text.prep if page.prep is None or (text.lines and text.prep) else page.prep,
        reply=text.reply,
        attempts=text.attempts,
        elapsed_ms=page.elapsed_ms,
        added=copy_moment(page.added, original.added),
        meta=page.meta,
        note=text.note,
        quality=text.quality,
        text_from=text.origin,
        skipped=text.skipped,
        pixels=text.pixels or page.pixels,
        lines=text.lines,
        operation=text.operation,
        review=text.review,
    )


def copy_moment(deferred: str, original: str) -> str:
    """Return when a copy was added: not before its page was left, nor before its text was there."""
    return max(deferred, original)


def copy_failure(page: Deferred, failure: Failure) -> Failure:
    """Return the failure of a page whose content has failed in another workspace, which has made the calls."""
    return replace(
        failure, source=page.source, page=page.page, attempts=0, added=page.added, meta=page.meta, again=False
    )
