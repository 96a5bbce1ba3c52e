"""Lines of results.jsonl and failures.jsonl: written and parsed without loss; damage is detected."""

import json
import os
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.corrections import Corrections
from pipeline.quality import Confidence, Quality
from pipeline.records import Failure, Meta, PageId, Prep, Record, Reply, State
from pipeline.wire import replace_surrogates
from pipeline.workspace.checksums import DamagedLineError, append_checksum, check_checksum
from pipeline.workspace.failure_lines import encode_failure, parse_failure
from pipeline.workspace.result_lines import encode_record, parse_record, parse_result
from pipeline.workspace.source_names import decode_name, encode_name
from tests.factories import FAILURE, RECORD

DESIGN_FIELDS = [
    "id", "source", "page", "sha256", "text", "duplicate_of", "prep", "reply", "quality", "attempts", "elapsed_ms",
    "added", "crc32",
]  # fmt: skip

TEXTS = st.text()
NAMES = st.binary(min_size=1, max_size=30).map(lambda name: name.decode("utf-8", "surrogateescape")) | st.text(
    min_size=1
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
METAS = st.dictionaries(TEXTS, VALUES, max_size=3)
PREPS = st.builds(
    Prep,
    st.sampled_from(["jpeg", "png", "gif", "webp"]),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.integers(1, 10**7),
    st.floats(0, 1, exclude_min=True),
    st.sampled_from([0, 90, 180, 270]),
    corrections=st.none()
    | st.builds(
        Corrections,
        st.sampled_from([0, 90, 180, 270]),
        st.floats(-15, 15).map(lambda angle: round(angle, 3)),
        st.none() | st.lists(st.integers(0, 255), min_size=2, max_size=4).map(tuple),
        st.tuples(*[st.floats(-1e5, 1e5).map(lambda value: round(value, 8))] * 6),
    ),
)
SHARES = st.floats(0, 1).map(lambda share: round(share, 4))
QUALITIES = st.builds(
    Quality,
    SHARES,
    SHARES,
    st.none() | st.builds(Confidence, SHARES, SHARES),
    SHARES,
    SHARES,
    st.from_regex("[a-z0-9]{1,16}", fullmatch=True),
)
RECORDS = st.builds(
    Record,
    id=TEXTS.map(PageId),
    source=NAMES,
    page=st.integers(1, 10**6),
    sha256=st.none() | TEXTS,
    text=TEXTS,
    duplicate_of=st.none() | NAMES,
    prep=st.none() | PREPS,
    reply=st.builds(Reply, TEXTS, INTEGERS | st.floats(-(2.0**62), 2.0**62), TEXTS),
    attempts=st.lists(TEXTS).map(tuple),
    elapsed_ms=st.integers(0, 10**9),
    added=TEXTS,
    meta=st.none() | METAS,
    note=st.none() | TEXTS,
    quality=st.none() | QUALITIES,
)
FAILURES = st.builds(
    Failure,
    id=st.none() | TEXTS.map(PageId),
    source=NAMES,
    page=st.integers(1, 10**6),
    error=TEXTS,
    message=NAMES,
    attempts=st.integers(0, 100),
    retryable=st.booleans(),
    added=TEXTS,
    meta=st.none() | METAS,
)


def fields_of(line: bytes) -> dict[str, Any]:
    """Return the fields of a line as parsed by another JSON reader; its only newline must be at its end."""
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    fields: dict[str, Any] = json.loads(line)
    return fields


def line_with(**changes: object) -> bytes:
    """Return a line with changed fields, without those given as None, and with the right checksum."""
    fields = json.loads(encode_record(RECORD)) | changes
    del fields["crc32"]
    return append_checksum(json.dumps({name: value for name, value in fields.items() if value is not None}).encode())[
        :-1
    ]


class TestFormat:
    def test_its_checksum_is_the_crc_32_of_the_bytes_before_it(self) -> None:
        """A split and zlib are enough to check a line."""
        before, separator, after = encode_record(RECORD).partition(b',"crc32":')
        assert (separator, after) == (b',"crc32":', b"%d}\n" % zlib.crc32(before))

    def test_a_known_line_keeps_its_bytes(self) -> None:
        """The CRC-32 is the one that gzip computes of the same six bytes."""
        assert append_checksum(b'{"a":1}') == b'{"a":1,"crc32":2801990766}\n'

    @pytest.mark.parametrize(
        ("record", "fields"),
        [
            pytest.param(RECORD, DESIGN_FIELDS, id="plain"),
            pytest.param(
                replace(RECORD, meta={"year": 1897}, note="n"),
                [*DESIGN_FIELDS[:-1], "meta", "note", "crc32"],
                id="with-meta-and-note",
            ),
            pytest.param(
                replace(RECORD, source="a\udcff"),
                ["id", "source", "source_b64", *DESIGN_FIELDS[2:]],
                id="name-not-utf-8",
            ),
            pytest.param(
                replace(RECORD, sha256=None, prep=None, duplicate_of="x"), DESIGN_FIELDS, id="absent-values-are-null"
            ),
        ],
    )
    def test_its_fields_are_in_the_documented_order(self, record: Record, fields: list[str]) -> None:
        """A field without a value is null; `meta` and `note` precede the checksum when there are any."""
        assert list(fields_of(encode_record(record))) == fields

    def test_prep_and_reply_have_the_documented_fields_and_none_for_the_key(self) -> None:
        fields = fields_of(encode_record(RECORD))
        assert list(fields["prep"]) == ["format", "width_px", "height_px", "bytes", "scale", "rotation_deg"]
        assert list(fields["reply"]) == ["id", "timestamp", "host"]

    def test_only_a_corrected_page_has_corrections(self) -> None:
        prep = Prep("png", 100, 200, 3000, 1.0, 180)
        prep = replace(prep, corrections=Corrections(180, -2.5, (90, 210), (-1, 0, 10.5, 0, -1, 20)))
        fields = fields_of(encode_record(replace(RECORD, prep=prep)))
        assert list(fields["prep"])[-1] == "corrections"
        assert list(fields["prep"]["corrections"]) == ["turned_deg", "deskewed_deg", "levels", "to_source"]

    def test_the_fields_of_a_failure_are_in_the_documented_order(self) -> None:
        assert list(fields_of(encode_failure(FAILURE))) == [
            "id", "source", "page", "class", "message", "attempts", "retryable", "added", "crc32",
        ]  # fmt: skip

    def test_a_name_that_is_not_utf_8_is_readable_in_source_and_exact_in_source_b64(self) -> None:
        fields = fields_of(encode_record(replace(RECORD, source="caf\udce9.png")))
        assert (fields["source"], fields["source_b64"]) == ("caf\ufffd.png", "Y2Fm6S5wbmc=")

    def test_the_name_of_an_original_that_is_not_utf_8_is_exact_too(self) -> None:
        fields = fields_of(encode_record(replace(RECORD, duplicate_of="caf\udce9.png")))
        assert (fields["duplicate_of"], fields["duplicate_of_b64"]) == ("caf\ufffd.png", "Y2Fm6S5wbmc=")


class TestRoundTrip:
    @given(RECORDS)
    def test_a_record_is_parsed_as_it_was_encoded(self, record: Record) -> None:
        line = encode_record(record)
        fields_of(line)
        again = parse_record(line[:-1])
        assert again == record
        assert type(again.reply.timestamp) is type(record.reply.timestamp)

    @given(RECORDS)
    def test_the_head_of_a_line_agrees_with_its_record(self, record: Record) -> None:
        head = parse_result(encode_record(record)[:-1])
        assert (head.id, head.page, head.attempts, head.added, head.state) == (
            record.id, record.page, record.attempts, record.added, record.state,
        )  # fmt: skip
        assert head.source_bytes() == encode_name(record.source)
        assert head.original_bytes() == (None if record.duplicate_of is None else encode_name(record.duplicate_of))

    @given(FAILURES)
    def test_the_head_of_a_failure_agrees_with_it(self, failure: Failure) -> None:
        line = encode_failure(failure)
        assert fields_of(line)["message"] == replace_surrogates(failure.message)
        head = parse_failure(line[:-1])
        assert (head.id, head.page, head.error, head.retryable, head.added) == (
            failure.id, failure.page, failure.error, failure.retryable, failure.added,
        )  # fmt: skip
        assert head.source_bytes() == encode_name(failure.source)

    @given(st.binary(max_size=40))
    def test_the_bytes_of_any_name_are_kept(self, name: bytes) -> None:
        assert encode_name(decode_name(name)) == name == os.fsencode(decode_name(name))

    @pytest.mark.parametrize("meta", [{}, {"a": None}, {"crc32": 5}, {"b": [1, {"c": "d\n"}]}])
    def test_meta_is_kept_even_when_it_resembles_the_end_of_a_line(self, meta: Meta) -> None:
        assert parse_record(encode_record(replace(RECORD, meta=meta))[:-1]).meta == meta

    def test_a_text_that_resembles_the_end_of_a_line_is_kept(self) -> None:
        """JSON escapes its quotes, so they are not taken for the checksum."""
        record = replace(RECORD, text='","crc32":123}\n', note=',"crc32":1}')
        assert parse_record(encode_record(record)[:-1]) == record


class TestDamage:
    @given(RECORDS, st.data())
    @example(replace(RECORD, prep=Prep("jpeg", 1, 1, 1, 5e-324)), None)
    def test_no_changed_byte_changes_a_value_unnoticed(self, record: Record, data: st.DataObject | None) -> None:
        """A line that says the same in other bytes is read: 4e-324 and 5e-324 are one number."""
        line = bytearray(encode_record(record)[:-1])
        position = line.index(b"5e-324") if data is None else data.draw(st.integers(0, len(line) - 1))
        line[position] ^= 1 if data is None else data.draw(st.integers(1, 255))
        try:
            parsed = parse_record(bytes(line))
        except DamagedLineError:
            return
        assert parsed == record

    def test_every_flipped_bit_of_a_line_is_detected(self) -> None:
        line = encode_failure(FAILURE)[:-1]
        for bit in range(len(line) * 8):
            damaged = bytearray(line)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DamagedLineError):
                check_checksum(bytes(damaged))

    def test_every_torn_line_is_detected(self) -> None:
        line = encode_record(RECORD)[:-1]
        for end in range(len(line)):
            with pytest.raises(DamagedLineError, match="no checksum"):
                check_checksum(line[:end])

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\0" * 200, id="zeros-after-a-power-loss"),
            pytest.param(b'{"id":"a"}', id="no-checksum"),
            pytest.param(b'{"id":"a","crc32":99999999999}', id="too-long-a-checksum"),
            pytest.param(encode_record(RECORD)[:-1] * 2, id="two-lines-without-a-newline"),
            pytest.param(append_checksum(b"[1]")[:-1], id="checksum-of-no-object"),
            pytest.param(line_with(id=7), id="with-a-wrong-type"),
            pytest.param(line_with(attempts=None), id="without-a-field"),
            pytest.param(line_with(source=7), id="with-a-source-that-is-no-text"),
            pytest.param(line_with(source_b64="*"), id="with-a-name-that-is-no-base64"),
            pytest.param(line_with(duplicate_of="a", duplicate_of_b64="*"), id="with-an-original-of-no-base64"),
        ],
    )
    def test_both_parsers_raise_the_documented_error_for_a_line_that_is_no_record(self, line: bytes) -> None:
        with pytest.raises(DamagedLineError):
            parse_result(line)
        with pytest.raises(DamagedLineError):
            parse_record(line)

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(line_with(reply={"id": "a"}), id="half-a-reply"),
            pytest.param(line_with(prep=[1]), id="prep-is-an-array"),
            pytest.param(
                append_checksum(
                    encode_record(RECORD).rpartition(b",")[0] + b',"meta":{"a":%b}}' % (b"[" * 9000 + b"]" * 9000)
                )[:-1],
                id="meta-nested-too-deep",
            ),
            pytest.param(
                append_checksum(encode_record(RECORD).rpartition(b",")[0].replace(b"line two", b"line \xff") + b"}")[
                    :-1
                ],
                id="text-that-is-not-utf-8",
            ),
        ],
    )
    def test_parse_record_raises_the_documented_error_for_a_wrong_part(self, line: bytes) -> None:
        with pytest.raises(DamagedLineError):
            parse_record(line)

    @pytest.mark.parametrize("page", [0, -1, 2**62])
    def test_a_page_number_below_1_or_beyond_2_to_the_31_is_damage(self, page: int) -> None:
        with pytest.raises(DamagedLineError, match="page"):
            parse_result(line_with(page=page))
        with pytest.raises(DamagedLineError, match="page"):
            parse_record(line_with(page=page))
        failure = encode_failure(replace(FAILURE, page=page))[:-1]
        with pytest.raises(DamagedLineError, match="page"):
            parse_failure(failure)

    @pytest.mark.parametrize(
        ("source", "duplicate_of", "state"),
        [
            pytest.param("a.png", None, State.DONE, id="sent"),
            pytest.param("a.png", "b.png", State.DUPLICATE, id="another-pages-text"),
            pytest.param("a.png", "a.png", State.DONE, id="its-own-text-again"),
            pytest.param("\udce9.png", "\udce9.png", State.DONE, id="its-own-text-again-not-utf-8"),
            pytest.param("\udce9.png", "\udce8.png", State.DUPLICATE, id="same-when-shown"),
        ],
    )
    def test_a_record_and_its_line_give_the_page_the_same_state(
        self, source: str, duplicate_of: str | None, state: State
    ) -> None:
        record = replace(RECORD, source=source, duplicate_of=duplicate_of)
        assert record.state is state
        assert parse_result(encode_record(record)[:-1]).state is state

    def test_a_record_is_not_parsed_as_a_failure(self) -> None:
        with pytest.raises(DamagedLineError, match="retryable"):
            parse_failure(encode_record(RECORD)[:-1])


