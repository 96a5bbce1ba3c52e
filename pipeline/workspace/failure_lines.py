"""The lines of failures.jsonl: the failures of pages."""

from typing import Any, Final

import msgspec

from pipeline.records import Failure, PageId, State, failure_state
from pipeline.wire import replace_surrogates
from pipeline.workspace.lines import PageHead, encode_line, parse_line
from pipeline.workspace.source_names import decode_name, name_fields

_OPTIONAL: Final = frozenset({"meta", "runs", "again", "is_over"})


class FailureHead(PageHead, frozen=True, kw_only=True):
    """The fields of a line of failures.jsonl that the index needs."""

    retryable: bool
    error: str = msgspec.field(name="class")
    id: str | None = None
    runs: int | None = None
    again: bool = False
    is_over: bool = False

    @property
    def state(self) -> State:
        """The page's state after this failure."""
        return failure_state(self.error)


class _FailureLine(FailureHead, frozen=True, kw_only=True):
    """All fields of a line of failures.jsonl."""

    message: str = ""
    attempts: int = 0
    meta: dict[str, Any] | None = None


_HEAD = msgspec.json.Decoder(FailureHead)
_LINE = msgspec.json.Decoder(_FailureLine)


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
    return encode_line(fields, _OPTIONAL)


def parse_failure(line: bytes) -> FailureHead:
    """Return the index's fields of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    return parse_line(line, _HEAD)


def parse_whole_failure(line: bytes) -> Failure:
    """Return the failure of a line of failures.jsonl.

    Raises:
        DamagedLineError: the checksum or a field is wrong.
    """
    fields = parse_line(line, _LINE)
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
