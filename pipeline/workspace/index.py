"""The index: which pages are done, by path and by content; rebuilt from the JSONL files when it is lost.

It is an SQLite file, so memory and start-up time do not grow with the number of pages. Opening it reads the lines
that it has not read yet, or all of them when the files are not those that it has read. Changes are committed in bulk:
those that a crash takes are read again from the JSONL files.
"""

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import StorageError
from pipeline.records import Failure, FileStat, PageId, Record, SourceFile, State
from pipeline.storage.sqlite import remove_database
from pipeline.workspace.cache_database import CacheDatabase, DamagedDatabaseError
from pipeline.workspace.deferred_lines import Deferred
from pipeline.workspace.finished_pages import read_finished_pages
from pipeline.workspace.index_schema import SCHEMA, SCHEMA_VERSION, UPGRADES
from pipeline.workspace.inventory import Inventory
from pipeline.workspace.page_counts import PageCounts, count_pages
from pipeline.workspace.page_rows import deferred_row, record_row
from pipeline.workspace.paths import FAILURES, INDEX
from pipeline.workspace.read_position import DamagedLine, Span
from pipeline.workspace.source_names import encode_name
from pipeline.workspace.tables import FINAL_STATES, OtherFilesError, Tables
from pipeline.workspace.worklist import find_failure, find_left, find_uncertain, read_worklist

_COMMIT_EVERY: Final = 512  # changes
_NAMED_PAGE: Final = "SELECT state, retryable, added, is_checked OR is_corrected FROM page WHERE source = ?"
_FILE_PAGES: Final = """SELECT size_bytes, mtime_ns, pages, state, retryable, added, is_checked OR is_corrected
FROM file JOIN page USING (source)
WHERE path = ? AND file.source = ?"""


