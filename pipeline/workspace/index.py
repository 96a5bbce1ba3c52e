"""What is done, by path and by content; derived from the JSONL files, may be deleted at any time.

One SQLite file on disk, so that memory and start-up do not grow with the number of pages. When it is opened it
catches up with the JSONL files, and starts over when they are not the ones it has read. Changes are committed in bulk:
what a crash takes from the index is read again from the JSONL.
"""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import StorageError
from pipeline.records import Failure, FileStat, PageId, Record, SourceFile, Span, State
from pipeline.workspace.cache_database import (
    ERRORS,
    CacheDatabase,
    DamagedDatabaseError,
    ReadOnlyDatabase,
    is_passing,
    remove_database,
)
from pipeline.workspace.lines import encode_source
from pipeline.workspace.paths import INDEX
from pipeline.workspace.tables import FINAL, FORMAT, SCHEMA, Damage, PageRow, Tables

_COMMIT_EVERY: Final = 512


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that need not be opened: how many of its pages stand in which state."""

    states: Mapping[State, int]


class Index:
    """The index of one workspace; used by one run at a time (the workspace's lock sees to that)."""

    def __init__(self, workspace: Path, database: CacheDatabase) -> None:
        self._db = database
        self._tables = Tables(workspace, database)
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
    def open(cls, workspace: Path, path: Path | None = None) -> "Index":
        """Return the workspace's index, caught up with its JSONL files; made anew when it is missing or not theirs.

        Args:
            workspace: The directory of the JSONL files.
            path: Where the index lies, when it is a copy.

        Raises:
            StorageError: it can be neither read nor made.
        """
        path = path if path is not None else workspace / INDEX
        try:
            try:
                return cls.open_as_it_is(workspace, path)
            except (*ERRORS, DamagedDatabaseError) as exc:
                if is_passing(exc):
                    raise
                remove_database(path)
                return cls.open_as_it_is(workspace, path)
        except (*ERRORS, OSError) as exc:
            raise StorageError(f"{path}: {exc}") from exc

    @classmethod
    def peek(cls, workspace: Path) -> "Index":
        """Return the index of a workspace that a run may hold, for reading what is committed.

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
    def open_as_it_is(cls, workspace: Path, path: Path) -> "Index":
        """Return an index of the workspace that lies at this path, caught up with the JSONL files.

        Raises:
            sqlite3.Error, UnicodeDecodeError, StorageError: it is damaged, or not that of the workspace.
        """
        index = cls(workspace, CacheDatabase(path, SCHEMA, FORMAT))
        try:
            index._tables.restore_marks()
            index.damages = index._tables.catch_up()
            index.commit()
        except BaseException:
            index.close()
            raise
        return index

    def settled_states(self, file: SourceFile, *, keep_uncertain: bool = False) -> Settled | None:
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
        final = (*FINAL, "uncertain") if keep_uncertain else FINAL
        if len(rows) < pages or any(
            state not in final and (retryable or state != "failed") for state, retryable in rows
        ):
            return None
        states: dict[State, int] = {}
        for state, _ in rows:
            states[State(state)] = states.get(State(state), 0) + 1
        return Settled(states)

    def leave_file(self, file: SourceFile) -> None:
        """Note that a file's first page was left for another run; a state that it already has stays."""
        self._db.change("INSERT OR IGNORE INTO page VALUES (?, 1, 'pending', 1, '', NULL)", (encode_source(file.name),))

    def leave_page(self, file: SourceFile, page: int, page_id: PageId) -> None:
        """Note that a page of this content was left for another run; other content at its place is history."""
        self._db.change(
            "INSERT INTO page VALUES (?, ?, 'pending', 1, '', ?) ON CONFLICT DO UPDATE"
            " SET state = excluded.state, retryable = 1, added = '', id = excluded.id WHERE id IS NOT excluded.id",
            (encode_source(file.name), page, page_id),
        )

    def end_file(self, file: SourceFile, pages: int) -> None:
        """Note how the file looked when all of its pages had ended."""
        source = encode_source(file.name)
        if file.path is not None and file.stat is not None:  # else there is nothing to tell how many pages it has
            self._db.change("DELETE FROM page WHERE source = ? AND page > ?", (source, pages))
            self._db.change(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)",
                (os.fsencode(file.path), source, file.stat.size_bytes, file.stat.mtime_ns, pages),
            )

    def find_record(self, page_id: PageId) -> Record | None:
        """Return the first record of a page's content; None when there is none that can be trusted."""
        return self._tables.find_record(page_id)

    def has_result(self, file: SourceFile, page: int, page_id: PageId) -> bool:
        """Return True when this very page, with this content, has its record."""
        rows = self._db.rows(
            "SELECT state FROM page WHERE source = ? AND page = ? AND id = ?", (encode_source(file.name), page, page_id)
        )
        return bool(rows) and rows[0][0] in FINAL

    def add_record(self, record: Record, span: Span) -> None:
        """Note a record whose line stands there in results.jsonl."""
        source = encode_source(record.source)
        row = PageRow(source, record.page, record.state, retryable=False, added=record.added, id=record.id)
        self._tables.add_result(row, span, sent=record.duplicate_of is None)

    def add_failure(self, failure: Failure, span: Span) -> None:
        """Note a failure whose line stands there in failures.jsonl."""
        source, retryable = encode_source(failure.source), failure.retryable
        row = PageRow(source, failure.page, failure.state, retryable=retryable, added=failure.added, id=failure.id)
        self._tables.add_failure(row, span)

    def uncertain_ids(self) -> frozenset[PageId]:
        """Return the contents whose call may have been billed without an answer."""
        rows = self._db.rows("SELECT DISTINCT id FROM page WHERE state = 'uncertain' AND id IS NOT NULL")
        return frozenset(PageId(row[0]) for row in rows)

    def totals(self) -> dict[State, int]:
        """Return how many pages stand in each state."""
        counts: dict[str, int] = dict(self._db.rows("SELECT state, count(*) FROM page GROUP BY state"))
        return {state: counts.get(state.value, 0) for state in State}

    def is_current(self) -> bool:
        """Return True when every line of the workspace's JSONL files is known here."""
        return self._tables.is_current()

    def copy_into(self, directory: Path) -> Path:
        """Copy what is committed, at the cost of milliseconds to a run that fills the index; return where it lies.

        Raises:
            StorageError: it cannot be copied, or changes too often.
        """
        self._db.copy_to(directory / INDEX)
        return directory / INDEX

    def commit(self) -> None:
        """Write what has changed.

        Raises:
            StorageError: it cannot be written.
        """
        self._tables.commit()

    @property
    def wants_commit(self) -> bool:
        """True when enough has changed for a commit to be worth its sync."""
        return self._db.uncommitted >= _COMMIT_EVERY


def copy_index(workspace: Path, directory: Path) -> Path:
    """Copy the index of a workspace that no run holds; return where the copy lies, or would lie if there were one.

    Raises:
        StorageError: it cannot be copied.
    """
    try:
        for name in (INDEX, f"{INDEX}-journal"):  # a journal that a crash left belongs to it
            with suppress(FileNotFoundError):
                shutil.copyfile(workspace / name, directory / name)
    except OSError as exc:
        raise StorageError(f"{exc.filename}: {exc.strerror or exc}") from exc
    return directory / INDEX
