"""Lines that another program has encoded anew are those that pagemill wrote; lines with other values are not."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.corrections import Corrections
from pipeline.positions import TextLine
from pipeline.quality import Confidence, Quality
from pipeline.records import Prep
from pipeline.review import CORRECTION, Original, Review
from pipeline.skipped import Skipped
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.joined_lines import parse_first, parse_lines
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.read_position import Span
from pipeline.workspace.reencoding import restore_line, split_joined
from pipeline.workspace.result_lines import encode_record, parse_record
from tests.factories import QUALITY, RECORD, make_record

CORRECTIONS = Corrections(90, 0.0, (64, 230), (0.0, 1.0, 0.0, -1.0, 0.0, 152.25))
RECORDS = [
    replace(RECORD, prep=Prep("png", 100, 200, 3000, 1.0, 90), meta={"book": "A", "leaf": 3}),
    replace(RECORD, prep=Prep("jpeg", 100, 200, 3000, 0.123456789012345, 0), text='"}{"id":"sha256:\n\té 書'),
    replace(
        RECORD,
        prep=Prep(
            "png", 100, 200, 3000, corrections=Corrections(90, 0.0, (64, 230), (0.0, 1.0, 0.0, -1.0, 0.0, 152.25))
        ),
    ),
    replace(
        RECORD,
        prep=Prep("png", 100, 200, 3000),
        pixels="100x200",
        lines=(
            TextLine("𠮷", (1.0, 2.0, 30.5, 2.0, 30.5, 9.0, 0.0, 9.0), 1.0),
            TextLine("b", (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)),
        ),
        operation="advanced-recognition",
    ),
    replace(
        RECORD,
        prep=Prep("png", 100, 200, 3000),
        text_from=CORRECTION,
        lines=(TextLine("𠮷", (1.0, 2.0, 30.5, 2.0, 30.5, 9.0, 0.0, 9.0)),),
        review=Review(
            at=RECORD.added,
            base=RECORD.added,
            by="Ada",
            browser="3f9a1c07",
            checked=RECORD.added,
            original=Original(
                RECORD.added, "吉", lines=(TextLine("吉", (1.0, 2.0, 30.0, 2.0, 30.5, 9.0, 0.0, 9.0), 1.0),)
            ),
        ),
    ),
    replace(
        RECORD,
        prep=Prep("png", 100, 200, 3000),
        text_from=CORRECTION,
        review=Review(RECORD.added, RECORD.added, original=Original(RECORD.added, "", skipped=Skipped("blank", 0.0))),
    ),
    replace(RECORD, prep=Prep("png", 1, 2, 3), review=Review(RECORD.added, "", original=Original(RECORD.added))),
    make_record("a.png", 1),
    make_record("b.png", 2, quality=QUALITY),
    replace(
        RECORD,
        prep=Prep("png", 100, 200, 3000, 1.0, 0),
        quality=Quality(1.0, 0.5, Confidence(1.0, 1.0), 0.0, 0.0, "f32"),
    ),
]


def _recode(line: bytes, **options: object) -> bytes:
    return json.dumps(orjson.loads(line), **options).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [pytest.param(record, id=f"record-{at}") for at, record in enumerate(RECORDS)])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda line: line, id="unchanged"),
        pytest.param(lambda line: line + b"\r", id="crlf"),
        pytest.param(lambda line: b"\xef\xbb\xbf" + line, id="byte-order-mark"),
        pytest.param(lambda line: b"  " + line + b" \t", id="white-space"),
        pytest.param(lambda line: _recode(line, ensure_ascii=False), id="spaces-inside"),
        pytest.param(_recode, id="ascii"),
        pytest.param(lambda line: re.sub(rb"(?<=[:,\[-])([01])\.0(?=[,}\]])", rb"\1", line), id="integers-for-floats"),
        pytest.param(lambda line: _recode(line, sort_keys=True), id="sorted-keys"),
    ],
)
def test_a_line_with_the_same_values_is_restored(record: object, change: Callable[[bytes], bytes]) -> None:
    line = encode_record(record)[:-1]  # type: ignore[arg-type]
    assert restore_line(change(line)) == line
    assert parse_record(change(line)) == record


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed; the cases above do what it does")
def test_lines_that_jq_has_printed_are_restored() -> None:
    lines = [encode_record(record) for record in RECORDS]
    for options in (["-c"], ["-c", "-S"], ["-c", "-a"]):
        printed = subprocess.run(["jq", *options, "."], input=b"".join(lines), capture_output=True, check=True).stdout
        assert [parse_record(line) for line in printed.splitlines()] == RECORDS


@given(st.integers(0, 10_000), st.integers(1, 255))
@example(at=-1, change=1)  # the closing brace, which the checksum does not cover
def test_a_changed_byte_changes_the_values_or_nothing(at: int, change: int) -> None:
    line = bytearray(encode_record(RECORDS[1])[:-1])
    line[at % len(line)] ^= change
    restored = restore_line(bytes(line))
    assert restored is None or parse_record(restored) == RECORDS[1]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[1]", id="an-array"),
        pytest.param(b'{"crc32":"x"}', id="a-checksum-of-another-type"),
        pytest.param(b'{"id":1}', id="no-checksum"),
        pytest.param(b'{"a":' + b"[" * 5000, id="nested-too-deep"),
        pytest.param(b"\xff\xfe", id="no-utf-8"),
    ],
)
def test_other_lines_are_not_restored(line: bytes) -> None:
    assert restore_line(line) is None


def test_an_edited_line_is_told_from_a_damaged_one() -> None:
    """The fields of the former are known."""
    line = encode_record(make_record("a.png", 1))[:-1]
    with pytest.raises(EditedLineError) as raised:
        parse_record(line.replace(b"text 1", b"text 2"))
    assert raised.value.fields.source == "a.png"
    with pytest.raises(DamagedLineError) as damaged:
        parse_record(line[:-30])
    assert not isinstance(damaged.value, EditedLineError)


class TestJoinedLines:
    """Lines whose newline is missing."""

    @pytest.mark.parametrize("torn", [pytest.param(None, id="whole"), pytest.param(60, id="the-first-is-torn")])
    def test_each_of_them_is_read_at_its_place(self, torn: int | None) -> None:
        first, second = make_record("a.png", 1), make_record("b.png", 2)
        head = encode_record(first)[:-1][:torn]
        line = head + encode_record(second)[:-1]
        found = list(parse_lines([(Span(100, 101 + len(line)), line)], parse_record))
        assert [span for span, _ in found] == [
            Span(100, 100 + len(head)),
            Span(100 + len(head), 101 + len(line)),
        ]
        assert found[1][1] == second
        if torn is None:
            assert found[0][1] == parse_first(line, parse_record) == first
        else:
            assert isinstance(found[0][1], DamagedLineError)

    def test_a_text_that_looks_like_a_joint_is_none(self) -> None:
        line = encode_record(RECORDS[1])[:-1]
        assert split_joined(line) == [line]
