"""What is done, by path and by content; derived from the JSONL files, may be deleted at any time.

One SQLite file on disk, so that memory and start-up do not grow with the number of pages. It remembers how far it
has read each JSONL file, catches up from there when it is opened, and starts over when the files are not the ones
it has read. Changes are committed in bulk: what a crash takes from the index is read again from the JSONL.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.derived import ERRORS, DamagedDatabaseError, DerivedDatabase, ReadOnlyDatabase, remove_database
from pipeline.errors import StorageError
from pipeline.records import Failure, FileStat, PageId, Record, SourceFile, Span, State
from pipeline.rules.resume import (
    DamagedLineError,
    FailureHead,
    ResultHead,
    decode_source,
    encode_source,
    parse_failure,
    parse_record,
    parse_result,
)
from pipeline.tail import Mark

INDEX: Final = "index.sqlite3"
_FORMAT: Final = 1
_COMMIT_EVERY: Final = 512
_FINAL: Final = ("done", "duplicate", "skipped")
_SCHEMA: Final = """
CREATE TABLE content (id TEXT PRIMARY KEY, source BLOB NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE page (
  source BLOB NOT NULL, page INTEGER NOT NULL, state TEXT NOT NULL, retryable INTEGER NOT NULL, added TEXT NOT NULL,
  id TEXT, PRIMARY KEY (source, page)
) WITHOUT ROWID;
CREATE TABLE file (
  path BLOB PRIMARY KEY, source BLOB NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  pages INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, read_bytes INTEGER NOT NULL, fingerprint INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that need not be opened: how many of its pages stand in which state."""

    states: Mapping[State, int]


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that was passed over.

    Attributes:
        file: Its file's name.
        offset_bytes: Where it begins.
        problem: What is wrong with it.
    """

    file: str
    offset_bytes: int
    problem: str


class Index:
    """The index of one workspace; used by one run at a time (the workspace's lock sees to that)."""

    def __init__(self, workspace: Path, database: DerivedDatabase) -> None:
        self._db = database
        self._results = Mark(workspace / "results.jsonl")
        self._failures = Mark(workspace / "failures.jsonl")
        self.damages: list[Damage] = []
        """Lines that were passed over when the files were read."""

    def __repr__(self) -> str:
        return f"<Index {self._db!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with closing(self._db), suppress(StorageError):  # what is lost here is read again from the JSONL
            self.commit()

    def close(self) -> None:
        """Release the file without a commit: what was not committed is read again from the JSONL."""
        self._db.close()

    @classmethod
    def open(cls, workspace: Path) -> "Index":
        """Return the workspace's index, caught up with its JSONL files; made anew when it is missing or not theirs.

        Raises:
            StorageError: it can be neither read nor made.
        """
        path = workspace / INDEX
        try:
            try:
                return cls._open_current(workspace)
            except (*ERRORS, DamagedDatabaseError):
                remove_database(path)
                return cls._open_current(workspace)
        except (*ERRORS, OSError) as exc:
            raise StorageError(f"{path}: {exc}") from exc

    @classmethod
    def peek(cls, workspace: Path) -> "Index":
        """Return the index of a workspace that a run holds, for reading what is committed.

        Raises:
            StorageError: it cannot be read.
        """
        path = workspace / INDEX
        try:
            index = cls(workspace, ReadOnlyDatabase(path))
        except sqlite3.Error as exc:
            raise StorageError(f"{path}: {exc}") from exc
        try:
            index.totals()
        except StorageError:
            index.close()
            raise
        return index

    @classmethod
    def _open_current(cls, workspace: Path) -> "Index":
        index = cls(workspace, DerivedDatabase(workspace / INDEX, _SCHEMA, _FORMAT))
        try:
            index._check_marks()
            index._catch_up()
        except BaseException:
            index.close()
            raise
        return index

    def look_up_file(self, file: SourceFile, *, keep_uncertain: bool = False) -> Settled | None:
        """Return the states of a file that did not change and needs nothing more; None when it must be opened.

        Args:
            file: What the source found.
            keep_uncertain: True settles uncertain pages too, which are not to be sent again.
        """
        source = encode_source(file.name)
        pages = 1
        if file.path is not None:
            found = self._db.rows(
                "SELECT size_bytes, mtime_ns, pages FROM file WHERE path = ? AND source = ?",
                (os.fsencode(file.path), source),
            )
            if not found or file.stat != FileStat(found[0][0], found[0][1]):
                return None
            pages = found[0][2]
        rows = self._db.rows("SELECT state, retryable FROM page WHERE source = ?", (source,))
        final = (*_FINAL, "uncertain") if keep_uncertain else _FINAL
        if len(rows) < pages or any(
            state not in final and (retryable or state != "failed") for state, retryable in rows
        ):
            return None
        states: dict[State, int] = {}
        for state, _ in rows:
            states[State(state)] = states.get(State(state), 0) + 1
        return Settled(states)

    def begin_file(self, file: SourceFile) -> None:
        """Note that a file's first page is on its way; a state that it already has stays until it ends anew."""
        self._db.change("INSERT OR IGNORE INTO page VALUES (?, 1, 'pending', 1, '', NULL)", (encode_source(file.name),))

    def begin_page(self, file: SourceFile, page: int, page_id: PageId) -> None:
        """Note that a page of this content is on its way; other content at its place is history from now on."""
        self._db.change(
            "INSERT INTO page VALUES (?, ?, 'pending', 1, '', ?) ON CONFLICT DO UPDATE"
            " SET state = excluded.state, retryable = 1, added = '', id = excluded.id WHERE id IS NOT excluded.id",
            (encode_source(file.name), page, page_id),
        )

    def end_file(self, file: SourceFile, pages: int) -> None:
        """Note how the file looked when all of its pages had ended."""
        source = encode_source(file.name)
        self._db.change("DELETE FROM page WHERE source = ? AND page > ?", (source, pages))
        if file.path is not None and file.stat is not None:
            self._db.change(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)",
                (os.fsencode(file.path), source, file.stat.size_bytes, file.stat.mtime_ns, pages),
            )

    def find_offset(self, page_id: PageId) -> int | None:
        """Return where the first record of a page's content stands in results.jsonl; None when there is none."""
        rows = self._db.rows("SELECT offset FROM content WHERE id = ?", (page_id,))
        return rows[0][0] if rows else None

    def find_record(self, page_id: PageId) -> Record | None:
        """Return the first record of a page's content; None when there is none that can be trusted."""
        offset = self.find_offset(page_id)
        if offset is None:
            return None
        try:
            with self._results.path.open("rb") as file:
                file.seek(offset)
                record = parse_record(file.readline().removesuffix(b"\n"))
        except (OSError, DamagedLineError):
            return None
        return record if record.id == page_id else None

    def has_result(self, file: SourceFile, page: int, page_id: PageId) -> bool:
        """Return True when this very page, with this content, has its record."""
        rows = self._db.rows(
            "SELECT state FROM page WHERE source = ? AND page = ? AND id = ?", (encode_source(file.name), page, page_id)
        )
        return bool(rows) and rows[0][0] in _FINAL

    def add_record(self, record: Record, span: Span) -> None:
        """Note a record whose line stands there in results.jsonl."""
        self._put_result(
            encode_source(record.source),
            record.page,
            record.id,
            record.added,
            span,
            original=record.duplicate_of is None,
        )

    def add_failure(self, failure: Failure, span: Span) -> None:
        """Note a failure whose line stands there in failures.jsonl."""
        source = encode_source(failure.source)
        self._put(source, failure.page, failure.state, failure.added, failure.id, retryable=failure.retryable)
        self._failures.add(span)

    def restore(self, file: SourceFile, page: int, record: Record) -> None:
        """Note again that a page is done, by a record that names this very page."""
        state = State.DONE if record.duplicate_of is None else State.DUPLICATE
        self._put(encode_source(file.name), page, state, record.added, record.id, retryable=False)

    def uncertain_ids(self) -> frozenset[PageId]:
        """Return the contents whose call may have been billed without an answer."""
        rows = self._db.rows("SELECT DISTINCT id FROM page WHERE state = 'uncertain' AND id IS NOT NULL")
        return frozenset(PageId(row[0]) for row in rows)

    def totals(self) -> dict[State, int]:
        """Return how many pages stand in each state."""
        counts: dict[str, int] = dict(self._db.rows("SELECT state, count(*) FROM page GROUP BY state"))
        return {state: counts.get(state.value, 0) for state in State}

    def pages(self) -> Iterator[tuple[bytes, int, State, str | None]]:
        """Yield (source, page, state, id) of every page."""
        for source, page, state, page_id in self._db.stream("SELECT source, page, state, id FROM page"):
            yield source, page, State(state), page_id

    def commit(self) -> None:
        """Write what has changed.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            marks = [(mark.path.name, mark.end, mark.fingerprint()) for mark in (self._results, self._failures)]
        except OSError as exc:
            raise StorageError(f"{exc.filename}: {exc.strerror or exc}") from exc
        self._db.commit("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", marks)

    @property
    def wants_commit(self) -> bool:
        """True when enough has changed for a commit to be worth its sync."""
        return self._db.uncommitted >= _COMMIT_EVERY

    def _put(self, source: bytes, page: int, state: State, added: str, page_id: str | None, *, retryable: bool) -> None:
        self._db.change(
            "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?, ?)",
            (source, page, state.value, retryable, added, page_id),
        )

    def _put_result(self, source: bytes, page: int, page_id: str, added: str, span: Span, *, original: bool) -> None:
        self._put(source, page, State.DONE if original else State.DUPLICATE, added, page_id, retryable=False)
        known = self.find_offset(PageId(page_id))
        if known is None or (original and known != span.start and self.find_record(PageId(page_id)) is None):
            # a record that can be read takes the place of one that no longer can: else each copy were paid for again
            self._db.change("INSERT OR REPLACE INTO content VALUES (?, ?, ?)", (page_id, source, span.start))
        self._results.add(span)

    def _check_marks(self) -> None:
        """Set the marks to where reading stopped; raise when the JSONL files are not those that were read."""
        for mark in (self._results, self._failures):
            rows = self._db.rows("SELECT read_bytes, fingerprint FROM progress WHERE name = ?", (mark.path.name,))
            mark.end, fingerprint = rows[0] if rows else (0, 0)
            if mark.fingerprint() != fingerprint:
                raise sqlite3.DatabaseError(f"the index has read another {mark.path.name}")

    def _catch_up(self) -> None:
        for span, line in self._results.unread_lines():
            try:
                self._read_result(parse_result(line), span)
            except DamagedLineError as exc:
                self._pass_over(self._results, span, exc)
        for span, line in self._failures.unread_lines():
            try:
                self._read_failure(parse_failure(line), span)
            except DamagedLineError as exc:
                self._pass_over(self._failures, span, exc)
        self.commit()

    def _read_result(self, head: ResultHead, span: Span) -> None:
        source = decode_source(head.source, head.source_b64)
        self._put_result(source, head.page, head.id, head.added, span, original=head.duplicate_of is None)

    def _read_failure(self, head: FailureHead, span: Span) -> None:
        """Take a failure unless its page has a text: the two files do not tell which of their lines came first."""
        source = decode_source(head.source, head.source_b64)
        rows = self._db.rows("SELECT added, id, state FROM page WHERE source = ? AND page = ?", (source, head.page))
        has_text = bool(rows) and rows[0][2] in _FINAL and rows[0][1] == head.id
        if not has_text and (not rows or rows[0][0] <= head.added):
            state = State.UNCERTAIN if head.error == "uncertain" else State.FAILED
            self._put(source, head.page, state, head.added, head.id, retryable=head.retryable)
        self._failures.add(span)

    def _pass_over(self, mark: Mark, span: Span, problem: DamagedLineError) -> None:
        self.damages.append(Damage(mark.path.name, span.start, str(problem)))
        mark.add(span)
