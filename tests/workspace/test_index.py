"""The index on real files: whatever happens to it, it agrees with the JSONL files."""

import itertools
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.errors import StorageError
from pipeline.records import Failure, FileStat, PageId, Record, SourceFile, State
from pipeline.review import Review
from pipeline.workspace.failure_lines import encode_failure
from pipeline.workspace.index import Index
from pipeline.workspace.paths import FAILURES, INDEX, RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.repair import remove_torn_tail
from pipeline.workspace.result_lines import encode_record
from pipeline.workspace.reviews import revise
from pipeline.workspace.source_names import encode_name
from tests.factories import DOUBT, QUALITY, STAT, make_failure, make_record, moment, on_disk, page_id
from tests.workspace.lines import append

SINCE_8 = ("is_checked", "is_corrected")
SINCE_4 = ("in_doubt", "offset", "lacks_lines", *SINCE_8)
"""Columns of the table `page` that version 4 had not."""


class Workspace:
    """A workspace whose lines are appended and added to the index together, as in a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = Index.open(path)

    def record(self, record: Record) -> Span:
        """Append a record's line and add it to the index."""
        span = append(self.path / RESULTS, encode_record(record))
        self.index.add_record(record, span)
        return span

    def failure(self, failure: Failure) -> None:
        """Append a failure's line and add it to the index."""
        self.index.add_failure(failure, append(self.path / FAILURES, encode_failure(failure)))

    def crash(self) -> None:
        """Lose uncommitted changes, and open the index again."""
        self.index._db.close()
        self.index = Index.open(self.path)

    def close(self) -> None:
        """Commit and close."""
        with self.index:
            pass

    def reopen(self) -> None:
        """End the run and begin another."""
        self.close()
        self.index = Index.open(self.path)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace with an open index."""
    opened = Workspace(tmp_path)
    yield opened
    opened.index._db.close()


def states(index: Index) -> dict[str, State]:
    """Return the state of each page by `source page`, including uncommitted changes."""
    rows = index._db.rows("SELECT source, page, state FROM page")
    return {f"{os.fsdecode(source)} {page}": State(state) for source, page, state in rows}


def first_records(index: Index) -> dict[PageId, int]:
    """Return the offset of each content's first record in results.jsonl."""
    return dict(index._db.rows("SELECT id, offset FROM content"))


