"""All lines of a workspace in a temporary database, together with an index made from these lines alone.

Lines are compared with one another in SQL, so memory does not grow with the number of pages.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Final

from pipeline.records import TEXT_LAYER, Record, State
from pipeline.verify.line_checks import check_failure, check_part, check_record, describe_damage, find_damage, show_name
from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.deferred_lines import parse_deferred
from pipeline.workspace.failure_lines import parse_failure
from pipeline.workspace.index_schema import SCHEMA, SCHEMA_VERSION
from pipeline.workspace.joined_lines import parse_lines
from pipeline.workspace.page_counts import count_pages
from pipeline.workspace.page_rows import deferred_row, failure_row, record_row
from pipeline.workspace.part_lines import parse_part
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, RESULTS
from pipeline.workspace.read_position import Span, read_lines
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.source_names import encode_name
from pipeline.workspace.tables import Tables

_BATCH: Final = 500
_MAX_ELAPSED_MS: Final = 10**12
"""Longer than any page takes; a line written by another program may hold a number that SQLite cannot store."""
_LINES: Final = """
CREATE TABLE result (
  number INTEGER PRIMARY KEY, offset INTEGER, source BLOB, page INTEGER, id TEXT, state TEXT, added TEXT,
  attempt TEXT, original BLOB, elapsed_ms INTEGER, metered INTEGER, again INTEGER,
  pixels TEXT, sent INTEGER, reviewed INTEGER
);
CREATE TABLE part_call (
  number INTEGER PRIMARY KEY, source BLOB, tile TEXT, added TEXT, attempt TEXT, elapsed_ms INTEGER, metered INTEGER
);
CREATE TABLE further_call (number INTEGER, attempt TEXT);
CREATE VIEW text_call AS
  SELECT number, source, id, added, elapsed_ms, metered, attempt FROM result WHERE sent
  UNION ALL
  SELECT number, source, id, added, elapsed_ms, metered, further_call.attempt
  FROM further_call JOIN result USING (number) WHERE sent;
