"""The tables of the index, and how lines of results.jsonl and failures.jsonl change them.

A page's later line replaces its earlier one. The index stores how far each file has been read and continues from
there. The order of lines in different files is unknown; where it matters, `added` decides.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.errors import StorageError
from pipeline.records import MAX_FAILED_RUNS, Failure, PageId, State, limits_runs
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.contents import Contents
from pipeline.workspace.deferrals import Deferrals
from pipeline.workspace.deferred_lines import parse_deferred
from pipeline.workspace.failure_lines import FailureHead, parse_failure
from pipeline.workspace.index_schema import FORGET_LINES
from pipeline.workspace.joined_lines import parse_lines
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.page_rows import PageRow, deferred_row, failure_row, result_row
from pipeline.workspace.part_lines import parse_part
from pipeline.workspace.parts import FORGET_PARTS, Parts
from pipeline.workspace.paths import FAILURES, RESULTS
from pipeline.workspace.pixel_table import FORGET_PIXELS, PixelTable
from pipeline.workspace.positioned import Positioned
from pipeline.workspace.read_position import DamagedLine, ReadPosition, Span
from pipeline.workspace.result_lines import parse_result
from pipeline.workspace.reviewed import Reviewed
from pipeline.workspace.skips import FORGET_SKIPS, Skips
from pipeline.workspace.text_proofs import FORGET_DAMAGED, FORGET_PROOFS, TextProofs

FINAL_STATES: Final = (State.DONE.value, State.DUPLICATE.value, State.SKIPPED.value)
"""States that no later run changes while the page's content, and what is skipped, stay the same."""
_TEXT_STATES: Final = (State.DONE.value, State.DUPLICATE.value)


class OtherFilesError(StorageError):
    """The JSONL files are not those that the index has read."""


