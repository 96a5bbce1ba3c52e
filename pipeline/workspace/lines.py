"""The lines of results.jsonl and failures.jsonl: encoding, parsing, checksum.

A line is one JSON object in UTF-8 that ends with `,"crc32":<CRC-32 of the bytes before this comma>}` and a newline.
A line that another program has encoded anew is read as well (`reencoding`).
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec
import orjson

from pipeline.positions import TextLine, line_fields
from pipeline.quality import Quality
from pipeline.records import Failure, PageId, Prep, Record, Reply, State, failure_state, result_state
from pipeline.skipped import Skipped
from pipeline.wire import replace_surrogates
from pipeline.workspace.checksums import DamagedLineError, append_checksum, check_checksum
from pipeline.workspace.prep_fields import prep_fields
from pipeline.workspace.reencoding import restore_line, strip_framing
from pipeline.workspace.source_names import decode_name, name_bytes, name_fields

PageNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Line = TypeVar("_Line")
_OPTIONAL: Final = frozenset(
    {"meta", "note", "runs", "again", "is_over", "text_from", "skipped", "pixels", "lines", "operation"}
)


class EditedLineError(DamagedLineError):
    """A line's fields are right and its checksum is not: its values were changed, perhaps by hand.

    Attributes:
        fields: The fields that the parser needs.
    """

    def __init__(self, problem: str, fields: "ResultHead | FailureHead") -> None:
        super().__init__(problem)
        self.fields = fields


class ResultHead(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a line of results.jsonl that the index needs.

    `source_b64` and `duplicate_of_b64` hold the exact bytes of names that are not UTF-8. Until release 0.2, `attempt`
    was the id of the only call, or null.
    """

    id: str
    source: str
    page: PageNumber
    added: str
    listed_attempts: tuple[str, ...] | msgspec.UnsetType = msgspec.field(name="attempts", default=msgspec.UNSET)
    attempt: str | msgspec.UnsetType | None = msgspec.UNSET
    duplicate_of: str | None = None
    meta: dict[str, Any] | None = None
    source_b64: str | None = None
    duplicate_of_b64: str | None = None
    quality: Quality | None = None
    skipped: Skipped | None = None
    pixels: str | None = None
    text_from: str | None = None
    lines: tuple[TextLine, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when a name is not base64, or no field says which calls brought the text."""
        self.source_bytes()
        self.original_bytes()
        if self.listed_attempts is msgspec.UNSET and self.attempt is msgspec.UNSET:
            raise ValueError("Object missing required field `attempts`")

    @property
    def attempts(self) -> tuple[str, ...]:
        """The ledger's ids of the calls that returned the text."""
        if self.listed_attempts is not msgspec.UNSET:
            return self.listed_attempts
        return (self.attempt,) if isinstance(self.attempt, str) else ()

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""
        return name_bytes(self.source, self.source_b64)

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


class FailureHead(msgspec.Struct, frozen=True):
    """The fields of a line of failures.jsonl that the index needs."""

    source: str
    page: PageNumber
    retryable: bool
    added: str
    error: str = msgspec.field(name="class")
    id: str | None = None
    source_b64: str | None = None
    runs: int | None = None
    again: bool = False
    is_over: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError when the name is not base64."""
        self.source_bytes()

    def source_bytes(self) -> bytes:
        """Return the bytes of the source's name."""
        return name_bytes(self.source, self.source_b64)

    @property
    def state(self) -> State:
        """The page's state after this failure."""
        return failure_state(self.error)


class _FailureLine(FailureHead, frozen=True):
    """All fields of a line of failures.jsonl."""

    message: str = ""
    attempts: int = 0
    meta: dict[str, Any] | None = None


_RESULT_HEAD = msgspec.json.Decoder(ResultHead)
_RESULT = msgspec.json.Decoder(ResultLine)
_FAILURE_HEAD = msgspec.json.Decoder(FailureHead)
_FAILURE = msgspec.json.Decoder(_FailureLine)


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
    return _encode(fields)


def encode_failure(failure: Failure) -> bytes:
    """Return the failure's line for failures.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": failure.id,
        **name_fields("source", failure.source),
        "page": failure.page,
        "class": failure.error,
        "message": replace_surrogates(failure.message),
        "attempts": failure.attempts,
        "retryable": failure.retryable,
        "added": failure.added,
    }
    fields["meta"], fields["runs"], fields["again"] = failure.meta, failure.runs or None, failure.again or None
    fields["is_over"] = failure.is_over or None
    return _encode(fields)


def _encode(fields: dict[str, Any]) -> bytes:
    """Return a line without the optional fields that have no value."""
    return append_checksum(orjson.dumps({k: v for k, v in fields.items() if v is not None or k not in _OPTIONAL}))


def parse_result(line: bytes) -> ResultHead:
    """Return the index's fields of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _RESULT_HEAD)


def parse_failure(line: bytes) -> FailureHead:
    """Return the index's fields of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _FAILURE_HEAD)


def parse_whole_failure(line: bytes) -> Failure:
    """Return the failure of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = parse_line(line, _FAILURE)
    return Failure(
        id=None if fields.id is None else PageId(fields.id),
        source=decode_name(fields.source_bytes()),
        page=fields.page,
        error=fields.error,
        message=fields.message,
        attempts=fields.attempts,
        retryable=fields.retryable,
        added=fields.added,
        meta=fields.meta,
        runs=fields.runs or 0,
        again=fields.again,
        is_over=fields.is_over,
    )


def parse_whole_result(line: bytes) -> ResultLine:
    """Return all fields of a line of results.jsonl; faster than a `Record`.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _RESULT)


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
    )


def parse_line(line: bytes, decoder: msgspec.json.Decoder[_Line]) -> _Line:
    """Return the fields of a line.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    try:
        check_checksum(line)
    except DamagedLineError as exc:
        restored = restore_line(line)
        if restored is None:
            raise _describe_change(line, decoder, exc) from exc
        line = restored
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as exc:  # msgspec's errors, and UnicodeDecodeError, are ValueErrors
        raise DamagedLineError(str(exc)) from exc


def _describe_change(line: bytes, decoder: msgspec.json.Decoder[_Line], problem: DamagedLineError) -> DamagedLineError:
    """Return the error for a line whose checksum is wrong."""
    try:
        fields = decoder.decode(strip_framing(line))
    except (ValueError, RecursionError):
        return problem
    return EditedLineError(str(problem), fields) if isinstance(fields, ResultHead | FailureHead) else problem
