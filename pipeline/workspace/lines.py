"""The lines of results.jsonl and failures.jsonl: how they are written, and what can be trusted when read again.

A line is one JSON object in UTF-8 that ends with `,"crc32":<CRC-32 of the bytes before this comma>}` and a newline.
"""

import re
import zlib
from typing import Annotated, Any, Final

import msgspec
import orjson
import pybase64

from pipeline.records import Failure, Record, State

_CHECKSUM: Final = re.compile(rb',"crc32":(\d{1,10})\}$')
_MAX_CHECKSUM_BYTES: Final = 21
_PageNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class DamagedLineError(ValueError):
    """A line that is no whole record; the message says in what way."""


class ResultHead(msgspec.Struct, frozen=True):
    """What the index keeps of a line of results.jsonl."""

    id: str
    source: str
    page: _PageNumber
    attempt: str
    added: str
    duplicate_of: str | None = None
    source_b64: str | None = None
    duplicate_of_b64: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when a name is no base64."""
        decode_source(self.source, self.source_b64)
        decode_source("", self.duplicate_of_b64)

    @property
    def state(self) -> State:
        """The state in which the page stands after this record."""
        names = (self.duplicate_of, self.duplicate_of_b64)
        return State.DONE if names in {(None, None), (self.source, self.source_b64)} else State.DUPLICATE


class FailureHead(msgspec.Struct, frozen=True):
    """What the index keeps of a line of failures.jsonl."""

    source: str
    page: _PageNumber
    retryable: bool
    added: str
    error: str = msgspec.field(name="class")
    id: str | None = None
    source_b64: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when the name is no base64."""
        decode_source(self.source, self.source_b64)

    @property
    def state(self) -> State:
        """The state in which the page stands after this failure."""
        return State.UNCERTAIN if self.error == "uncertain" else State.FAILED


_RESULT = msgspec.json.Decoder(ResultHead)
_FAILURE = msgspec.json.Decoder(FailureHead)


def encode_record(record: Record) -> bytes:
    """Return the record's line for results.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": record.id,
        **_name_fields("source", record.source),
        "page": record.page,
        "sha256": record.sha256,
        "text": record.text,
        **_name_fields("duplicate_of", record.duplicate_of),
        "prep": record.prep,
        "reply": record.reply,
        "attempt": record.attempt,
        "elapsed_ms": record.elapsed_ms,
        "added": record.added,
    }
    if record.meta is not None:
        fields["meta"] = record.meta
    if record.note is not None:
        fields["note"] = record.note
    return seal(orjson.dumps(fields))


def encode_failure(failure: Failure) -> bytes:
    """Return the failure's line for failures.jsonl, newline included."""
    fields: dict[str, Any] = {
        "id": failure.id,
        **_name_fields("source", failure.source),
        "page": failure.page,
        "class": failure.error,
        "message": printable(failure.message),
        "attempts": failure.attempts,
        "retryable": failure.retryable,
        "added": failure.added,
    }
    if failure.meta is not None:
        fields["meta"] = failure.meta
    return seal(orjson.dumps(fields))


def seal(body: bytes) -> bytes:
    """Return the JSON object with the CRC-32 of what stands before it as its last field, and a newline."""
    opened = body[:-1]
    return b'%b,"crc32":%d}\n' % (opened, zlib.crc32(opened))


def check_seal(line: bytes) -> None:
    """Return quietly when the line (without its newline) is as it was written.

    Raises:
        DamagedLineError: no checksum, or another one.
    """
    match = _CHECKSUM.search(line, max(0, len(line) - _MAX_CHECKSUM_BYTES))
    if match is None:
        raise DamagedLineError("no checksum at its end")
    if zlib.crc32(memoryview(line)[: match.start()]) != int(match[1]):
        raise DamagedLineError("its checksum does not match")


def parse_result(line: bytes) -> ResultHead:
    """Return the head of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    check_seal(line)
    try:
        return _RESULT.decode(line)
    except msgspec.DecodeError as exc:
        raise DamagedLineError(str(exc)) from exc


def parse_failure(line: bytes) -> FailureHead:
    """Return the head of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    check_seal(line)
    try:
        return _FAILURE.decode(line)
    except msgspec.DecodeError as exc:
        raise DamagedLineError(str(exc)) from exc


def parse_record(line: bytes) -> Record:
    """Return the whole record of a line of results.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    check_seal(line)
    try:
        fields = msgspec.json.decode(line)
        for field in ("source", "duplicate_of"):
            name_b64 = fields.pop(f"{field}_b64", None)
            if name_b64 is not None:
                fields[field] = decode_source(fields[field], name_b64).decode("utf-8", "surrogateescape")
        return msgspec.convert(fields, Record)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:  # msgspec's errors are ValueErrors
        raise DamagedLineError(str(exc)) from exc


def decode_source(source: str, source_b64: str | None) -> bytes:
    """Return the bytes of a source's name: UTF-8 of the text, or the base64 when the name is not UTF-8."""
    return source.encode("utf-8") if source_b64 is None else pybase64.b64decode(source_b64, validate=True)


def encode_source(name: str) -> bytes:
    """Return the bytes of a name in which bytes that are not UTF-8 stand as surrogate escapes."""
    return name.encode("utf-8", "surrogateescape")


def printable(name: str) -> str:
    """Return the name with U+FFFD where it is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _name_fields(field: str, name: str | None) -> dict[str, str | None]:
    """Return the field of a name, and its `_b64` when the name's bytes are not UTF-8."""
    if name is None or name.isascii() or _is_utf8(name):
        return {field: name}
    return {field: printable(name), f"{field}_b64": pybase64.b64encode(encode_source(name)).decode("ascii")}


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
