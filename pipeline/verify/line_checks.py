"""Faults of a single line of results.jsonl or failures.jsonl; each kind of damage has a message of its own."""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pipeline.errors import one_line, page_errors
from pipeline.records import MAX_FAILED_RUNS, TEXT_LAYER, Record
from pipeline.review import Review
from pipeline.skipped import BLANK, SMALLER
from pipeline.workspace.checksums import DamagedLineError, check_checksum, is_intact
from pipeline.workspace.failure_lines import FailureHead
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.part_lines import Part
from pipeline.workspace.reencoding import restore_line
from pipeline.workspace.result_lines import parse_result
from pipeline.workspace.source_names import decode_name

_BEGIN: Final = re.compile(rb'\{"id":(?:"(?:sha256|url):|null,)')
_END: Final = re.compile(rb',"crc32":\d{1,10}\}')
_CONTENT_ID: Final = re.compile(r"sha256:([0-9a-f]{64})#([1-9]\d*)")
_URL_ID: Final = re.compile(r"url:([0-9a-f]{64})#1")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def find_damage(line: bytes) -> str | None:
    """Return what is wrong with a line's bytes, newline included; None when they are as pagemill wrote them.

    A run reads some such lines all the same: those that another program has encoded anew, or whose newline is missing.
    """
    try:
        check_checksum(line.removesuffix(b"\n"))
    except DamagedLineError as exc:
        return describe_damage(line, exc)
    return None if line.endswith(b"\n") else describe_damage(line, DamagedLineError("no newline at its end"))


def describe_damage(line: bytes, problem: DamagedLineError) -> str:
    """Return the probable cause of the damage to a line.

    Args:
        line: The line with its newline, if it has one.
        problem: The parser's error; its message is returned when no cause is recognised.
    """
    body = line.removesuffix(b"\n")
    if not body:
        return "an empty line"
    if zeros := body.count(b"\0"):
        return f"{zeros} zero bytes, as a power failure leaves them"
    if body == line:
        aside = "adds it" if is_intact(body) else "moves the line aside"
        return f"it ends without a newline, as a crash leaves it; the next run {aside}"
    return _describe_joint(body) or _describe_change(body) or str(problem)


def _describe_joint(body: bytes) -> str | None:
    """Return what surrounds an intact line that is part of this one; None when no part is intact."""
    if body.endswith(b"\r") and is_intact(body[:-1]):
        return "its end is CR LF: an editor or a transfer has changed the file"
    if (end := _END.search(body)) is not None and end.end() < len(body) and is_intact(body[: end.end()]):
        return f"a whole line and more: the newline at its byte {end.end()} is missing"
    *_, last = (0, *(begin.start() for begin in _BEGIN.finditer(body, 1)))
    if last and is_intact(body[last:]):
        return f"a torn line followed by a whole one at its byte {last}"
    return None


def _describe_change(body: bytes) -> str | None:
    """Return how a line with a wrong checksum was changed; None when it is no JSON of pagemill's."""
    if is_intact(body):
        return None
    if restore_line(body) is not None:
        return "another program has encoded it anew; its values are the same, and a run reads it"
    try:
        parse_result(body)
    except EditedLineError as exc:
        return f"{exc}, and its fields are right: was it edited? `pagemill correct OUT --reseal` accepts the change"
    except DamagedLineError:
        pass
    return None


