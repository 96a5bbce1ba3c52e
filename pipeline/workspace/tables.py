"""How the lines of results.jsonl and failures.jsonl become the index: the later line of a page counts.

The index remembers how far it has read each file and catches up from there. Two files do not tell which of their
lines came first; where that matters, `added` decides.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.records import PageId, Record, Span, State
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.lines import (
    DamagedLineError,
    FailureHead,
    ResultHead,
    decode_source,
    parse_failure,
    parse_record,
    parse_result,
)
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.tail import Mark

FORMAT: Final = 2
FINAL: Final = ("done", "duplicate", "skipped")
SCHEMA: Final = """
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
"""


class OtherFilesError(sqlite3.DatabaseError):
    """The JSONL files are not those that the index has read."""


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


@dataclass(frozen=True, slots=True)
class PageRow:
    """What one line says of a page; a page of the index.

    Attributes:
        source: The bytes of its name.
        page: 1-based.
        state: Where it stands.
        retryable: True when the next run tries it again by itself.
        added: When, RFC 3339.
        id: Its content; None when that could not be read.
    """

    source: bytes
    page: int
    state: State
    retryable: bool
    added: str
    id: PageId | None


class Tables:
    """The tables of an index, and how far they have read the two files of a workspace."""

    def __init__(self, workspace: Path, database: CacheDatabase) -> None:
        self._db = database
        self.results = Mark(workspace / RESULTS)
        self.failures = Mark(workspace / FAILURES)

    def __repr__(self) -> str:
        return f"<Tables {self.results!r} {self.failures!r}>"

    def put(self, row: PageRow) -> None:
        """Let a page stand as this entry says."""
        self._db.change(
            "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?, ?)",
            (row.source, row.page, row.state.value, row.retryable, row.added, row.id),
        )

    def add_result(self, row: PageRow, span: Span, *, sent: bool) -> None:
        """Take a line of results.jsonl.

        Args:
            row: What it says.
            span: Where it stands.
            sent: True when its text is that of a call of its own.
        """
        assert row.id is not None
        self.put(row)
        is_new = self._db.change("INSERT OR IGNORE INTO content VALUES (?, ?)", (row.id, span.start))
        if not is_new and sent and self.find_offset(row.id) != span.start and self.find_record(row.id) is None:
            # a record that can be read takes the place of one that no longer can: else each copy were paid for again
            self._db.change("UPDATE content SET offset = ? WHERE id = ?", (span.start, row.id))
        self.results.add(span)

    def add_failure(self, row: PageRow, span: Span) -> None:
        """Take a line of failures.jsonl."""
        self.put(row)
        self.failures.add(span)

    def add_failure_again(self, row: PageRow, span: Span) -> None:
        """Take a line of failures.jsonl, unless its page has a text or a later line."""
        rows = self._db.rows("SELECT added, id, state FROM page WHERE source = ? AND page = ?", (row.source, row.page))
        has_text = bool(rows) and rows[0][2] in FINAL and rows[0][1] == row.id
        if not has_text and (not rows or rows[0][0] <= row.added):
            self.put(row)
        self.failures.add(span)

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
            with self.results.path.open("rb") as file:
                file.seek(offset)
                record = parse_record(file.readline().removesuffix(b"\n"))
        except (OSError, DamagedLineError):
            return None
        return record if record.id == page_id else None

    def restore_marks(self) -> None:
        """Go on where reading stopped.

        Raises:
            OtherFilesError: the JSONL files are not those that were read.
            StorageError: the index cannot be read.
        """
        for mark in (self.results, self.failures):
            rows = self._db.rows("SELECT read_bytes, fingerprint FROM progress WHERE name = ?", (mark.path.name,))
            mark.end, fingerprint = rows[0] if rows else (0, 0)
            if mark.fingerprint() != fingerprint:
                raise OtherFilesError(f"it has read another {mark.path.name}")

    def is_current(self) -> bool:
        """Return True when these very files have been read to their ends."""
        try:
            self.restore_marks()
        except OtherFilesError:
            return False
        return self.results.is_at_end() and self.failures.is_at_end()

    def catch_up(self) -> list[Damage]:
        """Read what came after the marks; return the lines that were passed over."""
        damages = []
        for span, line in self.results.unread_lines():
            try:
                head = parse_result(line)
                self.add_result(result_row(head), span, sent=head.duplicate_of is None)
            except DamagedLineError as exc:
                damages.append(Damage(RESULTS, span.start, str(exc)))
                self.results.add(span)
        for span, line in self.failures.unread_lines():
            try:
                self.add_failure_again(failure_row(parse_failure(line)), span)
            except DamagedLineError as exc:
                damages.append(Damage(FAILURES, span.start, str(exc)))
                self.failures.add(span)
        return damages

    def commit(self) -> None:
        """Write what has changed, and how far the files have been read.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            marks = [(mark.path.name, mark.end, mark.fingerprint()) for mark in (self.results, self.failures)]
        except OSError as exc:
            raise StorageError(f"{exc.filename}: {exc.strerror or exc}") from exc
        self._db.commit("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", marks)


def result_row(head: ResultHead) -> PageRow:
    """Return what a line of results.jsonl says of its page."""
    source = decode_source(head.source, head.source_b64)
    return PageRow(source, head.page, head.state, retryable=False, added=head.added, id=PageId(head.id))


def failure_row(head: FailureHead) -> PageRow:
    """Return what a line of failures.jsonl says of its page."""
    source = decode_source(head.source, head.source_b64)
    page_id = None if head.id is None else PageId(head.id)
    return PageRow(source, head.page, head.state, retryable=head.retryable, added=head.added, id=page_id)
