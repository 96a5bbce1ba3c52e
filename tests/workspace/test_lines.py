"""The lines of the workspace: what is written is read again, and what is damaged is noticed."""

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Failure, Meta, PageId, Prep, Record, Reply, State
from pipeline.workspace.lines import (
    DamagedLineError,
    check_seal,
    decode_source,
    encode_failure,
    encode_record,
    encode_source,
    parse_failure,
    parse_record,
    parse_result,
    printable,
    seal,
)
from tests.factories import FAILURE, RECORD

DESIGN_FIELDS = [
    "id", "source", "page", "sha256", "text", "duplicate_of", "prep", "reply", "attempt", "elapsed_ms", "added",
    "crc32",
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
    attempt=TEXTS,
    elapsed_ms=st.integers(0, 10**9),
    added=TEXTS,
    meta=st.none() | METAS,
    note=st.none() | TEXTS,
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
    """Return the line as any JSON reader sees it; the newline must be its only one."""
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    fields: dict[str, Any] = json.loads(line)
    return fields


def sealed(**changes: object) -> bytes:
    """Return a line whose checksum is right, with fields changed, or left out when None is given."""
    fields = json.loads(encode_record(RECORD)) | changes
    del fields["crc32"]
    return seal(json.dumps({name: value for name, value in fields.items() if value is not None}).encode())[:-1]


class TestLines:
    """How a line looks."""

    def test_its_checksum_is_the_crc_32_of_the_bytes_before_it(self) -> None:
        """Anyone can check a line with a split and zlib."""
        before, separator, after = encode_record(RECORD).partition(b',"crc32":')
        assert (separator, after) == (b',"crc32":', b"%d}\n" % zlib.crc32(before))

    def test_a_known_line_keeps_its_bytes(self) -> None:
        """The format is a promise to files that exist; this CRC-32 is gzip's of the same six bytes."""
        assert seal(b'{"a":1}') == b'{"a":1,"crc32":2801990766}\n'

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
    def test_its_fields_stand_in_the_designs_order(self, record: Record, fields: list[str]) -> None:
        """Every field is there, null when it has no value; extras stand before the checksum."""
        assert list(fields_of(encode_record(record))) == fields

    def test_its_parts_have_the_designs_names(self) -> None:
        """`prep` and `reply` are objects; there is no place for the key."""
        fields = fields_of(encode_record(RECORD))
        assert list(fields["prep"]) == ["format", "width_px", "height_px", "bytes", "scale", "rotation_deg"]
        assert list(fields["reply"]) == ["id", "timestamp", "host"]

    def test_a_failures_fields_name_its_class_and_message(self) -> None:
        """One line a failed page."""
        assert list(fields_of(encode_failure(FAILURE))) == [
            "id", "source", "page", "class", "message", "attempts", "retryable", "added", "crc32",
        ]  # fmt: skip

    def test_a_name_that_is_not_utf_8_is_readable_and_exact(self) -> None:
        """`source` is for people, `source_b64` for machines."""
        fields = fields_of(encode_record(replace(RECORD, source="caf\udce9.png")))
        assert (fields["source"], fields["source_b64"]) == ("caf\ufffd.png", "Y2Fm6S5wbmc=")

    def test_the_name_of_an_original_is_exact_too(self) -> None:
        """A duplicate leads to its original whatever the bytes of that name are."""
        fields = fields_of(encode_record(replace(RECORD, duplicate_of="caf\udce9.png")))
        assert (fields["duplicate_of"], fields["duplicate_of_b64"]) == ("caf\ufffd.png", "Y2Fm6S5wbmc=")


class TestRoundTrip:
    """What is written is read again."""

    @given(RECORDS)
    def test_a_record_survives_its_line(self, record: Record) -> None:
        """Whatever stands in names, texts and extra fields."""
        line = encode_record(record)
        fields_of(line)
        again = parse_record(line[:-1])
        assert again == record
        assert type(again.reply.timestamp) is type(record.reply.timestamp)

    @given(RECORDS)
    def test_the_head_of_a_line_agrees_with_its_record(self, record: Record) -> None:
        """The index sees the same page as the reader of the file."""
        head = parse_result(encode_record(record)[:-1])
        assert (head.id, head.page, head.attempt, head.added, head.state) == (
            record.id, record.page, record.attempt, record.added, record.state,
        )  # fmt: skip
        assert decode_source(head.source, head.source_b64) == encode_source(record.source)
        assert (head.duplicate_of is None) == (record.duplicate_of is None)

    @given(FAILURES)
    def test_the_head_of_a_failure_agrees_with_it(self, failure: Failure) -> None:
        """Its message may hold a name that is not UTF-8."""
        line = encode_failure(failure)
        assert fields_of(line)["message"] == printable(failure.message)
        head = parse_failure(line[:-1])
        assert (head.id, head.page, head.error, head.retryable, head.added) == (
            failure.id, failure.page, failure.error, failure.retryable, failure.added,
        )  # fmt: skip
        assert decode_source(head.source, head.source_b64) == encode_source(failure.source)

    @given(st.binary(max_size=40))
    def test_the_bytes_of_a_name_survive(self, name: bytes) -> None:
        """A file is found again by exactly its bytes."""
        assert encode_source(name.decode("utf-8", "surrogateescape")) == name

    @pytest.mark.parametrize("meta", [{}, {"a": None}, {"crc32": 5}, {"b": [1, {"c": "d\n"}]}])
    def test_meta_is_kept_as_it_is(self, meta: Meta) -> None:
        """Even when it looks like a part of the line."""
        assert parse_record(encode_record(replace(RECORD, meta=meta))[:-1]).meta == meta

    def test_a_text_that_looks_like_the_end_of_a_line_does_not_confuse(self) -> None:
        """Quotes are escaped in JSON, so only the real checksum is one."""
        record = replace(RECORD, text='","crc32":123}\n', note=',"crc32":1}')
        assert parse_record(encode_record(record)[:-1]) == record


class TestDamage:
    """What is damaged is noticed."""

    @given(RECORDS, st.data())
    def test_any_changed_byte_is_noticed(self, record: Record, data: st.DataObject) -> None:
        """Wherever it is, the checksum included."""
        line = bytearray(encode_record(record)[:-1])
        position = data.draw(st.integers(0, len(line) - 1))
        line[position] ^= data.draw(st.integers(1, 255))
        with pytest.raises(DamagedLineError):
            parse_result(bytes(line))

    def test_every_flipped_bit_of_a_line_is_noticed(self) -> None:
        """All of them, one by one."""
        line = encode_failure(FAILURE)[:-1]
        for bit in range(len(line) * 8):
            damaged = bytearray(line)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DamagedLineError):
                check_seal(bytes(damaged))

    def test_every_torn_tail_is_noticed(self) -> None:
        """A crash may cut a line anywhere."""
        line = encode_record(RECORD)[:-1]
        for end in range(len(line)):
            with pytest.raises(DamagedLineError, match="no checksum"):
                check_seal(line[:end])

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\0" * 200, id="zeros-after-a-power-loss"),
            pytest.param(b'{"id":"a"}', id="no-checksum"),
            pytest.param(b'{"id":"a","crc32":99999999999}', id="too-long-a-checksum"),
            pytest.param(encode_record(RECORD)[:-1] * 2, id="two-lines-without-a-newline"),
            pytest.param(seal(b"[1]")[:-1], id="sealed-but-no-json"),
            pytest.param(sealed(id=7), id="sealed-with-a-wrong-type"),
            pytest.param(sealed(attempt=None), id="sealed-without-a-field"),
            pytest.param(sealed(source=7), id="sealed-with-a-source-that-is-no-text"),
            pytest.param(sealed(source_b64="*"), id="sealed-with-a-name-that-is-no-base64"),
            pytest.param(sealed(duplicate_of="a", duplicate_of_b64="*"), id="sealed-with-an-original-of-no-base64"),
        ],
    )
    def test_a_line_that_is_no_record_is_refused(self, line: bytes) -> None:
        """By both readers, with the one error they promise."""
        with pytest.raises(DamagedLineError):
            parse_result(line)
        with pytest.raises(DamagedLineError):
            parse_record(line)

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(sealed(reply={"id": "a"}), id="half-a-reply"),
            pytest.param(sealed(prep=[1]), id="prep-is-an-array"),
        ],
    )
    def test_a_record_with_a_wrong_part_is_refused(self, line: bytes) -> None:
        """A line that was not written by pagemill gives the promised error, not another."""
        with pytest.raises(DamagedLineError):
            parse_record(line)

    @pytest.mark.parametrize("page", [0, -1, 2**62])
    def test_a_page_number_that_no_page_has_is_refused(self, page: int) -> None:
        """Pages are counted from 1, and the index can hold the number."""
        with pytest.raises(DamagedLineError, match="page"):
            parse_result(sealed(page=page))
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
            pytest.param("\udce9.png", "\udce8.png", State.DUPLICATE, id="same-when-printed"),
        ],
    )
    def test_a_record_tells_the_state_of_its_page(self, source: str, duplicate_of: str | None, state: State) -> None:
        """The line says the same as the record."""
        record = replace(RECORD, source=source, duplicate_of=duplicate_of)
        assert record.state is state
        assert parse_result(encode_record(record)[:-1]).state is state

    def test_a_failure_with_a_wrong_field_is_refused(self) -> None:
        """A sealed line of another kind is no failure."""
        with pytest.raises(DamagedLineError, match="retryable"):
            parse_failure(encode_record(RECORD)[:-1])