class Index:
    """The index of one workspace; the workspace's lock lets one run at a time change it."""

    def __init__(self, workspace: Path, database: CacheDatabase) -> None:
        self._workspace = workspace
        self._db = database
        self._tables = Tables(workspace, database)
        self.proofs, self.parts = self._tables.proofs, self._tables.parts
        """Which attempts have a readable line, and which lines were edited; which tiles have a text."""
        self.skips, self.pixels, self.positioned = self._tables.skips, self._tables.pixels, self._tables.positioned
        """Which pages were skipped, or lack positions, by this run's settings; whose pixels are equal."""
        self.contents, self.reviewed = self._tables.contents, self._tables.reviewed
        """Records by content and by page; which pages a person has reviewed."""
        self.deferrals = self._tables.deferrals
        """Which pages were left to other shards."""
        self.inventory = Inventory(database)
        """What is known of files without a result."""
        self._kept_counts: PageCounts | None = None
        self.finished_pages = partial(read_finished_pages, database)
        self.worklist = partial(read_worklist, database, workspace / FAILURES)
        """Yield pages in the order of their names: those with a record and a state asked for; those that failed."""
        self.find_failure = partial(find_failure, database, workspace / FAILURES)
        """Return the failure of a page that has failed, by the bytes of its source and its number."""
        self.uncertain_ids = partial(find_uncertain, database)
        self.damaged: list[DamagedLine] = []
        """Lines that were skipped while the JSONL files were read."""

    def __repr__(self) -> str:
        return f"<Index {self._db!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with closing(self._db), suppress(StorageError):  # lost changes are read again from the JSONL files
            self.commit()

    def close(self) -> None:
        """Close the file without a commit; uncommitted changes are read again from the JSONL files."""
        self._db.close()

    @classmethod
    def open(cls, workspace: Path, path: Path | None = None, *, was_torn: bool = False) -> "Index":
        """Return a workspace's index with all lines read; a missing, damaged or foreign file is rebuilt.

        When a JSONL file was written since its last line was read, all of its lines are read again.

        Args:
            workspace: The directory with the JSONL files.
            path: The index's file; None for the one in the workspace.
            was_torn: True when a repair has just removed a torn line, which explains the time of the file.

        Raises:
            StorageError: the index, or a JSONL file, cannot be read or written.
        """
        path = path if path is not None else workspace / INDEX
        try:
            return cls.open_intact(workspace, path, rereads=True, ignores_time=was_torn)
        except DamagedDatabaseError:
            remove_database(path)
            return cls.open_intact(workspace, path)

    @classmethod
    def open_intact(cls, workspace: Path, path: Path, *, rereads: bool = False, ignores_time: bool = False) -> "Index":
        """Return a workspace's index with all lines read; never rebuild it.

        Args:
            workspace: The directory with the JSONL files.
            path: The index's file.
            rereads: True reads all lines of files that are not those that were read; known INPUTs stay known.
            ignores_time: True trusts a file that was written since and has no unread line.

        Raises:
            DamagedDatabaseError: the file was damaged; it is removed.
            OtherFilesError: the file is the index of other JSONL files.
            StorageError: the index, or a JSONL file, cannot be read or written.
        """
        index = cls(workspace, CacheDatabase.open(path, SCHEMA, SCHEMA_VERSION, UPGRADES))
        try:
            index._restore_positions(rereads=rereads, ignores_time=ignores_time)
            index.damaged = index._tables.catch_up()
            index.commit()
        except OSError as exc:
            index.close()
            raise StorageError(f"{path}: {exc}") from exc
        except BaseException:
            index.close()
            raise
        return index

    def _restore_positions(self, *, rereads: bool, ignores_time: bool) -> None:
        """Continue reading where the last commit ended, or at the beginning.

        Raises:
            OtherFilesError: the JSONL files are not those that were read, and `rereads` is false.
        """
        try:
            self._tables.restore_positions()
            if not rereads or ignores_time or not self._tables.may_be_edited():
                return
        except OtherFilesError:
            if not rereads:
                raise
        self._tables.forget_lines()

    @classmethod
    def open_read_only(cls, workspace: Path) -> "Index":
        """Return the committed content of the index of a workspace that a run may hold.

        Raises:
            StorageError: it cannot be read.
        """
        index = cls(workspace, CacheDatabase.open_read_only(workspace / INDEX))
        try:
            ((version,),) = index._db.rows("PRAGMA user_version")
        except StorageError:
            index.close()
            raise
        if version != SCHEMA_VERSION:
            index.close()
            raise StorageError(f"{workspace / INDEX}: it is that of another release")
        return index

    def settled_states(
        self, file: SourceFile, *, keep_uncertain: bool = False, since: str | None = None
    ) -> Mapping[State, int] | None:
        """Return the number of a file's pages by state when the file need not be opened, else None.

        That is so when it is unchanged, all of its pages are done, skipped and still to be skipped, or failed and not
        retryable, and those that have a text have a record with the file's `meta` that is as recent as asked for.

        Args:
            file: A file that the source found.
            keep_uncertain: True for a run that must not send uncertain pages again: these need nothing more, too.
            since: A page that failed at this time or later (RFC 3339) is settled, too: one run does not send it again.
        """
        source = encode_name(file.name)
        if file.path is not None:
            found = self._db.rows(_FILE_PAGES, (os.fsencode(file.path), source))
            if not found or file.stat != FileStat(*found[0][:2]):
                return None
            pages, rows = found[0][2], [row[3:] for row in found]
        else:
            pages, rows = 1, self._db.rows(_NAMED_PAGE, (source,))
        final = (*FINAL_STATES, State.UNCERTAIN) if keep_uncertain else FINAL_STATES
        if len(rows) < pages:
            return None
        for state, retryable, added, is_reviewed in rows:
            if self.deferrals.settles(state, retryable=retryable):
                continue
            if state in FINAL_STATES and not self.reviewed.is_recent(added, file, is_reviewed=is_reviewed):
                return None
            failed_now = since is not None and added >= since and state in {State.FAILED, State.UNCERTAIN}
            if state not in final and not failed_now and (retryable or state != State.FAILED):
                return None
        is_open = self._tables.is_open(source, {row[0] for row in rows})
        finished = (row[0] in FINAL_STATES for row in rows)
        if is_open or (file.meta and self.inventory.count_with_meta(file) < sum(finished)):
            return None
        return {State(rows[0][0]): 1} if len(rows) == 1 else Counter(State(row[0]) for row in rows)

    def has_failed_since(self, file: SourceFile, page: int, since: str) -> bool:
        """Return True when a page failed at this time (RFC 3339) or later."""
        found = "SELECT state, added FROM page WHERE source = ? AND page = ?"
        rows = self._db.rows(found, (encode_name(file.name), page))
        return bool(rows) and rows[0][0] in {State.FAILED, State.UNCERTAIN} and rows[0][1] >= since

    def mark_file_pending(self, file: SourceFile) -> None:
        """Record that a file is left for another run; if its first page has a state already, keep that."""
        self._db.change(
            "INSERT OR IGNORE INTO page (source, page, state, retryable, added) VALUES (?, 1, 'pending', 1, '')",
            (encode_name(file.name),),
        )

    def add_file(self, file: SourceFile, pages: int) -> None:
        """Record a file's size, time and number of pages once all of its pages have ended."""
        source = encode_name(file.name)
        if file.path is not None and file.stat is not None:  # the number of pages of a missing file is unknown
            self._db.change("DELETE FROM page WHERE source = ? AND page > ?", (source, pages))
            self._db.change(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)",
                (os.fsencode(file.path), source, file.stat.size_bytes, file.stat.mtime_ns, pages),
            )

    def find_record(self, page_id: PageId) -> Record | None:
        """Return the first record of a content; None when none settles its pages, or its line is damaged."""
        return self._tables.contents.find(page_id)

    def has_result(self, file: SourceFile, page: int, page_id: PageId) -> bool:
        """Return True when this page has a record of this content that is as recent as asked for."""
        source = encode_name(file.name)
        rows = self._db.rows(f"{_NAMED_PAGE} AND page = ? AND id = ?", (source, page, page_id))
        if not rows or rows[0][0] not in FINAL_STATES:
            return False
        is_recent = self.reviewed.is_recent(rows[0][2], file, is_reviewed=rows[0][3])
        return is_recent and self._tables.is_settled(source, page, rows[0][0])

    def add_record(self, record: Record, span: Span) -> None:
        """Add a record that was appended to results.jsonl."""
        self._tables.add_result(record_row(record), span)

    def add_deferred(self, page: Deferred, span: Span) -> None:
        """Add a page that was appended to deferred.jsonl."""
        self._tables.add_deferred(deferred_row(page), span)

    def add_failure(self, failure: Failure, span: Span) -> None:
        """Add a failure that was appended to failures.jsonl."""
        self._tables.add_failure(failure, span)

    def count_failed_runs(self, source: str, page: int, page_id: PageId | None, *, before: str | None = None) -> int:
        """Return in how many runs in a row this page's calls have failed; see `Tables.count_failed_runs`."""
        return self._tables.count_failed_runs(encode_name(source), page, page_id, before=before)

    def find_left_failure(self, file: SourceFile, page: int, page_id: PageId) -> Failure | None:
        """Return the failure of a content that is left to `retry`, as this page or a copy; None when there is none."""
        return find_left(self._db, self._workspace / FAILURES, page_id, encode_name(file.name), page)

    def count_pages(self) -> PageCounts:
        """Return the numbers of pages: those that were kept, or those at this moment."""
        return count_pages(self._db) if self._kept_counts is None else self._kept_counts

    def keep_counts(self) -> None:
        """Count now, for all later questions; reads every page, and so finds damage at once."""
        self._kept_counts = self.count_pages()

    def is_current(self) -> bool:
        """Return True when all lines of the workspace's JSONL files have been read."""
        return self._tables.is_current()

    def may_be_edited(self) -> bool:
        """Return True when a JSONL file was written since its last line was read, and has no further one."""
        return self._tables.may_be_edited()

    def copy_to(self, directory: Path) -> Path:
        """Copy the committed content to a file in a directory, and return it; delays a run by milliseconds.

        Raises:
            StorageError: the copy failed, or the index changes too fast.
        """
        self._db.copy_to(directory / INDEX)
        return directory / INDEX

    def distrust_files(self) -> None:
        """Let the next opening read all lines again: another program changed a file during the run."""
        self._tables.distrust_files()

    def commit(self) -> None:
        """Commit all changes.

        Raises:
            StorageError: the commit failed.
        """
        self._tables.commit()

    @property
    def needs_commit(self) -> bool:
        """True when enough changes are uncommitted to be worth a sync."""
        return self._db.uncommitted >= _COMMIT_EVERY
