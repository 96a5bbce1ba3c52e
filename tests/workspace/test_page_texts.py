"""The fields that tables read of a line are those of the whole line."""

from dataclasses import replace

import pytest

from pipeline.records import Record
from pipeline.review import CORRECTION, Original, Review
from pipeline.skipped import BLANK, Skipped
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.page_texts import AnyLine, PageText, parse_text
from pipeline.workspace.result_lines import encode_record, parse_whole_result
from pipeline.workspace.reviewed import is_reviewed
from tests.factories import DOUBT, QUALITY, RECORD

_FIELDS = ("id", "source", "page", "sha256", "text", "duplicate_of", "elapsed_ms", "added", "text_from", "meta")

CORRECTED = Review("2026-01-02T10:00:00.000000Z", RECORD.added, "ann", None, Original(RECORD.added, "before, 之前"))
CHECKED = Review("2026-01-02T10:00:00.000000Z", RECORD.added, None, RECORD.added, Original(RECORD.added))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(RECORD, id="done"),
        pytest.param(replace(RECORD, quality=QUALITY, meta={"shelf": {"row": 1}}), id="quality-and-meta"),
        pytest.param(replace(RECORD, quality=DOUBT, prep=None, sha256=None, text_from="text-layer"), id="in-doubt"),
        pytest.param(replace(RECORD, duplicate_of="other.tif"), id="duplicate"),
        pytest.param(replace(RECORD, duplicate_of=RECORD.source), id="its-own-earlier-content"),
        pytest.param(replace(RECORD, source="a\udcfe.tif", duplicate_of="a\udcff.tif"), id="names-not-utf-8"),
        pytest.param(replace(RECORD, source="a\udcfe.tif", duplicate_of="a\udcfe.tif"), id="its-own-name-not-utf-8"),
        pytest.param(replace(RECORD, text="", skipped=Skipped(BLANK, 0.1)), id="skipped"),
        pytest.param(replace(RECORD, text_from=CORRECTION, review=CORRECTED, quality=DOUBT), id="corrected"),
        pytest.param(replace(RECORD, review=CHECKED, quality=DOUBT), id="checked"),
        pytest.param(replace(RECORD, text_from=CORRECTION, review=replace(CHECKED, original=None)), id="transcribed"),
    ],
)
def test_a_page_text_has_the_values_of_the_line(record: Record) -> None:
    line = encode_record(record).removesuffix(b"\n")
    text, whole = parse_text(line), parse_whole_result(line)
    assert [getattr(text, name) for name in _FIELDS] == [getattr(whole, name) for name in _FIELDS]
    assert text.state == whole.state
    assert text.source_bytes() == whole.source_bytes()
    assert text.reply.host == whole.reply.host
    assert _describe_review(text) == _describe_review(whole)
    assert is_reviewed(text) == is_reviewed(whole) == (record.review is not None)
    assert _describe(text) == (
        None if record.quality is None else (record.quality.score, record.quality.is_in_doubt),
        None if record.prep is None else (record.prep.format, record.prep.width_px, record.prep.height_px,
                                          record.prep.scale, record.prep.rotation_deg),
    )  # fmt: skip


def test_a_changed_line_is_damaged() -> None:
    with pytest.raises(DamagedLineError, match="checksum does not match"):
        parse_text(encode_record(RECORD).removesuffix(b"\n").replace(b"line two", b"line 222"))


def _describe_review(line: AnyLine) -> tuple[object, object] | None:
    review = line.review
    return None if review is None else (review.checked, None if review.original is None else review.original.text)


def _describe(text: PageText) -> tuple[object, object]:
    quality, prep = text.quality, text.prep
    return (
        None if quality is None else (quality.score, quality.is_in_doubt),
        None if prep is None else (prep.format, prep.width_px, prep.height_px, prep.scale, prep.rotation_deg),
    )