CREATE TABLE failure (
  number INTEGER PRIMARY KEY, source BLOB, page INTEGER, id TEXT, state TEXT, added TEXT, again INTEGER
);
"""
"""A text of several calls has its first in `result`, and the others in `further_call`: nearly all texts have one."""
_INDEXES: Final = """
CREATE INDEX result_id ON result (id);
CREATE INDEX result_page ON result (source, page, id);
CREATE INDEX result_attempt ON result (attempt) WHERE sent;
CREATE INDEX failure_page ON failure (source, page);
CREATE INDEX failure_id ON failure (id);
"""
_REPEATED_CALLS: Final = """
SELECT number, source, attempt, first FROM (
  SELECT number, source, attempt, min(number) OVER (PARTITION BY attempt) AS first FROM text_call
  WHERE attempt IS NOT NULL
) WHERE number <> first
"""
_REPEATED_TILE_CALLS: Final = """
SELECT number, source, attempt, first FROM (
  SELECT number, source, attempt, min(number) OVER (PARTITION BY attempt) AS first FROM part_call
) WHERE number <> first
"""
_REPEATED_CONTENTS: Final = """
SELECT number, source, first FROM (
  SELECT number, source, again, min(number) OVER (PARTITION BY id) AS first,
  row_number() OVER (PARTITION BY coalesce(attempt, number)
  ORDER BY number) AS nth FROM result WHERE sent AND state <> 'skipped'
) WHERE number <> first AND nth = 1 AND NOT again
"""
_DUPLICATES: Final = """
SELECT number, source, original, coalesce((
  SELECT min(number) FROM result AS sent WHERE sent.id = result.id AND sent.original IS NULL
  AND (sent.source = result.original OR instr(result.original, X'EFBFBD'))
), (
  SELECT min(number) FROM result AS sent WHERE sent.source = result.original AND sent.original IS NULL
  AND instr(result.pixels, ':')
  AND sent.pixels IN (result.pixels, substr(result.pixels, 1, instr(result.pixels, ':') - 1))
)) AS first FROM result WHERE original IS NOT NULL AND (first IS NULL OR first > number)
"""
_FAILED_LATER: Final = """
SELECT failure.number, failure.source, min(result.number) FROM failure JOIN result USING (source, page, id)
WHERE failure.added > result.added AND NOT failure.again AND result.state <> 'skipped' GROUP BY failure.number
"""
_CHANGED_FILES: Final = """
SELECT count(*) FROM page WHERE source IN (
  SELECT source FROM page WHERE id IS NOT NULL GROUP BY source HAVING count(DISTINCT substr(id, 1, 71)) > 1
)
"""
"""Files whose pages have several contents; the first 71 characters of an id are "sha256:" and 64 digits."""
_REVIEWED_SINCE: Final = """
SELECT count(*) FROM (SELECT DISTINCT source, page FROM result WHERE reviewed AND added > ?)
"""


class Evidence:
    """The lines of a workspace.

    Args:
        workspace: The directory; only read.
        directory: The directory for the temporary database.
    """

    def __init__(self, workspace: Path, directory: Path) -> None:
        self._workspace = workspace
        self.database = CacheDatabase.open(directory / "evidence.sqlite3", SCHEMA + _LINES, SCHEMA_VERSION)
        self._tables = Tables(workspace, self.database)
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            self.database.rows(f"PRAGMA {pragma}")
        self.damaged = 0
        """Number of damaged lines among the records."""
        self._files: list[tuple[int, str]] = []
        """Of each file of records, the number of its first line among all records, and its name."""

    def __repr__(self) -> str:
        return f"<Evidence {self._tables!r}>"

    def read(self) -> Iterator[str]:
        """Read all lines into the database; yield the faults that a line shows by itself."""
        yield from self._read_results()
        yield from self._read_failures()
        yield from self._read_parts()
        yield from self._read_deferred()
        self._tables.commit()
        for statement in _INDEXES.split(";\n")[:-1]:
            self.database.rows(statement)

    def compare_lines(self, *, once: bool, in_time: bool = True) -> Iterator[str]:
        """Yield the faults that lines show when compared with one another.

        Args:
            once: True when each content should have been sent once.
            in_time: True when a duplicate follows the record of its content.
        """
        for number, source, attempt, first in self.database.stream(_REPEATED_CALLS):
            yield f"{self._place(number, source)}: {self._line(first, number)} has a text of the same call, {attempt}"
        for number, source, attempt, first in self.database.stream(_REPEATED_TILE_CALLS):
            yield f"{_place(PARTS, number, source)}: line {first} has a text of the same call, {attempt}"
        if once:
            for number, source, first in self.database.stream(_REPEATED_CONTENTS):
                other = self._line(first, number)
                yield f"{self._place(number, source)}: {other} has its content, so it was sent twice"
        for number, source, original, first in self.database.stream(_DUPLICATES):
            if first is not None and not in_time:
                continue
            found = "without its record" if first is None else f"before its record in {self._line(first, number)}"
            yield f"{self._place(number, source)}: a duplicate of '{show_name(original)}' {found}"
        for number, source, first in self.database.stream(_FAILED_LATER):
            yield f"{_place(FAILURES, number, source)}: it failed after its text was on disk ({self.name_line(first)})"

    def name_line(self, number: int) -> str:
        """Return the file and the line in it of the line with this number, from 1, among all records."""
        if number < 1:  # the second of two joined lines
            return f"{RESULTS}:{number}"
        begin, name = self._files[bisect_right(self._files, number, key=itemgetter(0)) - 1]
        return f"{name}:{number - begin + 1}"

    def totals(self) -> Mapping[State, int]:
        """Return the number of pages by state, according to the lines."""
        return count_pages(self.database).totals

    def left_to_shards(self) -> int:
        """Return the number of pages that were left to other shards, according to the lines."""
        return count_pages(self.database).left_to_shards

    def pages_reviewed_since(self, moment: str) -> int:
        """Return the number of pages whose text a person has written or checked after a moment, RFC 3339."""
        return int(self.database.rows(_REVIEWED_SINCE, (moment,))[0][0])

    def pages_of_changed_files(self) -> int:
        """Return the number of pages of files with several contents: some pages may be of an earlier content."""
        return int(self.database.rows(_CHANGED_FILES)[0][0])

    def _read_results(self) -> Iterator[str]:
        rows: list[tuple[object, ...]] = []
        further: list[tuple[object, ...]] = []
        for number, (name, in_file, span, line) in enumerate(read_lines(self._workspace / RESULTS), 1):
            if in_file == 1:
                self._files.append((number, name))
            damage = find_damage(line)
            if damage is not None:
                yield f"{name}:{in_file}: {damage}"
            for place, record in parse_lines([(span, line.removesuffix(b"\n"))], parse_record):
                if isinstance(record, DamagedLineError):
                    self.damaged += 1
                    if damage is None:
                        yield f"{name}:{in_file}: {describe_damage(line, record)}"
                    continue
                for problem in check_record(record):
                    yield f"{_place(name, in_file, encode_name(record.source))}: {problem}"
                row = record_row(record)
                self._tables.add_result(row, place)
                key = _key(number, span, place)
                rows.append(
                    (key, place.start, row.source, row.page, row.id, row.state.value, row.added,
                     next(iter(record.attempts), None), _original(record), _clamp(record.elapsed_ms),
                     _is_metered(record), record.again, record.pixels, record.was_sent, record.review is not None)
                )  # fmt: skip
                further.extend((key, attempt) for attempt in record.attempts[1:])
            if len(rows) >= _BATCH:
                self._insert("result", rows)
                self._insert("further_call", further)
        self._insert("result", rows)
        self._insert("further_call", further)

    def _read_failures(self) -> Iterator[str]:
        rows: list[tuple[object, ...]] = []
        for _, number, span, line in read_lines(self._workspace / FAILURES):
            if (damage := find_damage(line)) is not None:
                yield f"{FAILURES}:{number}: {damage}"
            try:
                head = parse_failure(line.removesuffix(b"\n"))
            except DamagedLineError as exc:
                if damage is None:
                    yield f"{FAILURES}:{number}: {describe_damage(line, exc)}"
                continue
            row = failure_row(head)
            for problem in check_failure(head):
                yield f"{_place(FAILURES, number, row.source)}: {problem}"
            self._tables.replay_failure(head, span)
            rows.append((number, row.source, row.page, row.id, row.state.value, row.added, head.again))
            if len(rows) == _BATCH:
                self._insert("failure", rows)
        self._insert("failure", rows)

    def _read_parts(self) -> Iterator[str]:
        rows: list[tuple[object, ...]] = []
        for _, number, span, line in read_lines(self._workspace / PARTS):
            if (damage := find_damage(line)) is not None:
                yield f"{PARTS}:{number}: {damage}"
            for place, part in parse_lines([(span, line.removesuffix(b"\n"))], parse_part):
                if isinstance(part, DamagedLineError):
                    if damage is None:
                        yield f"{PARTS}:{number}: {describe_damage(line, part)}"
                    continue
                for problem in check_part(part):
                    yield f"{_place(PARTS, number, encode_name(part.source))}: {problem}"
                self._tables.parts.add(part, place)
                rows.append(
                    (_key(number, span, place), encode_name(part.source), part.tile.call_id(part.id), part.added,
                     part.attempt, _clamp(part.elapsed_ms), part.reply.host != "embedded")
                )  # fmt: skip
            if len(rows) >= _BATCH:
                self._insert("part_call", rows)
        self._insert("part_call", rows)

    def _read_deferred(self) -> Iterator[str]:
        for _, number, span, line in read_lines(self._workspace / DEFERRED):
            try:
                page = parse_deferred(line.removesuffix(b"\n"))
            except DamagedLineError as exc:
                yield f"{DEFERRED}:{number}: {describe_damage(line, exc)}"
            else:
                self._tables.add_deferred(deferred_row(page), span)

    def _place(self, number: int, source: bytes) -> str:
        return f"{self.name_line(number)}: {show_name(source)}"

    def _line(self, number: int, seen_from: int) -> str:
        """Return what a message about a line of records calls another one: with its file, unless that is the same."""
        name, _, in_file = self.name_line(number).rpartition(":")
        return f"line {in_file}" if self.name_line(seen_from).startswith(f"{name}:") else f"{name}:{in_file}"

    def _insert(self, table: str, rows: list[tuple[object, ...]]) -> None:
        """Insert rows into a table and clear the list; most of the time of `verify` is spent in inserts."""
        if rows:
            self.database.change_many(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608
            rows.clear()


def _key(number: int, span: Span, place: Span) -> int:
    """Return the key of a line; the second of two joined lines takes a number that no line has."""
    return number if place.start == span.start else -place.start


def _place(file: str, number: int, source: bytes) -> str:
    return f"{file}:{number}: {show_name(source)}"


def _original(record: Record) -> bytes | None:
    return None if record.duplicate_of is None else encode_name(record.duplicate_of)


def _clamp(elapsed_ms: int) -> int:
    return max(0, min(elapsed_ms, _MAX_ELAPSED_MS))


def _is_metered(record: Record) -> bool:
    """Return whether a ledger must count the call of a text."""
    return record.text_from != TEXT_LAYER and record.skipped is None and record.reply.host != "embedded"