EARLIER_LINE = (
    b'{"id":"sha256:abababababababababababababababababababababababababababababababab#1",'
    b'"source":"letters/1897/brief 1.tif","page":1,'
    b'"sha256":"abababababababababababababababababababababababababababababababab","text":"line one",'
    b'"duplicate_of":null,"prep":{"format":"png","width_px":2480,"height_px":3508,"bytes":912345,"scale":0.5,'
    b'"rotation_deg":90},"reply":{"id":"doc-1","timestamp":1640995200000,"host":"llmocr.com"},"quality":null,'
    b'"attempt":"0123456789abcdef","elapsed_ms":1234,"added":"2026-01-31T12:00:00.000000Z","crc32":1898845810}'
)
EARLIER_LINE_WITHOUT_A_CALL = (
    b'{"id":"sha256:abababababababababababababababababababababababababababababababab#1",'
    b'"source":"letters/1897/brief 1.tif","page":1,'
    b'"sha256":"abababababababababababababababababababababababababababababababab","text":"line one",'
    b'"duplicate_of":null,"prep":null,"reply":{"id":null,"timestamp":null,"host":"text-layer"},"quality":null,'
    b'"attempt":null,"elapsed_ms":1234,"added":"2026-01-31T12:00:00.000000Z","text_from":"text-layer","crc32":2784100584}'
)


