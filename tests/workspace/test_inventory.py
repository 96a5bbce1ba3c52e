"""What the index knows of files without a result, and of the fields that manifests gave pages."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.records import FileStat, Meta, SourceFile, State
from pipeline.workspace.index import Index
from pipeline.workspace.inventory import PAGE
from pipeline.workspace.page_rows import meta_digest
from pipeline.workspace.paths import INDEX, RESULTS
from pipeline.workspace.result_lines import encode_record
from tests.factories import make_failure, make_record, on_disk
from tests.workspace.lines import append

RELEASE_0_2 = """
CREATE TABLE content (id TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE page (
  source BLOB NOT NULL, page INTEGER NOT NULL, state TEXT NOT NULL, retryable INTEGER NOT NULL, added TEXT NOT NULL,
  id TEXT, PRIMARY KEY (source, page)
) WITHOUT ROWID;
CREATE TABLE file (
  path BLOB PRIMARY KEY, source BLOB NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  pages INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, read_bytes INTEGER NOT NULL, fingerprint INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 2;
"""
"""The index of releases 0.1 and 0.2."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(Index.open(tmp_path)) as opened:
        yield opened


def pending(index: Index) -> list[tuple[str, int]]:
    """Return name and number of the pending pages."""
    rows = index._db.rows("SELECT source, page FROM page WHERE state = 'pending' ORDER BY source, page")
    return [(source.decode(), page) for source, page in rows]


class TestKinds:
    def test_a_kind_is_known_until_the_file_changes(self, index: Index) -> None:
        file = on_disk("a.pdf")
        assert index.inventory.kind_of(file) is None
        index.inventory.add_kind(file, ".pdf")
        index.inventory.add_kind(on_disk("b"), PAGE)
        assert (index.inventory.kind_of(file), index.inventory.kind_of(on_disk("b"))) == (".pdf", PAGE)
        for stat in (FileStat(1001, 1_700_000_000_000_000_000), FileStat(1000, 1)):
            assert index.inventory.kind_of(replace(file, stat=stat)) is None

    def test_a_kind_belongs_to_the_path(self, index: Index) -> None:
        """Another INPUT may give the file another name."""
        index.inventory.add_kind(on_disk("a.pdf"), ".pdf")
        assert index.inventory.kind_of(replace(on_disk("a.pdf"), name="other/a.pdf")) == ".pdf"

    def test_a_file_that_vanished_has_no_kind(self, index: Index) -> None:
        gone = on_disk("a", stat=None)
        index.inventory.add_kind(gone, ".pdf")
        assert index.inventory.kind_of(gone) is None


class TestPending:
    def test_only_pages_without_a_state_become_pending(self, tmp_path: Path, index: Index) -> None:
        record = make_record("done.png", 1)
        index.add_record(record, append(tmp_path / RESULTS, encode_record(record)))
        index.inventory.mark_pending(["done.png", "new.png", "\udcff.png"])
        index.inventory.mark_pending(["new.png"])
        assert index.count_pages().totals[State.PENDING] == 2
        assert index.count_pages().totals[State.DONE] == 1

    def test_the_rest_of_a_file_becomes_pending(self, tmp_path: Path, index: Index) -> None:
        """A run that ends within a book of ten pages leaves as many as it has not finished."""
        record = make_record("book.tif", 1)
        index.add_record(record, append(tmp_path / RESULTS, encode_record(record)))
        index.inventory.mark_rest_pending(on_disk("book.tif"), 2, 4)
        assert pending(index) == [("book.tif", 2), ("book.tif", 3), ("book.tif", 4)]

    @pytest.mark.parametrize(
        ("folders", "left"),
        [
            pytest.param(["."], ["/other/c.png", "https://e.org/d.png"], id="root"),
            pytest.param(["a"], ["/other/c.png", "a0.png", "a1/b.png", "https://e.org/d.png"], id="folder"),
            pytest.param(["/other"], ["a/b.png", "a0.png", "a1/b.png", "https://e.org/d.png"], id="outside-the-root"),
            pytest.param(["/"], ["a/b.png", "a0.png", "a1/b.png", "https://e.org/d.png"], id="root-of-the-machine"),
            pytest.param([], ["/other/c.png", "a/b.png", "a0.png", "a1/b.png", "https://e.org/d.png"], id="none"),
        ],
    )
    def test_pending_pages_of_finished_folders_are_forgotten(
        self, index: Index, folders: list[str], left: list[str]
    ) -> None:
        """Their files are gone, or a new `--exclude` leaves them out."""
        index.inventory.mark_pending(["a/b.png", "a0.png", "a1/b.png", "/other/c.png", "https://e.org/d.png"])
        index.inventory.forget_pending(folders)
        assert [name for name, _ in pending(index)] == left

    def test_only_pending_pages_are_forgotten(self, tmp_path: Path, index: Index) -> None:
        record = make_record("a.png", 1)
        index.add_record(record, append(tmp_path / RESULTS, encode_record(record)))
        index.inventory.forget_pending(["."])
        assert index.count_pages().totals[State.DONE] == 1


class TestFields:
    """A page has a record for each set of fields that a manifest gave it."""

    def file(self, meta: Meta | None) -> SourceFile:
        """Return the file with these fields."""
        return replace(on_disk("a.png"), meta=meta)

    def record(self, index: Index, workspace: Path, meta: Meta | None) -> None:
        """Record the page with these fields."""
        record = replace(make_record("a.png", 1), meta=meta)
        index.add_record(record, append(workspace / RESULTS, encode_record(record)))
        index.add_file(self.file(meta), 1)

    def test_a_file_is_settled_for_the_fields_that_it_has_a_record_with(self, tmp_path: Path, index: Index) -> None:
        self.record(index, tmp_path, {"book": "A", "n": [1.5, None]})
        self.record(index, tmp_path, {"book": "B"})
        for meta in ({"book": "A", "n": [1.5, None]}, {"n": [1.5, None], "book": "A"}, {"book": "B"}, None, {}):
            assert index.settled_states(self.file(meta)) == {State.DONE: 1}
            assert index.inventory.has_meta(self.file(meta), 1)
        for other in ({"book": "C"}, {"book": "A"}, {"book": "A", "n": [1.5, 0]}):
            assert index.settled_states(self.file(other)) is None
            assert not index.inventory.has_meta(self.file(other), 1)

    def test_a_page_recorded_without_fields_lacks_them(self, tmp_path: Path, index: Index) -> None:
        self.record(index, tmp_path, None)
        assert index.settled_states(self.file(None)) is not None
        assert index.settled_states(self.file({"book": "A"})) is None

    def test_every_page_of_a_file_needs_the_fields(self, tmp_path: Path, index: Index) -> None:
        for page in (1, 2):
            record = replace(make_record("a.png", 1, page=page), meta={"book": "A"} if page == 1 else None)
            index.add_record(record, append(tmp_path / RESULTS, encode_record(record)))
        index.add_file(self.file(None), 2)
        assert index.settled_states(self.file({"book": "A"})) is None
        assert [index.inventory.has_meta(self.file({"book": "A"}), page) for page in (1, 2)] == [True, False]

    def test_a_failed_page_needs_no_fields(self, tmp_path: Path, index: Index) -> None:
        index.add_failure(make_failure("a.png", 1), append(tmp_path / "failures.jsonl", b"{}\n"))
        index.add_file(self.file(None), 1)
        assert index.settled_states(self.file({"book": "A"})) == {State.FAILED: 1}

    def test_a_lost_index_learns_the_fields_from_the_lines(self, tmp_path: Path, index: Index) -> None:
        self.record(index, tmp_path, {"书": "甲", "x": 1e300, "big": 2**64 - 1, "deep": [{"a": [True]}]})
        with closing(Index.open(tmp_path, tmp_path / "rebuilt.sqlite3")) as rebuilt:
            assert rebuilt._db.rows("SELECT * FROM meta") == index._db.rows("SELECT * FROM meta") != []

    def test_the_order_of_fields_does_not_matter(self) -> None:
        assert meta_digest({"a": 1, "b": {"c": 2, "d": 3}}) == meta_digest({"b": {"d": 3, "c": 2}, "a": 1})
        assert meta_digest(None) is meta_digest({}) is None


def test_a_page_that_failed_in_this_run_is_settled_until_the_next(tmp_path: Path) -> None:
    """Another row of a manifest names it again."""
    with closing(Index.open(tmp_path)) as index:
        failure = make_failure("a.png", 1, error="attempts-exhausted", retryable=True, added=5000)
        index.add_failure(failure, append(tmp_path / "failures.jsonl", b"{}\n"))
        index.add_file(on_disk("a.png"), 1)
        assert index.settled_states(on_disk("a.png"), since="2026-01-01T00:00:05.000000Z") == {State.FAILED: 1}
        assert index.settled_states(on_disk("a.png"), since="2026-01-01T00:00:05.000001Z") is None
        assert index.settled_states(on_disk("a.png")) is None
        assert index.has_failed_since(on_disk("a.png"), 1, "2026-01-01T00:00:05.000000Z")
        assert not index.has_failed_since(on_disk("a.png"), 2, "2026-01-01T00:00:05.000000Z")
        assert not index.has_failed_since(on_disk("a.png"), 1, "2026-01-01T00:00:06.000000Z")


def test_the_index_of_an_earlier_release_is_upgraded_and_keeps_its_files(tmp_path: Path) -> None:
    """A rebuilt one would make the next run read every file again; the lines are read again for their fields."""
    record = replace(make_record("a.png", 1), meta={"book": "A"})
    append(tmp_path / RESULTS, encode_record(record))
    with closing(sqlite3.connect(tmp_path / INDEX)) as db:
        db.executescript(RELEASE_0_2)
        db.execute("INSERT INTO content VALUES (?, 0)", (record.id,))
        db.execute("INSERT INTO page VALUES (?, 1, 'done', 0, ?, ?)", (b"a.png", record.added, record.id))
        db.execute("INSERT INTO page VALUES (?, 1, 'pending', 1, '', NULL)", (b"b.png",))
        file = on_disk("a.png")
        assert file.stat is not None
        row = (b"/scans/a.png", b"a.png", file.stat.size_bytes, file.stat.mtime_ns, 1)
        db.execute("INSERT INTO file VALUES (?, ?, ?, ?, ?)", row)
        size = (tmp_path / RESULTS).stat().st_size
        db.execute("INSERT INTO progress VALUES ('results.jsonl', ?, 12345)", (size,))
        db.commit()
    with Index.open(tmp_path) as index:
        assert index.damaged == []
        assert index.count_pages().totals[State.DONE] == index.count_pages().totals[State.PENDING] == 1
        assert index.settled_states(replace(on_disk("a.png"), meta={"book": "A"})) == {State.DONE: 1}
        assert index.settled_states(replace(on_disk("a.png"), meta={"book": "B"})) is None
        assert index.find_record(record.id) == record
    with closing(Index.open_intact(tmp_path, tmp_path / INDEX)) as again:
        assert again.is_current()
