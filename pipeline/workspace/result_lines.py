"""The lines of results.jsonl: the records of pages."""

from typing import Any, Final

import msgspec

from pipeline.positions import TextLine, line_fields
from pipeline.quality import Quality
from pipeline.records import PageId, Prep, Record, Reply, State, result_state
from pipeline.review import Review
from pipeline.skipped import Skipped
from pipeline.workspace.lines import PageHead, encode_line, parse_line
from pipeline.workspace.prep_fields import prep_fields
from pipeline.workspace.source_names import decode_name, name_bytes, name_fields

_OPTIONAL: Final = frozenset(
    {"meta", "note", "again", "text_from", "skipped", "pixels", "lines", "operation", "review"}
)


class ResultHead(PageHead, frozen=True, kw_only=True):
    """The fields of a line of results.jsonl that the index needs.

    `duplicate_of_b64` holds the exact bytes of a name that is not UTF-8. Until release 0.2, `attempt` was the id of the
    only call, or null.
    """

    id: str
    listed_attempts: tuple[str, ...] | msgspec.UnsetType = msgspec.field(name="attempts", default=msgspec.UNSET)
    attempt: str | msgspec.UnsetType | None = msgspec.UNSET
    duplicate_of: str | None = None
    meta: dict[str, Any] | None = None
    duplicate_of_b64: str | None = None
    quality: Quality | None = None
    skipped: Skipped | None = None
    pixels: str | None = None
    text_from: str | None = None
    lines: tuple[TextLine, ...] | None = None
    review: Review | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when a name is not base64, or no field says which calls brought the text."""
        super().__post_init__()
        self.original_bytes()
        if self.listed_attempts is msgspec.UNSET and self.attempt is msgspec.UNSET:
            raise ValueError("Object missing required field `attempts`")

    @property
    def attempts(self) -> tuple[str, ...]:
        """The ledger's ids of the calls that returned the text."""
        if self.listed_attempts is not msgspec.UNSET:
            return self.listed_attempts
        return (self.attempt,) if isinstance(self.attempt, str) else ()

    def original_bytes(self) -> bytes | None:
        """Return the bytes of the name in `duplicate_of`; None when the page is not a duplicate."""
        if self.duplicate_of is None and self.duplicate_of_b64 is None:
            return None
        return name_bytes(self.duplicate_of or "", self.duplicate_of_b64)

    @property
    def state(self) -> State:
        """The page's state after this record."""
        return result_state(self.source_bytes(), self.original_bytes(), self.skipped)


class ResultLine(ResultHead, frozen=True, kw_only=True):
    """All fields of a line of results.jsonl."""

    sha256: str | None
    text: str
    prep: Prep | None
    reply: Reply
    elapsed_ms: int
    note: str | None = None
    again: bool = False
    operation: str | None = None


_HEAD = msgspec.json.Decoder(ResultHead)
_LINE = msgspec.json.Decoder(ResultLine)


def encode_record(record: Record) -> bytes:
    """Return the record's line for results.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": record.id,
        **name_fields("source", record.source),
        "page": record.page,
        "sha256": record.sha256,
        "text": record.text,
        **name_fields("duplicate_of", record.duplicate_of),
        "prep": prep_fields(record.prep),
        "reply": record.reply,
        "quality": record.quality,
        "attempts": record.attempts,
        "elapsed_ms": record.elapsed_ms,
        "added": record.added,
    }
    fields["meta"], fields["note"], fields["again"] = record.meta, record.note, record.again or None
    fields["text_from"], fields["skipped"], fields["pixels"] = record.text_from, record.skipped, record.pixels
    fields["lines"], fields["operation"] = line_fields(record.lines), record.operation
    fields["review"] = _review_fields(record.review)
    return encode_line(fields, _OPTIONAL)


def _review_fields(review: Review | None) -> dict[str, Any] | None:
    if review is None:
        return None
    original: dict[str, Any] | None = None
    if (first := review.original) is not None:
        original = _known(
            {
                "text": first.text,
                "added": first.added,
                "text_from": first.text_from,
                "skipped": first.skipped,
                "lines": line_fields(first.lines),
            }
        )
    fields = {"at": review.at, "base": review.base, "by": review.by, "browser": review.browser}
    return _known({**fields, "checked": review.checked, "original": original})


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def parse_result(line: bytes) -> ResultHead:
    """Return the index's fields of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _HEAD)


def parse_whole_result(line: bytes) -> ResultLine:
    """Return all fields of a line of results.jsonl; faster than a `Record`.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _LINE)


def parse_record(line: bytes) -> Record:
    """Return the record of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = parse_whole_result(line)
    original = fields.original_bytes()
    return Record(
        id=PageId(fields.id),
        source=decode_name(fields.source_bytes()),
        page=fields.page,
        sha256=fields.sha256,
        text=fields.text,
        duplicate_of=None if original is None else decode_name(original),
        prep=fields.prep,
        reply=fields.reply,
        attempts=fields.attempts,
        elapsed_ms=fields.elapsed_ms,
        added=fields.added,
        meta=fields.meta,
        note=fields.note,
        again=fields.again,
        quality=fields.quality,
        text_from=fields.text_from,
        skipped=fields.skipped,
        pixels=fields.pixels,
        lines=fields.lines,
        operation=fields.operation,
        review=fields.review,
    )
