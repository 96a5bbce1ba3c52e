"""The lines of results.jsonl and failures.jsonl: encoding, parsing, checksum.

A line is one JSON object in UTF-8 that ends with `,"crc32":<CRC-32 of the bytes before this comma>}` and a newline.
A line that another program has encoded anew is read as well (`reencoding`).
"""

import re
import zlib
from typing import Annotated, Any, Final, TypeVar

import msgspec
import orjson

from pipeline.quality import Quality
from pipeline.records import Failure, PageId, Prep, Record, Reply, State, failure_state, result_state
from pipeline.wire import replace_surrogates
from pipeline.workspace.reencoding import restore_line, strip_framing
from pipeline.workspace.source_names import decode_name, name_bytes, name_fields

_CHECKSUM: Final = re.compile(rb',"crc32":(\d{1,10})\}$')
_MAX_CHECKSUM_BYTES: Final = 21
_PageNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Line = TypeVar("_Line")


class DamagedLineError(ValueError):
    """A line is damaged, or is no record or failure; the message is the reason."""


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

    `source_b64` and `duplicate_of_b64` hold the exact bytes of names that are not UTF-8.
    """

    id: str
    source: str
    page: _PageNumber
    attempt: str | None
    added: str
    duplicate_of: str | None = None
    meta: dict[str, Any] | None = None
    source_b64: str | None = None
    duplicate_of_b64: str | None = None
    quality: Quality | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when a name is not base64."""
        self.source_bytes()
        self.original_bytes()

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
        return result_state(self.source_bytes(), self.original_bytes())


class ResultLine(ResultHead, frozen=True, kw_only=True):
    """All fields of a line of results.jsonl."""

    sha256: str | None
    text: str
    prep: Prep | None
    reply: Reply
    elapsed_ms: int
    note: str | None = None
    again: bool = False
    text_from: str | None = None


class FailureHead(msgspec.Struct, frozen=True):
    """The fields of a line of failures.jsonl that the index needs."""

    source: str
    page: _PageNumber
    retryable: bool
    added: str
    error: str = msgspec.field(name="class")
    id: str | None = None
    source_b64: str | None = None
    runs: int | None = None
    again: bool = False

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
        "prep": record.prep,
        "reply": record.reply,
        "quality": record.quality,
        "attempt": record.attempt,
        "elapsed_ms": record.elapsed_ms,
        "added": record.added,
    }
    if record.meta is not None:
        fields["meta"] = record.meta
    if record.note is not None:
        fields["note"] = record.note
    if record.again:
        fields["again"] = True
    if record.text_from is not None:
        fields["text_from"] = record.text_from
    return append_checksum(orjson.dumps(fields))


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
    if failure.meta is not None:
        fields["meta"] = failure.meta
    if failure.runs:
        fields["runs"] = failure.runs
    if failure.again:
        fields["again"] = True
    return append_checksum(orjson.dumps(fields))


def append_checksum(json_object: bytes) -> bytes:
    """Return the JSON object as a line, with the CRC-32 of the bytes before it as its last field."""
    opened = json_object[:-1]
    return b'%b,"crc32":%d}\n' % (opened, zlib.crc32(opened))


def check_checksum(line: bytes) -> None:
    """Return when the checksum of a line (without its newline) is right.

    Raises:
        DamagedLineError: the checksum is missing or wrong.
    """
    match = _CHECKSUM.search(line, max(0, len(line) - _MAX_CHECKSUM_BYTES))
    if match is None:
        raise DamagedLineError("no checksum at its end")
    if zlib.crc32(memoryview(line)[: match.start()]) != int(match[1]):
        raise DamagedLineError("its checksum does not match")


def is_intact(line: bytes) -> bool:
    """Return True when the checksum of a line (without its newline) is right."""
    try:
        check_checksum(line)
    except DamagedLineError:
        return False
    return True


def parse_result(line: bytes) -> ResultHead:
    """Return the index's fields of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return _parse(line, _RESULT_HEAD)


def parse_failure(line: bytes) -> FailureHead:
    """Return the index's fields of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return _parse(line, _FAILURE_HEAD)


def parse_whole_failure(line: bytes) -> Failure:
    """Return the failure of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = _parse(line, _FAILURE)
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
    )


def parse_whole_result(line: bytes) -> ResultLine:
    """Return all fields of a line of results.jsonl; faster than a `Record`.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return _parse(line, _RESULT)


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
        attempt=fields.attempt,
        elapsed_ms=fields.elapsed_ms,
        added=fields.added,
        meta=fields.meta,
        note=fields.note,
        again=fields.again,
        quality=fields.quality,
        text_from=fields.text_from,
    )


def _parse(line: bytes, decoder: msgspec.json.Decoder[_Line]) -> _Line:
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
