"""The records of several workspaces as one: in the order of their sources, each page's lines in the order of time.

Lines are copied as they are, with three exceptions. A page that a shard has left gets a record, or a failure, of its
own. Of a content that several workspaces have sent, all but the first line say so (`again`). And a person's review that
a later line of another workspace would hide follows that line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pipeline.cluster.copies import copy_failure, copy_moment, copy_record
from pipeline.cluster.line_reader import LineReader
from pipeline.cluster.line_table import LineTable
from pipeline.records import Record
from pipeline.workspace.deferred_lines import encode_deferred, parse_deferred
from pipeline.workspace.failure_lines import encode_failure, parse_whole_failure
from pipeline.workspace.part_lines import encode_part, parse_part
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, RESULTS
from pipeline.workspace.result_lines import encode_record, parse_record
from pipeline.workspace.reviews import keep_review
from pipeline.workspace.source_names import decode_name

_EXAMPLES: Final = 3
_HAS_RECORD: Final = """
DELETE FROM deferred WHERE EXISTS (
  SELECT 1 FROM result WHERE result.source = deferred.source AND result.page = deferred.page
  AND (result.id = deferred.id OR result.added > deferred.added)
)
"""
_ORIGINAL: Final = """
SELECT added, input, offset FROM result WHERE id = ? AND of_input IS NULL
ORDER BY leads DESC, CASE WHEN leads THEN added END DESC, added LIMIT 1
"""
_FAILED_ORIGINAL: Final = """
SELECT class, input, offset FROM failure WHERE id = ? AND NOT is_over AND of_input IS NULL ORDER BY added DESC LIMIT 1
"""
_REPEATED: Final = "SELECT id FROM result WHERE sent GROUP BY id HAVING count(*) > 1"
_FIRST: Final = "SELECT source, page, added FROM result WHERE id = ? AND sent ORDER BY source, page, added LIMIT 1"


class _Row(NamedTuple):
    """A row of the table `result`."""

    source: bytes
    page: int
    added: str
    reviewed: int
    id: str
    input: int
    offset: int
    sent: int
    leads: int
    again: int
    over: str | None
    of_input: int | None
    of_offset: int | None


@dataclass(slots=True)
class Conflicts:
    """Pages for which several workspaces have called, or whose contents differ; the last record counts.

    Attributes:
        number: How many.
        examples: The names of the first.
    """

    number: int = 0
    examples: list[str] = field(default_factory=list)


class JoinedResults:
    """Yields the lines of a merged workspace.

    Args:
        table: All lines of the workspaces.
        reader: Reads them.
        once: True when each content should have been sent once.
    """

    def __init__(self, table: LineTable, reader: LineReader, *, once: bool) -> None:
        self._db = table.database
        self._reader = reader
        self._once = once
        self.conflicts = Conflicts()
        self._firsts: dict[str, tuple[bytes, int, str]] = {}

    def __repr__(self) -> str:
        return f"<JoinedResults {self.conflicts}>"

    def resolve(self) -> None:
        """Give the pages that shards have left the record or the failure of their content, if it has one."""
        self._db.change(_HAS_RECORD, ())
        for source, page, added, page_id, number, offset in self._db.stream("SELECT * FROM deferred"):
            if rows := self._db.rows(_ORIGINAL, (page_id,)):
                moment, of_input, of_offset = rows[0]
                place = (number, offset, 0, 0, 0, None, of_input, of_offset)
                self._put("result", source, page, copy_moment(added, moment), 0, page_id, *place)
            elif rows := self._db.rows(_FAILED_ORIGINAL, (page_id,)):
                kind, of_input, of_offset = rows[0]
                self._put("failure", added, source, page, kind, 0, page_id, number, offset, of_input, of_offset)
        self._db.change(_HAS_RECORD, ())
        self._db.change("DELETE FROM deferred WHERE EXISTS (SELECT 1 FROM failure WHERE failure.id = deferred.id)", ())

    def results(self) -> Iterator[bytes]:
        """Yield the lines of results.jsonl."""
        if self._once:
            self._db.rows("CREATE TABLE first (id TEXT PRIMARY KEY, source BLOB, page INTEGER, added TEXT)")
            for (page_id,) in self._db.stream(_REPEATED):
                self._put("first", page_id, *self._db.rows(_FIRST, (page_id,))[0])
        rows = map(_Row._make, self._db.stream("SELECT * FROM result ORDER BY source, page, added, reviewed, id"))
        for _, group in groupby(rows, itemgetter(0, 1)):
            yield from self._join_page(list(group))

    def failures(self) -> Iterator[bytes]:
        """Yield the lines of failures.jsonl, in the order of time."""
        for *_, number, offset, of_input, of_offset in self._db.stream(
            "SELECT * FROM failure ORDER BY added, source, page"
        ):
            if of_input is None:
                yield self._reader.copy(number, FAILURES, offset, parse_whole_failure, encode_failure)
            else:
                page = self._reader.parse(number, DEFERRED, offset, parse_deferred)
                failure = self._reader.parse(of_input, FAILURES, of_offset, parse_whole_failure)
                yield encode_failure(copy_failure(page, failure))

    def parts(self) -> Iterator[bytes]:
        """Yield the lines of parts.jsonl."""
        order = "source, page, id, tiles, tile, added"
        for number, offset in self._db.stream(f"SELECT input, offset FROM part ORDER BY {order}"):  # noqa: S608
            yield self._reader.copy(number, PARTS, offset, parse_part, encode_part)

    def deferred(self) -> Iterator[bytes]:
        """Yield the lines of deferred.jsonl: pages that no workspace has recognised yet."""
        for number, offset in self._db.stream("SELECT input, offset FROM deferred ORDER BY source, page"):
            yield self._reader.copy(number, DEFERRED, offset, parse_deferred, encode_deferred)

    def _put(self, table: str, *values: object) -> None:
        marks = ", ".join("?" * len(values))
        self._db.change(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", values)  # noqa: S608 - a constant

    def _join_page(self, rows: list[_Row]) -> Iterator[bytes]:
        if len(rows) > 1:
            self._note_conflict(rows)
        for row in rows:
            yield self._line(row)
        last = rows[-1]
        if len(rows) > 1 and not last.reviewed and (kept := _find_hidden_review(rows)) is not None:
            # The call is that of the last line; this one follows it without a call.
            yield encode_record(replace(keep_review(self._record(last), self._record(kept)), again=False))

    def _line(self, row: _Row) -> bytes:
        if row.of_input is not None:
            return encode_record(self._record(row))
        first = self._find_first(row) if self._once and row.sent and not row.again else None
        if first is None:
            return self._reader.copy(row.input, RESULTS, row.offset, parse_record, encode_record)
        record = self._record(row)
        # Without a call, as for the text layer of a PDF, it is what a copy in one workspace would be.
        return encode_record(
            replace(record, again=True) if record.attempts else replace(record, duplicate_of=decode_name(first))
        )

    def _find_first(self, row: _Row) -> bytes | None:
        """Return the source of the first line that was sent for a row's content; None when it is this one."""
        found: Iterable[Any] = self._db.rows("SELECT source, page, added FROM first WHERE id = ?", (row.id,))
        for source, page, added in found:
            if (source, page, added) != (row.source, row.page, row.added):
                return bytes(source)
        return None

    def _record(self, row: _Row) -> Record:
        if row.of_input is None or row.of_offset is None:
            return self._reader.parse(row.input, RESULTS, row.offset, parse_record)
        page = self._reader.parse(row.input, DEFERRED, row.offset, parse_deferred)
        return copy_record(page, self._reader.parse(row.of_input, RESULTS, row.of_offset, parse_record))

    def _note_conflict(self, rows: list[_Row]) -> None:
        callers = {row.input for row in rows if row.sent}
        standing = {row.input: row.id for row in rows}
        if len(callers) > 1 or len(set(standing.values())) > 1:
            self.conflicts.number += 1
            if len(self.conflicts.examples) < _EXAMPLES:
                self.conflicts.examples.append(f"{decode_name(rows[0].source)} page {rows[0].page}")


def _find_hidden_review(rows: list[_Row]) -> _Row | None:
    """Return the last review of a page's content that its last line hides, and did not replace in its own workspace."""
    last = rows[-1]
    reviews = [row for row in rows if row.reviewed and row.id == last.id]
    return reviews[-1] if reviews and reviews[-1].added > (last.over or "") else None