class Tables:
    """The tables of an index, and the read positions in the JSONL files of its workspace."""

    def __init__(self, workspace: Path, database: CacheDatabase) -> None:
        self._db = database
        self._results = ReadPosition(workspace / RESULTS)
        self._failures = ReadPosition(workspace / FAILURES)
        self.proofs = TextProofs(database)
        """Which attempts have a readable line, and which lines were edited."""
        self.positioned = Positioned(database)
        """Which pages lack positions that are asked for."""
        self.parts = Parts(workspace, database, self.proofs, self.positioned)
        """Which tiles have a text."""
        self.deferrals = Deferrals(workspace, database)
        """Which pages were left to other shards."""
        self._positions = self._results, self._failures, self.parts.position, self.deferrals.position
        self.skips = Skips(database)
        """Which pages were skipped, and why."""
        self.pixels = PixelTable(database)
        """Which contents have pages of the same pixels."""
        self.contents = Contents(database, self._results.path, self.skips, self.positioned)
        """Which record later pages of a content take their text from."""
        self.reviewed = Reviewed(database, self.contents)
        """Which pages a person has reviewed."""
        self._trusts_files = True

    def __repr__(self) -> str:
        return f"<Tables {self._results!r} {self._failures!r}>"

    def add_result(self, row: PageRow, span: Span) -> None:
        """Apply a line of results.jsonl.

        Args:
            row: The page's state after this line.
            span: The line's place.
        """
        assert row.id is not None
        self._put(row, span.start)
        if row.skipped is not None:
            self.skips.add(row.source, row.page, row.skipped)
        elif row.is_checked:
            self.skips.forget(row.source, row.page)
        if row.pixels is not None:
            self.pixels.add(row.id, row.source, row.page, row.pixels)
        for attempt in row.attempts:
            self.proofs.add(attempt)
        if row.meta is not None:
            self._db.change("INSERT OR IGNORE INTO meta VALUES (?, ?, ?)", (row.source, row.page, row.meta))
        self.contents.add(row.id, span.start, leads=row.leads)
        self._results.add(span)

    def add_failure(self, failure: Failure, span: Span) -> None:
        """Apply a line of failures.jsonl that was written just now; a page that was sent again keeps its text."""
        row = failure_row(failure)
        if failure.is_over:
            self._end_failure(row, span)
        elif self._has_text(row):
            self._failures.add(span)
        else:
            self._put_failure(row, span, failure.runs)

    def replay_failure(self, failure: FailureHead, span: Span) -> None:
        """Apply a line of failures.jsonl that was read, unless its page has a text or a later line."""
        row = failure_row(failure)
        if failure.is_over:
            self._end_failure(row, span)
            return
        rows = self._db.rows("SELECT added FROM page WHERE source = ? AND page = ?", (row.source, row.page))
        if self._has_text(row) or (rows and rows[0][0] > row.added):
            self._failures.add(span)
            return
        runs = failure.runs
        if runs is None:  # a line of an earlier release
            runs = self.count_failed_runs(row.source, row.page, row.id) + 1 if limits_runs(failure.error) else 0
        self._put_failure(replace(row, retryable=row.retryable and runs < MAX_FAILED_RUNS), span, runs)

    def count_failed_runs(self, source: bytes, page: int, page_id: PageId | None, *, before: str | None = None) -> int:
        """Return the number of runs in a row in which the calls for this page and content have failed.

        Args:
            source: The bytes of the source's name.
            page: 1-based.
            page_id: Identity of the content.
            before: Do not count a failure of this moment or later, RFC 3339; None counts all.
        """
        rows = self._db.rows(
            "SELECT failed_page.runs, added FROM page JOIN failed_page USING (source, page, added)"
            " WHERE source = ? AND page = ? AND id IS ? AND state = 'failed'",
            (source, page, page_id),
        )
        if not rows:
            return 0
        runs, added = rows[0]
        return max(0, runs - 1) if before is not None and added >= before else int(runs)

    def is_open(self, source: bytes, states: Collection[str]) -> bool:
        """Return whether this run's settings send pages of a file that an earlier one had settled."""
        is_skipped = State.SKIPPED in states and not self.skips.are_settled(source)
        return is_skipped or bool(self.positioned.find_without(source))

    def is_settled(self, source: bytes, page: int, state: str) -> bool:
        """Return whether this run's settings leave a page as it is that has a record."""
        is_open = page in self.positioned.find_without(source)
        return not is_open and (state != State.SKIPPED or self.skips.is_settled(source, page))

    def restore_positions(self) -> None:
        """Continue reading where the last commit ended.

        Raises:
            OtherFilesError: the JSONL files are not those that were read.
            StorageError: the index cannot be read.
        """
        for position in self._positions:
            rows = self._db.rows(
                "SELECT read_bytes, fingerprint, mtime_ns FROM progress WHERE name = ?", (position.path.name,)
            )
            position.end, fingerprint, position.mtime_ns = rows[0] if rows else (0, 0, 0)
            if fingerprint < 0 or position.fingerprint() != fingerprint:  # below 0: the file was truncated before
                raise OtherFilesError(f"it has read another {position.path.name}")

    def is_current(self) -> bool:
        """Return True when the JSONL files are those that were read, and were read to their ends."""
        try:
            self.restore_positions()
        except OtherFilesError:
            return False
        return all(position.is_at_end() for position in self._positions)

    def may_be_edited(self) -> bool:
        """Return True when a file without unread lines was written since the last commit, as an editor does."""
        return any(position.is_touched() for position in self._positions)

    def distrust_files(self) -> None:
        """Let the next opening read all lines again: another program changed a file behind the positions."""
        self._trusts_files = False

    def forget_lines(self) -> None:
        """Remove what the lines have said, so that `catch_up` reads all of them; known files and pending pages stay."""
        for statement in (
            *FORGET_LINES.split(";")[:-1],
            "DELETE FROM progress",
            FORGET_PARTS,
            *FORGET_PROOFS,
            FORGET_DAMAGED,
            *FORGET_SKIPS,
            *FORGET_PIXELS,
        ):
            self._db.change(statement, ())
        for position in self._positions:
            position.end = position.mtime_ns = 0

    def catch_up(self) -> list[DamagedLine]:
        """Apply all unread lines; return the damaged ones, which were skipped."""
        damaged = []
        for span, head in parse_lines(self._results.unread_lines(), parse_result):
            if isinstance(head, DamagedLineError):
                damaged.append(self._skip(self._results, span, head))
            else:
                self.add_result(result_row(head), span)
        for span, failure in parse_lines(self._failures.unread_lines(), parse_failure):
            if isinstance(failure, DamagedLineError):
                damaged.append(self._skip(self._failures, span, failure))
            else:
                self.replay_failure(failure, span)
        for span, part in parse_lines(self.parts.position.unread_lines(), parse_part):
            if isinstance(part, DamagedLineError):
                damaged.append(self._skip(self.parts.position, span, part))
            else:
                self.parts.add(part, span)
        for span, page in parse_lines(self.deferrals.position.unread_lines(), parse_deferred):
            if isinstance(page, DamagedLineError):
                damaged.append(self._skip(self.deferrals.position, span, page))
            else:
                self.add_deferred(deferred_row(page), span)
        return damaged

    def add_deferred(self, row: PageRow, span: Span) -> None:
        """Apply a line of deferred.jsonl, unless its page has a text or a later line."""
        if self.deferrals.replaces(row):
            self._put(row)
        self.deferrals.position.add(span)

    def _skip(self, position: ReadPosition, span: Span, problem: DamagedLineError) -> DamagedLine:
        if isinstance(problem, EditedLineError):
            self.proofs.add_edited(position.path.name, span.start, problem.fields)
        else:
            self.proofs.add_damaged(position.path.name, span.start)
        position.add(span)
        return DamagedLine(position.path.name, span.start, str(problem))

    def commit(self) -> None:
        """Commit all changes together with the read positions.

        Raises:
            StorageError: the commit failed.
        """
        try:
            rows = [
                (
                    position.path.name,
                    position.end,
                    position.fingerprint() if self._trusts_files else -1,
                    position.read_mtime_ns(),
                )
                for position in self._positions
            ]
        except OSError as exc:
            raise StorageError(f"{exc.filename}: {exc.strerror or exc}") from exc
        self.proofs.save()  # after the positions were read, so that it has the attempts of all lines before them
        self._db.commit("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)", rows)

    def _put(self, row: PageRow, offset: int | None = None) -> None:
        self._db.change(
            "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.source, row.page, row.state.value, row.retryable, row.added, row.id, row.in_doubt, offset,
             row.lacks_lines, row.is_checked, row.is_corrected),
        )  # fmt: skip

    def _put_failure(self, row: PageRow, span: Span, runs: int) -> None:
        self._put(row)
        self._db.change(
            "INSERT OR REPLACE INTO failed_page VALUES (?, ?, ?, ?, ?)",
            (row.source, row.page, row.added, runs, span.start),
        )
        self._failures.add(span)

    def _end_failure(self, row: PageRow, span: Span) -> None:
        """Forget the failure of an archive or folder, unless the line is older."""
        where = "WHERE source = ? AND page = ? AND state = 'failed' AND id IS NULL AND added <= ?"
        self._db.change(f"DELETE FROM page {where}", (row.source, row.page, row.added))  # noqa: S608
        self._failures.add(span)

    def _has_text(self, row: PageRow) -> bool:
        """Return whether the page has a record of the same content."""
        found = "SELECT state FROM page WHERE source = ? AND page = ? AND id = ?"
        rows = self._db.rows(found, (row.source, row.page, row.id))
        return bool(rows) and rows[0][0] in _TEXT_STATES