class TestLinesOfEarlierReleases:
    """They have one `attempt`, an id or null, in place of `attempts`; their bytes and checksums stay as they are."""

    @pytest.mark.parametrize(
        ("line", "attempts"),
        [
            pytest.param(EARLIER_LINE, ("0123456789abcdef",), id="with-a-call"),
            pytest.param(EARLIER_LINE_WITHOUT_A_CALL, (), id="without-a-call"),
        ],
    )
    def test_one_attempt_is_read_as_a_list(self, line: bytes, attempts: tuple[str, ...]) -> None:
        assert parse_record(line).attempts == attempts
        assert parse_result(line).attempts == attempts
        assert parse_record(encode_record(parse_record(line))[:-1]) == parse_record(line)

    def test_one_that_was_encoded_anew_is_restored(self) -> None:
        """As by `jq -cS`, which sorts the fields."""
        fields = json.loads(EARLIER_LINE)
        sorted_line = json.dumps(dict(sorted(fields.items())), separators=(",", ":")).encode()
        assert parse_record(sorted_line) == parse_record(EARLIER_LINE)


@given(st.lists(TEXTS, max_size=5).map(tuple))
def test_all_attempts_of_a_page_are_in_its_line(attempts: tuple[str, ...]) -> None:
    record = replace(RECORD, attempts=attempts)
    assert parse_record(encode_record(record)[:-1]).attempts == attempts
