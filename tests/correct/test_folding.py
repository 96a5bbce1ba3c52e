"""Folding corrections files into a workspace."""

import io
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pybase64
import pytest

from pipeline.correct.folding import fold
from pipeline.errors import StorageError, UsageError
from pipeline.positions import TextLine
from pipeline.records import TEXT_LAYER, Failure, Prep, Record, State
from pipeline.skipped import Skipped
from pipeline.verify.audit import audit, count_pages
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.paths import FAILURES, INDEX, RESULTS
from pipeline.workspace.reader import read_records
from tests.corrections import correct, counts
from tests.export.workspaces import put_records
from tests.factories import DOUBT, make_failure, make_record, moment, page_id

A = {"source": "a.png", "page": 1}
LINES = tuple(TextLine(text, (0, top, 9, top, 9, top + 5, 0, top + 5), 0.8) for text, top in (("one", 0), ("two", 10)))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace of two pages."""
    return put_records(tmp_path / "out", [make_record("a.png", 1), make_record("b.png", 2, added=1, quality=DOUBT)])


def put_failures(workspace: Path, *failures: Failure) -> None:
    with (workspace / FAILURES).open("ab") as file:
        file.writelines(encode_failure(failure) for failure in failures)


def pages(workspace: Path) -> dict[str, Record]:
    """Return the last record of each source."""
    return {record.source: record for record in read_records(workspace)}


def faults(workspace: Path) -> list[str]:
    return list(audit(workspace, None))


class TestRecords:
    def test_a_correction_keeps_the_original_and_names_who_wrote_it_when(self, workspace: Path) -> None:
        done, _ = correct(
            workspace, {**A, "text": "better", "at": "2026-03-01T12:00:00+02:00", "by": "Ada", "checked": True}
        )
        assert counts(done) == {"corrected": 1}
        record = pages(workspace)["a.png"]
        former = make_record("a.png", 1)
        review = record.review
        assert review is not None
        assert review.original is not None
        assert (record.text, record.text_from, review.original.text) == ("better", "correction", "text 1")
        assert review.original.added == review.base == former.added
        assert (review.at, review.by, review.checked) == (
            "2026-03-01T10:00:00.000000Z", "Ada", "2026-03-01T10:00:00.000000Z",
        )  # fmt: skip
        assert replace(record, text=former.text, text_from=None, review=None, added=former.added) == former
        assert faults(workspace) == []

    def test_a_second_correction_keeps_the_first_original(self, workspace: Path) -> None:
        for text in ("better", "best"):
            correct(workspace, {**A, "text": text})
        review = pages(workspace)["a.png"].review
        assert review is not None
        assert review.original is not None
        assert (review.original.text, review.original.added) == ("text 1", moment(0))

    def test_the_original_text_can_be_restored(self, workspace: Path) -> None:
        correct(workspace, {**A, "text": "better", "checked": True})
        done, _ = correct(workspace, {**A, "text": "text 1"})
        record = pages(workspace)["a.png"]
        assert counts(done) == {"restored": 1}
        assert (record.text, record.text_from, record.review and record.review.checked) == ("text 1", None, None)
        assert count_pages(workspace).corrected == count_pages(workspace).checked == 0
        assert faults(workspace) == []
        correct(workspace, {**A, "text": "better"})
        review = pages(workspace)["a.png"].review
        assert review is not None
        assert review.original is not None
        assert review.original.added == moment(0)

    def test_a_check_alone_is_a_record_without_a_second_copy_of_the_text(self, workspace: Path) -> None:
        assert counts(correct(workspace, {"source": "b.png", "page": 1, "checked": True})[0]) == {"checked": 1}
        record = pages(workspace)["b.png"]
        assert (record.text, record.text_from) == ("text 2", None)
        assert b'"original":{"added"' in (workspace / RESULTS).read_bytes()
        found = count_pages(workspace)
        assert (found.in_doubt, found.checked, found.corrected) == (0, 1, 0)
        assert counts(correct(workspace, {"source": "b.png", "page": 1, "checked": False})[0]) == {"unchecked": 1}
        assert count_pages(workspace).in_doubt == 1
        assert faults(workspace) == []

    def test_another_text_without_a_mark_takes_the_mark_of_the_former_text_away(self, workspace: Path) -> None:
        correct(workspace, {**A, "checked": True})
        correct(workspace, {**A, "text": "better"})
        review = pages(workspace)["a.png"].review
        assert review is not None
        assert review.checked is None

    def test_a_rebuilt_index_says_the_same(self, workspace: Path) -> None:
        put_records(workspace, [make_record("copy.png", 1, duplicate_of="a.png", added=2)])
        correct(workspace, {**A, "text": "better"}, {"source": "b.png", "page": 1, "checked": True})
        with Index.open(workspace) as index:
            found = [*index.finished_pages([State.DONE, State.DUPLICATE])]
            first = index.find_record(page_id(1))
        (workspace / INDEX).unlink()
        with Index.open(workspace) as index:
            assert [*index.finished_pages([State.DONE, State.DUPLICATE])] == found
            assert index.find_record(page_id(1)) == first
        assert first is not None
        assert first.text == "better"


class TestLines:
    def put(self, workspace: Path) -> None:
        record = replace(make_record("a.png", 1, added=5, text="one\ntwo"), lines=LINES, prep=Prep("png", 100, 100, 9))
        put_records(workspace, [record])

    @pytest.mark.parametrize(
        ("correction", "expected"),
        [
            pytest.param({"text": "one\ntoo"}, ["one", "too"], id="as-many-lines"),
            pytest.param({"text": "one too", "lines": ["one", "too"]}, ["one", "too"], id="lines-are-given"),
            pytest.param({"text": "too", "lines": ["", "too"]}, ["too"], id="a-line-is-removed"),
            pytest.param({"text": "one too", "lines": ["one", "2"]}, ["one", "too"], id="lines-of-other-words"),
            pytest.param({"text": "one too", "lines": ["one"]}, ["one", "too"], id="too-few-lines"),
            pytest.param({"text": ""}, [], id="no-text"),
        ],
    )
    def test_words_keep_their_places(self, workspace: Path, correction: dict[str, Any], expected: list[str]) -> None:
        self.put(workspace)
        correct(workspace, {**A, **correction})
        lines = pages(workspace)["a.png"].lines
        assert lines is not None
        assert [line.text for line in lines] == expected
        assert {line.box for line in lines} <= {line.box for line in LINES}

    def test_restoring_the_text_restores_the_lines(self, workspace: Path) -> None:
        self.put(workspace)
        correct(workspace, {**A, "text": "two"})
        correct(workspace, {**A, "text": "one\ntwo"})
        assert pages(workspace)["a.png"].lines == LINES

    def test_a_blank_page_gets_places_for_its_text(self, workspace: Path) -> None:
        put_records(
            workspace, [replace(make_record("a.png", 1, added=5, text=""), lines=(), prep=Prep("png", 80, 40, 9))]
        )
        correct(workspace, {**A, "text": "one\ntwo"})
        lines = pages(workspace)["a.png"].lines
        assert lines is not None
        assert [(line.text, line.box[5]) for line in lines] == [("one", 20), ("two", 40)]


class TestCopies:
    def test_copies_with_the_same_text_follow_and_others_stay(self, workspace: Path) -> None:
        put_records(
            workspace,
            [
                make_record("copy.png", 1, duplicate_of="a.png", added=2),
                make_record("other.png", 1, duplicate_of="a.png", added=3, text="other"),
            ],
        )
        done, _ = correct(workspace, {"source": "copy.png", "page": 1, "text": "better", "checked": True})
        assert counts(done) == {"corrected": 1, "copies": 1}
        assert {name: record.text for name, record in pages(workspace).items()} == {
            "a.png": "better", "b.png": "text 2", "copy.png": "better", "other.png": "other",
        }  # fmt: skip
        assert pages(workspace)["a.png"].duplicate_of is None
        assert faults(workspace) == []

    def test_a_copy_that_the_file_names_does_not_follow(self, workspace: Path) -> None:
        put_records(workspace, [make_record("copy.png", 1, duplicate_of="a.png", added=2)])
        done, _ = correct(workspace, {"source": "copy.png", "page": 1, "text": "mine"}, {**A, "text": "better"})
        assert counts(done) == {"corrected": 2}
        assert {pages(workspace)[name].text for name in ("a.png", "copy.png")} == {"better", "mine"}

    def test_pages_of_equal_pixels_follow(self, workspace: Path) -> None:
        pixels = f"9x9:{'cd' * 32}"
        put_records(
            workspace,
            [
                replace(make_record("x.png", 5, added=2, text="same"), pixels=pixels),
                replace(make_record("x.tif", 6, duplicate_of="x.png", added=3, text="same"), pixels=pixels),
            ],
        )
        assert counts(correct(workspace, {"source": "x.tif", "page": 1, "text": "new"})[0]) == {
            "corrected": 1,
            "copies": 1,
        }
        assert pages(workspace)["x.png"].text == "new"
        assert faults(workspace) == []

    def test_the_content_of_a_file_that_is_gone_leads_to_the_corrected_text(self, workspace: Path) -> None:
        put_records(
            workspace, [make_record("copy.png", 1, duplicate_of="a.png", added=2), make_record("a.png", 9, added=3)]
        )
        correct(workspace, {"source": "copy.png", "page": 1, "text": "better"})
        with Index.open(workspace) as index:
            found = index.find_record(page_id(1))
        assert found is not None
        assert found.text == "better"


class TestPagesWithoutText:
    def test_a_failed_page_and_its_copies_get_a_persons_text(self, workspace: Path) -> None:
        put_failures(workspace, make_failure("bad.png", 7, added=2), make_failure("same.png", 7, added=3))
        done, _ = correct(workspace, {"source": "bad.png", "page": 1, "text": "by eye", "checked": True})
        assert counts(done) == {"transcribed": 1, "copies": 1}
        record = pages(workspace)["bad.png"]
        assert (record.text_from, record.attempts, record.sha256) == ("correction", (), page_id(7)[7:71])
        assert count_pages(workspace).totals[State.FAILED] == 0
        assert pages(workspace)["same.png"].state is State.DUPLICATE
        assert faults(workspace) == []
        assert counts(correct(workspace, {"source": "bad.png", "page": 1, "text": "by ear"})[0])["corrected"] == 1
        assert faults(workspace) == []
        (workspace / INDEX).unlink()
        assert count_pages(workspace).totals[State.FAILED] == 0

    def test_a_page_with_a_text_layer_and_a_skipped_one_are_corrected_without_a_call(self, workspace: Path) -> None:
        layer = replace(make_record("c.pdf", 3, added=2), text_from=TEXT_LAYER, attempts=())
        blank = replace(make_record("d.png", 4, added=3, text=""), skipped=Skipped("blank", 0.0), attempts=())
        put_records(workspace, [layer, blank])
        correct(workspace, {"source": "c.pdf", "page": 1, "text": "x"}, {"source": "d.png", "page": 1, "text": "y"})
        assert pages(workspace)["d.png"].state is State.DONE
        assert faults(workspace) == []
        correct(workspace, {"source": "c.pdf", "page": 1, "text": "text 3"}, {"source": "d.png", "page": 1, "text": ""})
        assert pages(workspace)["d.png"].skipped == blank.skipped
        assert pages(workspace)["c.pdf"].text_from == TEXT_LAYER
        assert faults(workspace) == []

    def test_a_blank_page_that_a_person_checked_stays_skipped_whatever_the_settings(self, workspace: Path) -> None:
        blank = replace(make_record("d.png", 4, added=3, text=""), skipped=Skipped("blank", 0.0), attempts=())
        put_records(workspace, [blank])
        correct(workspace, {"source": "d.png", "page": 1, "checked": True})
        with Index.open(workspace) as index:
            assert index.skips.are_settled(b"d.png")
            assert not index.skips.find(b"d.png")


REFUSED: list[Any] = [
    pytest.param(b"{nonsense}\n", "", id="no-json"),
    pytest.param(b'{"source": "a.png", "text": "x"}\n', "page", id="no-page"),
    pytest.param(b'{"source": "a.png", "page": 1, "text": "\\ud800"}\n', "", id="lone-surrogate"),
    pytest.param(b'{"source": "a.png", "page": 1, "text": "\xff"}\n', "", id="no-utf-8"),
    pytest.param({"source": "a.png", "page": 0, "text": "x"}, "page", id="page-0"),
    pytest.param({"source": "a.png", "page": 1}, "neither", id="nothing-said"),
    pytest.param({"source": "a.png", "page": 1, "text": 5}, "text", id="number-for-text"),
    pytest.param({"source": "a.png", "page": 1, "text": "x", "at": "yesterday"}, "yesterday", id="no-time"),
    pytest.param(
        {"source": "a.png", "page": 1, "text": "x", "at": "2026-01-01T00:00:00"}, "time zone", id="no-time-zone"
    ),
    pytest.param(
        {"source": "a.png", "page": 1, "text": "x", "at": "9999-12-31T23:59:59-23:59"}, "out of range", id="no-utc"
    ),
    pytest.param({"source": "a.png", "page": 1, "text": "x", "source_b64": "%"}, "", id="no-base64"),
    pytest.param({"source": "none.png", "page": 1, "text": "x"}, "no such page", id="unknown"),
    pytest.param({"source": "a.png", "page": 2, "text": "x"}, "no such page", id="unknown-number"),
    pytest.param({"source": "a.png", "page": 1, "text": "x", "id": page_id(9)}, "another content", id="other-content"),
    pytest.param({"source": "a.png", "page": 1, "text": "x", "base": moment(9)}, "another record since", id="stale"),
    pytest.param({"source": "unread.png", "page": 1, "text": "x"}, "before its content", id="failed-unread"),
    pytest.param({"source": "bad.png", "page": 1, "checked": True}, "no text to check", id="failed-and-checked"),
    pytest.param({"source": "bad.png", "page": 1, "text": "x", "base": moment(1)}, "failed again", id="failed-again"),
    pytest.param({"source": "waiting.png", "page": 1, "text": "x"}, "pending", id="pending"),
]


class TestRefusals:
    @pytest.mark.parametrize(("line", "reason"), REFUSED)
    def test_a_line_that_cannot_be_applied_is_reported_and_the_others_are_applied(
        self, workspace: Path, line: Mapping[str, Any] | bytes, reason: str
    ) -> None:
        put_failures(workspace, make_failure("bad.png", 7, added=2), make_failure("unread.png", None, added=3))
        with Index.open(workspace) as index:
            index.inventory.mark_pending(["waiting.png"])
        done, [refusal] = correct(workspace, b"\n", line, {"source": "b.png", "page": 1, "text": "better"})
        assert counts(done) == {"corrected": 1, "refused": 1}
        assert refusal.line == 2
        assert reason in refusal.reason
        assert pages(workspace)["b.png"].text == "better"
        assert pages(workspace)["a.png"].text == "text 1"

    def test_force_corrects_a_page_that_has_got_another_record(self, workspace: Path) -> None:
        done, refusals = correct(workspace, {**A, "text": "x", "base": moment(9)}, force=True)
        assert (counts(done), refusals) == ({"corrected": 1}, [])
        _, [refusal] = correct(workspace, {**A, "text": "y", "id": page_id(9)}, force=True)
        assert "another content" in refusal.reason

    def test_lines_that_were_edited_by_hand_are_resealed_first(self, workspace: Path) -> None:
        content = (workspace / RESULTS).read_bytes()
        (workspace / RESULTS).write_bytes(content.replace(b"text 1", b"text X"))
        with pytest.raises(StorageError, match="--reseal"):
            correct(workspace, {"source": "b.png", "page": 1, "text": "better"})

    def test_a_missing_file_and_a_folder_change_nothing(self, workspace: Path) -> None:
        size = (workspace / RESULTS).stat().st_size
        for path in (workspace / "none.jsonl", workspace):
            with pytest.raises(UsageError):
                fold(workspace, [path], io.BytesIO(), print)
        assert (workspace / RESULTS).stat().st_size == size


class TestAgain:
    def test_the_same_file_twice_adds_nothing(self, workspace: Path) -> None:
        lines = [
            {**A, "text": "first", "at": "2026-03-01T10:00:00Z", "base": moment(0)},
            {**A, "text": "second", "at": "2026-03-01T11:00:00Z", "base": moment(0), "checked": True},
            {"source": "b.png", "page": 1, "checked": True},
        ]
        assert counts(correct(workspace, *lines)[0]) == {"corrected": 1, "checked": 1, "superseded": 1}
        content = (workspace / RESULTS).read_bytes()
        assert counts(correct(workspace, *lines)[0]) == {"unchanged": 2, "superseded": 1}
        assert (workspace / RESULTS).read_bytes() == content

    def test_a_report_that_is_edited_further_corrects_its_own_corrections(self, workspace: Path) -> None:
        """Its lines name the record that it had shown, and not those that were made since from these lines."""
        for hour, text in enumerate(("one", "two", "three")):
            line = {**A, "text": text, "base": moment(0), "at": f"2026-03-01T1{hour}:00:00Z", "by": "Ada"}
            assert counts(correct(workspace, line)[0]) == {"corrected": 1}
        late = {**A, "text": "late", "base": moment(0), "at": "2026-03-01T09:00:00Z"}
        assert counts(correct(workspace, {**late, "by": "Ada"})[0]) == {"superseded": 1}
        assert "Ada has reviewed it later" in correct(workspace, {**late, "by": "Bo"})[1][0].reason

    def test_two_people_do_not_overwrite_one_another_unseen(self, workspace: Path) -> None:
        line = {**A, "base": moment(0), "at": "2026-03-01T10:00:00Z"}
        done, [refusal] = correct(workspace, {**line, "text": "one", "by": "Ada"}, {**line, "text": "two", "by": "Bo"})
        assert counts(done) == {"corrected": 1, "refused": 1}
        assert "Ada has reviewed it since" in refusal.reason
        seen = pages(workspace)["a.png"].added
        assert counts(correct(workspace, {**A, "text": "two", "by": "Bo", "base": seen})[0]) == {"corrected": 1}

    def test_a_browser_is_one_person_before_and_after_a_name_is_given_whatever_the_order(self, workspace: Path) -> None:
        line = {**A, "base": moment(0), "browser": "3f9a1c07"}
        unnamed = {**line, "text": "one", "at": "2026-03-01T10:00:00Z", "by": "reviewer 3f9a1c07"}
        named = {**line, "text": "two", "at": "2026-03-01T11:00:00Z", "by": "Ada"}
        assert [counts(correct(workspace, each)[0]) for each in (unnamed, named, unnamed)] == [
            {"corrected": 1},
            {"corrected": 1},
            {"superseded": 1},
        ]
        record = pages(workspace)["a.png"]
        assert record.review
        assert (record.text, record.review.by, record.review.browser) == ("two", "Ada", "3f9a1c07")
        assert counts(correct(workspace, unnamed, {**named, "text": "three", "at": "2026-03-01T12:00:00Z"})[0]) == {
            "corrected": 1,
            "superseded": 1,
        }

    def test_one_name_in_two_browsers_is_one_person_and_two_browsers_without_names_are_two(
        self, workspace: Path
    ) -> None:
        line = {**A, "base": moment(0)}
        for hour, browser in enumerate(("3f9a1c07", "00c0ffee")):
            own = {**line, "text": browser, "at": f"2026-03-01T1{hour}:00:00Z", "by": "Ada", "browser": browser}
            assert counts(correct(workspace, own)[0]) == {"corrected": 1}
        other = {**line, "text": "x", "at": "2026-03-01T12:00:00Z", "by": "reviewer 77777777", "browser": "77777777"}
        assert "Ada has reviewed it since" in correct(workspace, other)[1][0].reason

    def test_a_clock_that_is_ahead_does_not_make_later_corrections_older(self, workspace: Path) -> None:
        correct(workspace, {**A, "text": "one", "at": "2999-01-01T00:00:00Z"})
        assert counts(correct(workspace, {**A, "text": "two", "at": "2999-01-01T00:00:00Z"})[0]) == {"corrected": 1}

    @pytest.mark.parametrize("by", ["Ada", "Bo"])
    def test_a_clock_that_is_behind_does_not_make_the_correction_of_a_text_older_than_this_text(
        self, workspace: Path, by: str
    ) -> None:
        correct(workspace, {**A, "text": "one", "at": "2026-03-01T10:00:00Z", "by": "Ada", "browser": "3f9a1c07"})
        seen = pages(workspace)["a.png"].added
        late = {**A, "text": "two", "at": "2026-03-01T09:00:00Z", "by": by, "browser": "00c0ffee", "base": seen}
        assert counts(correct(workspace, late)[0]) == {"corrected": 1}
        assert pages(workspace)["a.png"].text == "two"

    def test_two_browsers_of_unknown_people_are_two_people(self, workspace: Path) -> None:
        line = {**A, "base": moment(0)}
        correct(workspace, {**line, "text": "one", "at": "2026-03-01T10:00:00Z", "browser": "3f9a1c07"})
        other = {**line, "text": "two", "at": "2026-03-01T11:00:00Z", "browser": "00c0ffee"}
        assert "another person has reviewed it since" in correct(workspace, other)[1][0].reason
        assert pages(workspace)["a.png"].text == "one"


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "stored"),
        [
            pytest.param("a\r\nb\rc", "a\nb\nc", id="line-breaks"),
            pytest.param("a\0b", "a\0b", id="nul"),
            pytest.param(
                "</script><script>alert(1)</script>\u202e\u2028",
                "</script><script>alert(1)</script>\u202e\u2028",
                id="hostile",
            ),
            pytest.param("字" * 3_500_000, "字" * 3_500_000, id="10-mb"),
        ],
    )
    def test_a_text_is_kept_as_it_is_but_for_line_breaks(self, workspace: Path, text: str, stored: str) -> None:
        correct(workspace, {**A, "text": text})
        assert pages(workspace)["a.png"].text == stored

    def test_line_breaks_that_a_browser_changed_are_no_correction(self, workspace: Path) -> None:
        put_records(workspace, [make_record("a.png", 1, added=5, text="one\r\ntwo\rthree")])
        assert counts(correct(workspace, {**A, "text": "one\ntwo\nthree"})[0]) == {"unchanged": 1}

    def test_a_byte_order_mark_blank_lines_and_a_last_line_without_its_end(self, workspace: Path) -> None:
        line = orjson.dumps({**A, "text": "x"})
        assert counts(correct(workspace, b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n", line)[0]) == {
            "corrected": 1, "superseded": 1,
        }  # fmt: skip

    def test_names_that_are_not_utf_8_and_other_normal_forms_are_found(self, workspace: Path) -> None:
        composed = unicodedata.normalize("NFC", "Übersicht.png")
        put_records(workspace, [make_record("b\udcff.png", 3, added=2), make_record(composed, 4, added=3)])
        name = {"source": "b\ufffd.png", "source_b64": pybase64.b64encode(b"b\xff.png").decode(), "page": 1}
        apart = {"source": unicodedata.normalize("NFD", composed), "page": 1}
        assert counts(correct(workspace, {**name, "text": "x"}, {**apart, "text": "y"})[0]) == {"corrected": 2}
        assert (pages(workspace)["b\udcff.png"].text, pages(workspace)[composed].text) == ("x", "y")

    def test_stdin_is_read(self, workspace: Path) -> None:
        done = fold(workspace, [Path("-")], io.BytesIO(orjson.dumps({**A, "text": "x"})), print)
        assert counts(done) == {"corrected": 1}

    def test_many_corrections_are_applied_in_their_order(self, workspace: Path) -> None:
        put_records(workspace, [make_record(f"p{n}.png", 100 + n, added=10 + n) for n in range(300)])
        lines = [{"source": f"p{n}.png", "page": 1, "text": f"new {n}"} for n in range(300)]
        assert counts(correct(workspace, *lines)[0]) == {"corrected": 300}
        assert [record.text for record in read_records(workspace)][-300:] == [f"new {n}" for n in range(300)]
        assert faults(workspace) == []
