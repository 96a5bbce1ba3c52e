"""A page's row in the index, as a line of results.jsonl or failures.jsonl makes it."""

from dataclasses import dataclass
from hashlib import blake2b

import orjson

from pipeline.records import Failure, Meta, PageId, Record, State
from pipeline.review import CORRECTION
from pipeline.skipped import Skipped
from pipeline.workspace.deferred_lines import Deferred
from pipeline.workspace.failure_lines import FailureHead
from pipeline.workspace.result_lines import ResultHead
from pipeline.workspace.source_names import encode_name


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row of the table `page`: a page's state after one line.

    Attributes:
        source: The bytes of the source's name.
        page: 1-based.
        state: The page's state.
        retryable: True when the next run sends the page again without being asked.
        added: RFC 3339.
        id: Identity of the page's content; None when the content could not be read.
        meta: Digest of the manifest's fields in the record; None for a record without any, and for a failure.
        attempts: The calls that brought the record's text; none for a failure.
        in_doubt: The service doubts the record's text.
        pixels: Size, and hash if known, of the page's pixels; None where these are not compared.
        skipped: Why the page was not sent; None for a page with a text, and for a failure.
        lacks_lines: The service read the page without saying where its lines are.
        leads: Later pages of this content take their text from this record.
        is_checked: A person marked its text as checked.
        is_corrected: A person wrote its text.
    """

    source: bytes
    page: int
    state: State
    retryable: bool
    added: str
    id: PageId | None
    meta: bytes | None = None
    attempts: tuple[str, ...] = ()
    in_doubt: bool = False
    skipped: Skipped | None = None
    pixels: str | None = None
    lacks_lines: bool = False
    leads: bool = False
    is_checked: bool = False
    is_corrected: bool = False


def meta_digest(meta: Meta | None) -> bytes | None:
    """Return a digest of a manifest row's fields, whatever their order; None when there are none."""
    return blake2b(orjson.dumps(meta, option=orjson.OPT_SORT_KEYS), digest_size=16).digest() if meta else None


def record_row(record: Record) -> PageRow:
    """Return a page's row after a record."""
    return _result_row(record, encode_name(record.source))


def result_row(head: ResultHead) -> PageRow:
    """Return a page's row after a line of results.jsonl."""
    return _result_row(head, head.source_bytes())


def _result_row(record: Record | ResultHead, source: bytes) -> PageRow:
    is_checked = record.review is not None and record.review.checked is not None
    is_corrected = record.text_from == CORRECTION
    return PageRow(
        source,
        record.page,
        record.state,
        retryable=False,
        added=record.added,
        id=PageId(record.id),
        meta=meta_digest(record.meta),
        attempts=record.attempts,
        in_doubt=_is_in_doubt(record) and not (is_checked or is_corrected),
        skipped=None if is_checked else record.skipped,
        pixels=record.pixels,
        lacks_lines=lacks_lines(record),
        leads=record.duplicate_of is None or record.review is not None,
        is_checked=is_checked,
        is_corrected=is_corrected,
    )


def failure_row(failure: Failure | FailureHead) -> PageRow:
    """Return a page's row after a failure, or after its line in failures.jsonl."""
    source = encode_name(failure.source) if isinstance(failure, Failure) else failure.source_bytes()
    page_id = None if failure.id is None else PageId(failure.id)
    return PageRow(source, failure.page, failure.state, retryable=failure.retryable, added=failure.added, id=page_id)


def deferred_row(page: Deferred) -> PageRow:
    """Return the row of a page that was left to another shard: pending, and not sent by the next run."""
    source = encode_name(page.source)
    return PageRow(source, page.page, State.PENDING, retryable=False, added=page.added, id=page.id)


def lacks_lines(record: Record | ResultHead) -> bool:
    """Return whether a call with positions would say more than the record does."""
    text_from, skipped = record.text_from, record.skipped
    if record.text_from == CORRECTION and record.review is not None:
        if (original := record.review.original) is None:
            return False
        text_from, skipped = original.text_from, original.skipped
    return record.lines is None and text_from is None and skipped is None


def _is_in_doubt(record: Record | ResultHead) -> bool:
    return record.quality is not None and record.quality.is_in_doubt
