"""Faults of a single line: each kind of damage has its own message; an intact line has none."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import PageId
from pipeline.review import CORRECTION, Original, Review
from pipeline.skipped import Skipped
from pipeline.verify.line_checks import check_failure, check_record, describe_damage, show_name
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.failure_lines import encode_failure, parse_failure
from pipeline.workspace.result_lines import encode_record
from tests.factories import FAILURE, RECORD

LINE = encode_record(RECORD)
URL = replace(
    RECORD,
    id=PageId("url:100680ad546ce6a577f42f52df33b4cfdca756859e664b8d7de329b150d09ce9#1"),
    source="https://example.com",
    sha256=None,
)
CHECK = Review(RECORD.added, RECORD.added, checked=RECORD.added, original=Original(RECORD.added))
REVIEW = Review(RECORD.added, RECORD.added, original=Original(RECORD.added, "before"))


SKIPPED = replace(RECORD, text="", attempts=(), prep=None, skipped=Skipped("blank", 0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"text": "a"}, "it was skipped, and yet it has a text", id="text"),
        pytest.param({"attempts": ("a1",)}, "it was skipped, and yet it has a text or an attempt", id="attempt"),
        pytest.param({"skipped": Skipped("dull", 1.0)}, "skipped for an unknown reason, 'dull'", id="reason"),
    ],
)
def test_a_contradiction_in_a_skipped_page_is_a_fault(changes: dict[str, Any], message: str) -> None:
    assert list(check_record(SKIPPED)) == []
    (fault,) = check_record(replace(SKIPPED, **changes))
    assert message in fault


def test_an_intact_line_has_no_fault() -> None:
    """Negative control: a page of a file, a page given as a URL, a failure with and without a content."""
    assert list(check_record(RECORD)) == []
    assert list(check_record(URL)) == []
    for failure in (FAILURE, replace(FAILURE, id=None), replace(FAILURE, id=URL.id)):
        assert list(check_failure(parse_failure(encode_failure(failure)[:-1]))) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(b"\n", "an empty line", id="empty"),
        pytest.param(LINE[:50] + bytes(30) + LINE[80:], "30 zero bytes", id="zeros"),
        pytest.param(LINE[:-1], "without a newline", id="torn-at-the-end"),
        pytest.param(LINE[:-1] + b"\r\n", "CR LF", id="windows"),
        pytest.param(LINE[:-1] + LINE, f"the newline at its byte {len(LINE) - 1} is missing", id="two-lines"),
        pytest.param(LINE[:70] + LINE, "a torn line followed by a whole one at its byte 70", id="torn-and-whole"),
        pytest.param(LINE[:70] + LINE[90:], "the parser's words", id="anything-else"),
        pytest.param(LINE[:70] + LINE[:90] + b"\n", "the parser's words", id="torn-twice"),
    ],
)
def test_each_kind_of_damage_has_a_description(line: bytes, message: str) -> None:
    assert message in describe_damage(line, DamagedLineError("the parser's words"))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_damage_of_any_bytes_is_described_on_one_line(before: bytes, after: bytes) -> None:
    for line in (before + after, before + LINE[:-1] + after + b"\n"):
        message = describe_damage(line, DamagedLineError("the parser's words"))
        assert message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"page": 2}, "does not fit", id="page"),
        pytest.param({"sha256": "cd" * 32}, "does not fit", id="sha256"),
        pytest.param({"sha256": None}, "does not fit", id="no-sha256"),
        pytest.param({"id": PageId("sha256:ab#1")}, "is not the id of a page", id="id"),
        pytest.param({"id": URL.id}, "of another URL", id="url"),
        pytest.param({"attempts": ()}, "has no attempt", id="attempt"),
        pytest.param({"elapsed_ms": -1}, "elapsed_ms is -1", id="elapsed"),
        pytest.param({"added": "2026-02-31T12:00:00.000000Z"}, "not a time", id="day-31"),
        pytest.param({"added": "2026-01-31T12:00:00Z"}, "not a time", id="not-sortable"),
        pytest.param({"text_from": CORRECTION}, "nothing says of which text", id="correction-of-nothing"),
        pytest.param({"text_from": CORRECTION, "review": CHECK}, "without its original", id="no-original"),
        pytest.param({"review": REVIEW}, "keeps an original, and its text is that", id="original-of-no-correction"),
        pytest.param({"review": replace(CHECK, at="today")}, "at of its review is not a time", id="review-time"),
        pytest.param(
            {"text_from": CORRECTION, "review": REVIEW, "attempts": ()}, "has no attempt", id="correction-without-call"
        ),
    ],
)
def test_a_contradiction_in_a_record_is_a_fault(changes: dict[str, object], message: str) -> None:
    """Its checksum is right."""
    problems = list(check_record(replace(RECORD, **changes)))  # type: ignore[arg-type]
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"error": "tired"}, "the class 'tired' is unknown", id="class"),
        pytest.param(
            {"retryable": False}, "retryable is false, which the class attempts-exhausted is after 3 runs", id="fate"
        ),
        pytest.param({"id": PageId("sha256:ab#1")}, "is not that of page 1", id="id"),
        pytest.param({"page": 2}, "is not that of page 2", id="page"),
        pytest.param({"added": ""}, "added is not a time", id="time"),
    ],
)
def test_a_contradiction_in_a_failure_is_a_fault(changes: dict[str, object], message: str) -> None:
    failure = replace(FAILURE, **changes)  # type: ignore[arg-type]
    problems = list(check_failure(parse_failure(encode_failure(failure)[:-1])))
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        pytest.param("書簡/1.png".encode(), "書簡/1.png", id="chinese"),
        pytest.param(b"caf\xe9.png", "caf\\xe9.png", id="latin-1"),
        pytest.param(b"a\nb\x1b[31m.png", "a\\nb\\x1b[31m.png", id="control-characters"),
    ],
)
def test_a_name_is_shown_on_one_line(source: bytes, shown: str) -> None:
    """No name can break a line of output, or control the terminal."""
    assert show_name(source) == shown