class TestRebuilding:
    """An index that is missing, damaged or made from other files."""

    @staticmethod
    def fill(workspace: Workspace) -> dict[str, State]:
        """Append 64 lines, commit, and return the states."""
        for number in range(60):
            workspace.record(make_record(f"{number}.png", number))
        workspace.record(make_record("copy.png", 3, duplicate_of="3.png"))
        workspace.failure(make_failure("bad.png", 100))
        workspace.failure(make_failure("gone.png", None, error="missing", retryable=True))
        workspace.failure(make_failure("lost.png", 101, error="uncertain"))
        workspace.close()
        with Index.open(workspace.path) as index:
            return states(index)

    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(lambda path: path.unlink(), id="missing"),
            pytest.param(lambda path: path.write_bytes(b""), id="empty"),
            pytest.param(lambda path: path.write_bytes(os.urandom(9000)), id="random-bytes"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5000]), id="cut"),
            pytest.param(lambda path: path.write_bytes(path.read_bytes()[:100] + bytes(20000)), id="zeros"),
        ],
    )
    def test_it_is_rebuilt_from_the_files(self, workspace: Workspace, harm: Callable[[Path], object]) -> None:
        expected = self.fill(workspace)
        assert len(expected) == 64
        harm(workspace.path / INDEX)
        with Index.open(workspace.path) as index:
            assert states(index) == expected
            assert index.totals()[State.DONE] == 60
            assert index.find_record(page_id(7)) == make_record("7.png", 7)

    @settings(max_examples=30)
    @example(at=3446, noise=b"\x80")  # SQLite's message quotes the damaged schema, which is not UTF-8
    @given(st.integers(0, 30_000), st.binary(min_size=1, max_size=200))
    def test_damage_anywhere_stops_with_a_storage_error_at_most_once(self, at: int, noise: bytes) -> None:
        """SQLite may detect damage when it opens the file, while it uses it, or never because nothing reads it."""
        with tempfile.TemporaryDirectory() as directory:
            self.fill(Workspace(Path(directory)))
            path = Path(directory) / INDEX
            content = bytearray(path.read_bytes())
            at %= len(content)
            content[at : at + len(noise)] = noise[: len(content) - at]
            path.write_bytes(content)
            for last in (False, True):  # damage detected during use costs one run
                try:
                    with Index.open(Path(directory)) as index:
                        index.totals()
                        for number in range(60):
                            index.settled_states(on_disk(f"{number}.png"))
                            index.find_record(page_id(number))
                            index.mark_file_pending(on_disk(f"{number}.png"))
                    break
                except StorageError:
                    assert not last

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda lines: lines[:40], id="shortened"),
            pytest.param(
                lambda _: [encode_record(make_record(f"new-{n}.png", 500 + n)) for n in range(99)], id="other"
            ),
            pytest.param(lambda lines: [*lines[1:], lines[0]], id="reordered"),
            pytest.param(lambda lines: [*lines[:-1], encode_record(make_record("x.png", 77))], id="last-line-edited"),
            pytest.param(lambda _: [], id="emptied"),
        ],
    )
    def test_an_index_of_replaced_files_is_rebuilt(
        self, workspace: Workspace, change: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        self.fill(workspace)
        path = workspace.path / RESULTS
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
        with Index.open(workspace.path) as index:
            found = states(index)
        (workspace.path / INDEX).unlink()
        with Index.open(workspace.path) as index:
            assert found == states(index)

    def test_pages_of_deleted_results_are_forgotten(self, workspace: Workspace) -> None:
        self.fill(workspace)
        (workspace.path / RESULTS).unlink()
        with Index.open(workspace.path) as index:
            assert set(states(index)) == {"bad.png 1", "gone.png 1", "lost.png 1"}

    def test_an_index_of_another_schema_version_is_rebuilt(self, workspace: Workspace) -> None:
        """A later release may have written it."""
        expected = self.fill(workspace)
        workspace.index = Index.open(workspace.path)
        workspace.index._db.rows("PRAGMA user_version = 99")
        workspace.crash()
        assert states(workspace.index) == expected

    def test_an_index_of_schema_version_5_learns_of_tiles_and_offsets(self, workspace: Workspace) -> None:
        expected = self.fill(workspace)
        workspace.index = Index.open(workspace.path)
        workspace.index.add_file(on_disk("1.png"), 1)
        workspace.close()
        with closing(sqlite3.connect(workspace.path / INDEX)) as db, db:
            db.executescript("DROP TABLE part; DROP TABLE skipped_page; DROP TABLE pixels; DROP INDEX reviewed_page")
            db.executescript("DELETE FROM progress WHERE name = 'parts.jsonl'; ALTER TABLE page DROP offset")
            for name in ("lacks_lines", *SINCE_8):
                db.execute(f"ALTER TABLE page DROP {name}")
            db.execute("PRAGMA user_version = 5")
        workspace.index = Index.open(workspace.path)
        assert states(workspace.index) == expected
        assert workspace.index.settled_states(on_disk("1.png")) is not None

    def test_an_index_of_schema_version_4_is_upgraded_and_keeps_what_it_knows(self, workspace: Workspace) -> None:
        """Its lines are read again: where each page's last record is, the index did not know."""
        expected = self.fill(workspace)
        workspace.index = Index.open(workspace.path)
        workspace.index.add_file(on_disk("1.png"), 1)
        workspace.close()
        with closing(sqlite3.connect(workspace.path / INDEX)) as db, db:
            db.executescript("DROP TABLE part; DROP TABLE skipped_page; DROP TABLE pixels; DROP INDEX failed_content")
            db.execute("DROP INDEX reviewed_page")
            for name in SINCE_4:
                db.execute(f"ALTER TABLE page DROP {name}")
            db.execute("PRAGMA user_version = 4")
        workspace.index = Index.open(workspace.path)
        assert states(workspace.index) == expected
        assert workspace.index.settled_states(on_disk("1.png")) is not None
        assert workspace.index.count_in_doubt() == 0
        assert all(page.offset is not None for page in workspace.index.finished_pages([State.DONE, State.DUPLICATE]))
        assert [page.source for page in workspace.index.finished_pages([State.DONE])]
        workspace.record(make_record("new.png", 200, quality=DOUBT))
        assert workspace.index.count_in_doubt() == 1

    def test_a_workspace_that_does_not_exist_is_a_storage_error(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"index\.sqlite3"):
            Index.open(tmp_path / "missing")


class TestDamagedLines:
    def test_damaged_lines_are_skipped_and_listed_with_file_and_offset(self, workspace: Workspace) -> None:
        spans = [workspace.record(make_record(f"{n}.png", n)) for n in range(3)]
        workspace.failure(make_failure("bad.png", 9))
        workspace.close()
        for name, at in ((RESULTS, spans[1].start + 20), (FAILURES, 5)):
            content = bytearray((workspace.path / name).read_bytes())
            content[at] ^= 1
            (workspace.path / name).write_bytes(content)
        with Index.open(workspace.path) as index:
            assert set(states(index)) == {"0.png 1", "2.png 1"}
            assert [(damage.file, damage.offset_bytes) for damage in index.damaged] == [
                (RESULTS, spans[1].start),
                (FAILURES, 0),
            ]
            assert {damage.problem for damage in index.damaged} == {"its checksum does not match"}

    def test_a_new_record_replaces_a_first_record_that_is_damaged(self, workspace: Workspace) -> None:
        """Otherwise each further copy of this content would be sent and paid again."""
        span = workspace.record(make_record("a.png", 1))
        for number in range(2, 30):
            workspace.record(make_record(f"{number}.png", number))
        workspace.close()
        path = workspace.path / RESULTS
        content = bytearray(path.read_bytes())
        content[span.start + 90] ^= 1
        before = path.stat()
        path.write_bytes(content)  # outside the last 4 KiB, which the index compares when it is opened
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # else the index reads all lines again
        workspace.index = Index.open(workspace.path)
        assert first_records(workspace.index)[page_id(1)] == span.start
        assert workspace.index.find_record(page_id(1)) is None
        workspace.record(make_record("b.png", 1, added=5))
        assert workspace.index.find_record(page_id(1)) == make_record("b.png", 1, added=5)
        workspace.crash()
        assert workspace.index.find_record(page_id(1)) == make_record("b.png", 1, added=5)

    def test_a_torn_last_line_is_not_read_and_one_that_lacks_its_newline_alone_is(self, workspace: Workspace) -> None:
        """A run may be writing it, or a crash tore it."""
        workspace.record(make_record("a.png", 1))
        line = encode_record(make_record("b.png", 2))
        append(workspace.path / RESULTS, line[:-2])
        workspace.crash()
        assert set(states(workspace.index)) == {"a.png 1"}
        append(workspace.path / RESULTS, line[-2:-1])
        workspace.crash()
        assert set(states(workspace.index)) == {"a.png 1", "b.png 1"}


class TestCrashes:
    def test_a_line_added_after_a_later_one_is_not_skipped_after_a_crash(self, workspace: Workspace) -> None:
        """Lines are added in any order, so a commit must not count a gap as read."""
        first, second = make_record("first.png", 1), make_record("second.png", 2)
        append(workspace.path / RESULTS, encode_record(first))
        workspace.record(second)
        workspace.index.commit()
        assert set(states(workspace.index)) == {"second.png 1"}
        workspace.crash()
        assert set(states(workspace.index)) == {"first.png 1", "second.png 1"}

    def test_uncommitted_lines_of_both_files_are_read_again_after_a_crash(self, workspace: Workspace) -> None:
        workspace.record(make_record("a.png", 1))
        workspace.index.commit()
        workspace.record(make_record("b.png", 2))
        workspace.failure(make_failure("c.png", 3))
        workspace.crash()
        assert states(workspace.index) == {"a.png 1": State.DONE, "b.png 1": State.DONE, "c.png 1": State.FAILED}


class TestStates:
    """States by page and by content."""

    def test_the_first_record_of_a_content_is_the_original(self, workspace: Workspace) -> None:
        workspace.record(make_record("a.png", 1))
        workspace.record(make_record("b.png", 1, duplicate_of="a.png"))
        assert workspace.index.totals() == dict.fromkeys(State, 0) | {State.DONE: 1, State.DUPLICATE: 1}
        assert workspace.index.find_record(page_id(1)) == make_record("a.png", 1)
        assert workspace.index.find_record(page_id(2)) is None

    @pytest.mark.parametrize("crash", [pytest.param(False, id="live"), pytest.param(True, id="read-again")])
    @pytest.mark.parametrize("content", [pytest.param(1, id="prepared"), pytest.param(None, id="unreadable")])
    @pytest.mark.parametrize(
        "failed_first", [pytest.param(True, id="then-done"), pytest.param(False, id="then-failed")]
    )
    def test_of_a_text_and_a_failure_the_later_one_counts(
        self, workspace: Workspace, content: int | None, *, crash: bool, failed_first: bool
    ) -> None:
        if failed_first:
            workspace.failure(make_failure("a.png", content, retryable=True, added=1))
            workspace.record(make_record("a.png", 1, added=2))
        else:
            workspace.record(make_record("a.png", 1, added=1))
            workspace.failure(make_failure("a.png", content and 2, added=2))
        if crash:
            workspace.crash()
        assert states(workspace.index) == {"a.png 1": State.DONE if failed_first else State.FAILED}

    def test_a_clock_set_back_does_not_hide_a_text_behind_a_failure(self, workspace: Workspace) -> None:
        """The failure's `added` is later than that of the text, although its line was written before it."""
        workspace.failure(make_failure("a.png", 1, retryable=True, added=9))
        workspace.record(make_record("a.png", 1, added=2))
        workspace.crash()
        assert states(workspace.index) == {"a.png 1": State.DONE}

    def test_a_failed_page_is_remembered_though_its_content_was_recognised_elsewhere(
        self, workspace: Workspace
    ) -> None:
        workspace.failure(make_failure("a.png", 1, retryable=True, added=1))
        workspace.record(make_record("b.png", 1, added=2))
        before = states(workspace.index)
        assert before == {"a.png 1": State.FAILED, "b.png 1": State.DONE}
        workspace.crash()
        assert states(workspace.index) == before

    def test_a_page_whose_content_changed_can_be_marked_pending(self, workspace: Workspace) -> None:
        workspace.record(make_record("a.png", 1))
        workspace.index.mark_file_pending(on_disk("a.png"))
        workspace.index.inventory.mark_page_pending(on_disk("a.png"), 1, page_id(1))
        assert workspace.index.has_result(on_disk("a.png"), 1, page_id(1))
        workspace.index.inventory.mark_page_pending(on_disk("a.png"), 1, page_id(2))
        assert not workspace.index.has_result(on_disk("a.png"), 1, page_id(1))
        assert states(workspace.index) == {"a.png 1": State.PENDING}
        assert workspace.index.find_record(page_id(1)) is not None

    @pytest.mark.parametrize("crash", [pytest.param(False, id="live"), pytest.param(True, id="read-again")])
    def test_pages_in_doubt_are_those_whose_last_text_is_doubted(self, workspace: Workspace, *, crash: bool) -> None:
        workspace.record(make_record("a.png", 1, quality=DOUBT))
        workspace.record(make_record("copy.png", 1, duplicate_of="a.png", quality=DOUBT))
        workspace.record(make_record("b.png", 2, quality=DOUBT))
        workspace.record(make_record("b.png", 2, added=1, quality=QUALITY))
        workspace.record(make_record("c.png", 3))
        workspace.record(make_record("d.png", 4, quality=DOUBT))
        workspace.failure(make_failure("d.png", 5, added=1))
        if crash:
            workspace.crash()
        assert workspace.index.count_in_doubt() == 2
        workspace.index.inventory.mark_page_pending(on_disk("a.png"), 1, page_id(9))
        assert workspace.index.count_in_doubt() == 1

    def test_uncertain_contents_are_known_after_a_crash(self, workspace: Workspace) -> None:
        workspace.failure(make_failure("a.png", 1, error="uncertain"))
        workspace.failure(make_failure("b.png", 2))
        workspace.crash()
        assert workspace.index.uncertain_ids() == {page_id(1)}

    def test_names_that_are_not_utf8_keep_their_bytes(self, workspace: Workspace) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        file = SourceFile(name, Path("/scans") / name, STAT)
        workspace.record(make_record(name, 1))
        workspace.index.add_file(file, 1)
        for _ in range(2):
            assert workspace.index.has_result(file, 1, page_id(1))
            assert workspace.index.find_record(page_id(1)) == make_record(name, 1)
            assert set(states(workspace.index)) == {f"{name} 1"}
            assert workspace.index.settled_states(file) is not None
            workspace.reopen()


class TestFiles:
    """Files that need not be opened."""

    @pytest.mark.parametrize(
        ("note", "settled"),
        [
            pytest.param(lambda w: w.record(make_record("a.png", 1)), State.DONE, id="done"),
            pytest.param(
                lambda w: w.record(make_record("a.png", 1, duplicate_of="o.png")), State.DUPLICATE, id="duplicate"
            ),
            pytest.param(lambda w: w.failure(make_failure("a.png", 1)), State.FAILED, id="failed-for-good"),
            pytest.param(lambda w: w.failure(make_failure("a.png", 1, retryable=True)), None, id="failed-for-now"),
            pytest.param(lambda w: w.failure(make_failure("a.png", 1, error="uncertain")), None, id="uncertain"),
            pytest.param(lambda w: w.index.mark_file_pending(on_disk("a.png")), None, id="pending"),
        ],
    )
    def test_an_unchanged_file_is_settled_when_its_page_needs_no_call(
        self, workspace: Workspace, note: Callable[[Workspace], object], settled: State | None
    ) -> None:
        note(workspace)
        workspace.index.add_file(on_disk("a.png"), 1)
        workspace.reopen()
        found = workspace.index.settled_states(on_disk("a.png"))
        assert found == (None if settled is None else {settled: 1})

    def test_uncertain_pages_are_settled_when_they_must_not_be_sent_again(self, workspace: Workspace) -> None:
        workspace.failure(make_failure("a.png", 1, error="uncertain"))
        workspace.index.add_file(on_disk("a.png"), 1)
        found = workspace.index.settled_states(on_disk("a.png"), keep_uncertain=True)
        assert found is not None
        assert found == {State.UNCERTAIN: 1}

    @pytest.mark.parametrize(
        "file",
        [
            pytest.param(on_disk("a.png", stat=FileStat(STAT.size_bytes + 1, STAT.mtime_ns)), id="other-size"),
            pytest.param(on_disk("a.png", stat=FileStat(STAT.size_bytes, STAT.mtime_ns + 1)), id="other-time"),
            pytest.param(on_disk("a.png", stat=None), id="gone"),
            pytest.param(SourceFile("other.png", Path("/scans/a.png"), STAT), id="other-name"),
            pytest.param(SourceFile("a.png", Path("/elsewhere/a.png"), STAT), id="other-path"),
        ],
    )
    def test_a_file_that_changed_is_opened(self, workspace: Workspace, file: SourceFile) -> None:
        workspace.record(make_record("a.png", 1))
        workspace.index.add_file(on_disk("a.png"), 1)
        assert workspace.index.settled_states(on_disk("a.png")) is not None
        assert workspace.index.settled_states(file) is None

    def test_a_file_is_settled_when_all_of_its_pages_are(self, workspace: Workspace) -> None:
        for page in (1, 2):
            workspace.record(make_record("a.tif", page, page=page))
        workspace.index.add_file(on_disk("a.tif"), 3)
        assert workspace.index.settled_states(on_disk("a.tif")) is None
        workspace.record(make_record("a.tif", 3, page=3))
        found = workspace.index.settled_states(on_disk("a.tif"))
        assert found is not None
        assert found == {State.DONE: 3}
        workspace.index.add_file(on_disk("a.tif"), 2)
        assert states(workspace.index) == {"a.tif 1": State.DONE, "a.tif 2": State.DONE}

    def test_a_missing_file_keeps_the_states_of_its_pages(self, workspace: Workspace) -> None:
        """The number of pages of a missing file is unknown."""
        for page in (1, 2):
            workspace.record(make_record("a.tif", page, page=page))
        workspace.index.add_file(on_disk("a.tif"), 2)
        workspace.failure(make_failure("a.tif", None, error="missing", retryable=True, added=9))
        workspace.index.add_file(on_disk("a.tif", stat=None), 1)
        assert states(workspace.index) == {"a.tif 1": State.FAILED, "a.tif 2": State.DONE}

    def test_a_url_is_settled_by_its_name(self, workspace: Workspace) -> None:
        """A URL has no size and modification time."""
        url = SourceFile("https://example.org/a.png", None)
        assert workspace.index.settled_states(url) is None
        workspace.record(make_record(url.name, 1))
        assert workspace.index.settled_states(url) is not None


class TestSharing:
    """Other threads and processes during a run."""

    def test_a_reader_sees_the_last_commit(self, workspace: Workspace) -> None:
        workspace.record(make_record("a.png", 1))
        workspace.index.commit()
        workspace.record(make_record("b.png", 2))
        with Index.open_read_only(workspace.path) as reader:
            assert set(states(reader)) == {"a.png 1"}
        workspace.index.commit()
        with Index.open_read_only(workspace.path) as reader:
            assert set(states(reader)) == {"a.png 1", "b.png 1"}

    @pytest.mark.parametrize(
        "content",
        [pytest.param(None, id="missing"), pytest.param(b"x" * 9000, id="damaged"), pytest.param(b"", id="new")],
    )
    def test_a_reader_never_creates_or_repairs_an_index(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / INDEX).write_bytes(content)
        with pytest.raises(StorageError, match=r"index\.sqlite3"):
            Index.open_read_only(tmp_path)
        assert ((tmp_path / INDEX).read_bytes() if content is not None else None) == content

    def test_commits_in_two_threads_lose_no_change(self, workspace: Workspace) -> None:
        errors: list[Exception] = []
        ended = threading.Event()

        def commit() -> None:
            while not ended.is_set():
                try:
                    workspace.index.commit()
                except StorageError as exc:
                    errors.append(exc)

        threads = [threading.Thread(target=commit) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(3000):
                workspace.index.mark_file_pending(on_disk(f"{number}.png"))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert errors == []
        workspace.reopen()
        assert workspace.index.totals()[State.PENDING] == 3000

    def test_a_commit_is_needed_after_many_changes(self, workspace: Workspace) -> None:
        needed = []
        for number in range(1000):
            workspace.index.mark_file_pending(on_disk(f"{number}.png"))
            needed.append(workspace.index.needs_commit)
        assert (needed[100], needed[-1]) == (False, True)
        workspace.index.commit()
        assert not workspace.index.needs_commit


class History(RuleBasedStateMachine):
    """Any history of a workspace: lines appended, added to the index out of order or never, commits and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.workspace = Workspace(self.directory)
        self.clock = itertools.count(1)
        self.expected: dict[str, State] = {}
        self.originals: dict[PageId, int] = {}
        self.written: list[tuple[Record | Failure, Span]] = []

    def teardown(self) -> None:
        self.workspace.index._db.close()
        shutil.rmtree(self.directory)

    @rule(content=st.integers(0, 5), name=st.integers(0, 8))
    def write_record(self, content: int, name: int) -> None:
        """Append a record; the index gets it later."""
        source = f"{content}-{name}.png"
        known = page_id(content) in self.originals
        record = make_record(source, content, duplicate_of="original" if known else None, added=next(self.clock))
        span = append(self.directory / RESULTS, encode_record(record))
        self.originals.setdefault(record.id, span.start)
        self.expected[f"{source} 1"] = State.DUPLICATE if known else State.DONE
        self.written.append((record, span))

    @rule(content=st.integers(6, 9), retryable=st.booleans())
    def write_failure(self, content: int, *, retryable: bool) -> None:
        """Append a failure; the index gets it later."""
        failure = make_failure(f"{content}.png", content, retryable=retryable, added=next(self.clock))
        self.expected[f"{content}.png 1"] = State.FAILED
        self.written.append((failure, append(self.directory / FAILURES, encode_failure(failure))))

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        """Add a line to the index, in any order except among the lines of one page."""
        outcome, span = data.draw(st.sampled_from(self.written))
        first = next(item for item in self.written if item[0].source == outcome.source)
        before = self.written[: self.written.index((outcome, span))]
        if any(item[0].id == outcome.id for item in before):
            return  # a run writes a duplicate once the index has its original
        self.written.remove(first)
        if isinstance(first[0], Record):
            self.workspace.index.add_record(first[0], first[1])
        else:
            self.workspace.index.add_failure(first[0], first[1])

    @rule()
    def commit(self) -> None:
        self.workspace.index.commit()

    @rule()
    def crash(self) -> None:
        """Lose uncommitted changes."""
        self.written.clear()
        self.workspace.crash()
        self.check_all()

    @rule()
    def lose_index(self) -> None:
        self.written.clear()
        self.workspace.index._db.close()
        (self.directory / INDEX).unlink()
        self.workspace.index = Index.open(self.directory)
        self.check_all()

    def check_all(self) -> None:
        """After opening, the index has the state of every line on disk, and the first record of each content."""
        assert states(self.workspace.index) == self.expected
        assert first_records(self.workspace.index) == self.originals

    @invariant()
    def nothing_is_known_that_is_not_on_disk(self) -> None:
        """Every state in the index comes from a line."""
        not_added = {f"{outcome.source} 1" for outcome, _ in self.written}
        found = states(self.workspace.index)
        assert set(found) <= set(self.expected)
        assert set(self.expected) - set(found) <= not_added


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


class Disasters(RuleBasedStateMachine):
    """After anything that can happen to the files between two runs, the index opened is the one made from the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.former = self.directory / "former.sqlite3"
        self.workspace = Workspace(self.directory)
        self.clock = itertools.count(1)

    def teardown(self) -> None:
        self.workspace.index._db.close()
        shutil.rmtree(self.directory)

    @rule(name=st.integers(0, 5), content=st.integers(0, 5), of=st.sampled_from([None, "0.png", "other.png"]))
    def record(self, name: int, content: int, of: str | None) -> None:
        """A page gets a text: its file may have changed, or may have its first content again."""
        record = make_record(f"{name}.png", content, duplicate_of=of, added=next(self.clock))
        self.workspace.index.inventory.mark_page_pending(on_disk(record.source), 1, record.id)
        self.workspace.record(record)

    @rule(name=st.integers(0, 5), text=st.sampled_from(["text 1", "better"]), is_checked=st.booleans())
    def review(self, name: int, text: str, *, is_checked: bool) -> None:
        """A person corrects, restores or checks a text."""
        record = self.workspace.index.contents.find_page(f"{name}.png".encode(), 1)
        if record is not None:
            now = moment(next(self.clock))
            review = Review(at=now, base=record.added, checked=now if is_checked else None)
            self.workspace.record(revise(record, text, review, now))

    @rule(name=st.integers(0, 5), content=st.none() | st.integers(6, 9), retryable=st.booleans())
    def fail(self, name: int, content: int | None, *, retryable: bool) -> None:
        failure = make_failure(f"{name}.png", content, retryable=retryable, added=next(self.clock))
        self.workspace.index.mark_file_pending(on_disk(failure.source))
        self.workspace.failure(failure)

    @rule(name=st.integers(0, 5), content=st.integers(0, 9))
    def begin(self, name: int, content: int) -> None:
        """A page is left for another run."""
        self.workspace.index.inventory.mark_page_pending(on_disk(f"{name}.png"), 1, page_id(content))

    @rule(name=st.integers(0, 5), content=st.integers(0, 5))
    def write_and_crash(self, name: int, content: int) -> None:
        """A run is killed after it appended a record, before it added it to the index."""
        append(self.directory / RESULTS, encode_record(make_record(f"{name}.png", content, added=next(self.clock))))
        self.open_again()

    @rule()
    def commit(self) -> None:
        self.workspace.index.commit()

    @rule()
    def keep_a_backup(self) -> None:
        """Copy the index."""
        self.workspace.close()
        shutil.copyfile(self.directory / INDEX, self.former)
        self.open_again()

    @precondition(lambda self: self.former.exists())
    @rule()
    def restore_the_backup(self) -> None:
        """Restore an earlier index; the lines may have changed since."""
        self.workspace.index._db.close()
        shutil.copyfile(self.former, self.directory / INDEX)
        self.open_again()

    @rule()
    def take_the_index_of_another_workspace(self) -> None:
        self.workspace.index._db.close()
        with tempfile.TemporaryDirectory() as other:
            there = Workspace(Path(other))
            there.record(make_record("foreign.png", 77))
            there.close()
            shutil.copyfile(Path(other) / INDEX, self.directory / INDEX)
        self.open_again()

    @rule()
    def lose_the_index(self) -> None:
        self.workspace.index._db.close()
        (self.directory / INDEX).unlink()
        self.open_again()

    @rule(name=st.sampled_from([RESULTS, FAILURES]), cut_bytes=st.integers(1, 2000))
    def lose_a_tail(self, name: str, cut_bytes: int) -> None:
        """Cut a file anywhere; a run repairs it before it opens the index."""
        path = self.directory / name
        self.workspace.index._db.close()
        if path.exists():
            os.truncate(path, max(0, path.stat().st_size - cut_bytes))
            remove_torn_tail(path)
        self.open_again()

    @rule(at=st.integers(0, 5000))
    def rot(self, at: int) -> None:
        """Flip a bit of a line, and delete the index: one that read the line before does not detect it."""
        path = self.directory / RESULTS
        content = bytearray(path.read_bytes()) if path.exists() else bytearray()
        if content and content[at % len(content)] != ord("\n"):
            content[at % len(content)] ^= 16
            path.write_bytes(content)
        self.lose_the_index()

    def open_again(self) -> None:
        """Open the index as the next run does, and compare it with one made from the files alone."""
        self.workspace.crash()
        with tempfile.TemporaryDirectory() as fresh, Index.open(self.directory, Path(fresh) / INDEX) as scratch:
            expected, found = states(scratch), states(self.workspace.index)
            done = {name: state for name, state in found.items() if state is not State.PENDING}
            assert set(expected) <= set(found)
            assert done == {name: expected[name] for name in done}
            counts = scratch.reviewed.count_corrected(), scratch.reviewed.count_checked()
            if State.PENDING not in found.values():  # a pending page has no text, or that of another content
                index = self.workspace.index
                assert (index.reviewed.count_corrected(), index.reviewed.count_checked()) == counts
            for content in range(10):
                assert self.workspace.index.find_record(page_id(content)) == scratch.find_record(page_id(content))


TestDisasters = Disasters.TestCase
TestDisasters.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_the_source_is_stored_as_its_bytes() -> None:
    assert encode_name(os.fsdecode(b"\xff.png")) == b"\xff.png"