def check_record(record: Record) -> Iterator[str]:
    """Yield the faults of a record whose checksum and types are right."""
    if (match := _CONTENT_ID.fullmatch(record.id)) is not None:
        if (match[1], int(match[2])) != (record.sha256, record.page):
            yield f"its id {record.id} does not fit its sha256 and page {record.page}"
    elif (match := _URL_ID.fullmatch(record.id)) is None:
        yield f"its id {record.id[:80]!r} is not the id of a page"
    elif match[1] != hashlib.sha256(record.source.encode("utf-8", "surrogatepass")).hexdigest():
        yield f"its id {record.id} is that of another URL"
    is_called = bool(record.attempts) and all(record.attempts)
    yield from _check_review(record)
    if record.skipped is not None:
        yield from _check_skipped(record)
    elif not is_called and record.text_from != TEXT_LAYER and not _had_no_call(record):
        yield "it has no attempt"
    elif is_called and record.text_from == TEXT_LAYER:
        yield f"its text is that of the file, and yet it has an attempt, {record.attempts[0]}"
    if record.elapsed_ms < 0:
        yield f"elapsed_ms is {record.elapsed_ms}"
    if not _is_moment(record.added):
        yield f"added is not a time: {record.added[:40]!r}"


def _had_no_call(record: Record) -> bool:
    """Return whether a person wrote the text of a page that was never read: failed, skipped, or with a text layer."""
    original = None if record.review is None else record.review.original
    return record.is_corrected and (
        original is None or original.skipped is not None or original.text_from == TEXT_LAYER
    )


def _check_review(record: Record) -> Iterator[str]:
    """Yield the faults of what a record says about a person's review."""
    review = record.review
    if review is None:
        if record.is_corrected:
            yield "its text is a person's correction, and nothing says of which text"
        return
    is_kept = review.original is None or review.original.text is not None
    if is_kept != record.is_corrected:
        yield (
            "its review keeps an original, and its text is that"
            if is_kept
            else "its text is a person's correction without its original"
        )
    for name, moment in _review_moments(review):
        if not _is_moment(moment):
            yield f"{name} of its review is not a time: {moment[:40]!r}"


def _review_moments(review: Review) -> Iterator[tuple[str, str]]:
    yield "at", review.at
    if review.checked is not None:
        yield "checked", review.checked
    if review.original is not None:
        yield "added", review.original.added


def check_part(part: Part) -> Iterator[str]:
    """Yield the faults of a tile whose checksum and types are right."""
    match = _CONTENT_ID.fullmatch(part.id)
    if match is None or int(match[2]) != part.page:
        yield f"its id {part.id[:80]!r} is not that of page {part.page}"
    if not part.attempt:
        yield "it has no attempt"
    if part.elapsed_ms < 0:
        yield f"elapsed_ms is {part.elapsed_ms}"
    if not _is_moment(part.added):
        yield f"added is not a time: {part.added[:40]!r}"


def _check_skipped(record: Record) -> Iterator[str]:
    if record.text or record.attempts:
        yield "it was skipped, and yet it has a text or an attempt"
    if record.skipped is not None and record.skipped.reason not in {BLANK, SMALLER}:
        yield f"it was skipped for an unknown reason, {record.skipped.reason[:40]!r}"


def check_failure(failure: FailureHead) -> Iterator[str]:
    """Yield the faults of a failure whose checksum and types are right."""
    retryable = {error.name: error.retryable for error in page_errors()}.get(failure.error)
    if retryable is None:
        yield f"the class {failure.error[:40]!r} is unknown"
    elif failure.retryable and not retryable:
        yield f"retryable is true, which the class {failure.error} never is"
    elif retryable and not failure.retryable and (failure.runs or 0) < MAX_FAILED_RUNS:
        yield f"retryable is false, which the class {failure.error} is after {MAX_FAILED_RUNS} runs only"
    if failure.id is not None:
        match = _CONTENT_ID.fullmatch(failure.id)
        if (match is None or int(match[2]) != failure.page) and _URL_ID.fullmatch(failure.id) is None:
            yield f"its id {failure.id[:80]!r} is not that of page {failure.page}"
    if not _is_moment(failure.added):
        yield f"added is not a time: {failure.added[:40]!r}"


def show_name(source: bytes) -> str:
    """Return the bytes of a name as printable characters on one line."""
    return one_line(decode_name(source))


def _is_moment(added: str) -> bool:
    try:
        return _MOMENT.fullmatch(added) is not None and datetime.fromisoformat(added) is not None
    except ValueError:
        return False
