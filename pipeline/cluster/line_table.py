"""The lines of several workspaces in a temporary database: which page and which event each one is, and where it is.

Memory does not grow with the number of lines. The same event in two workspaces, as after a copy or an earlier merge, is
one row: that of the workspace that was added last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from pipeline.storage.temporary import TemporaryDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.deferred_lines import Deferred, parse_deferred
from pipeline.workspace.failure_lines import parse_whole_failure
from pipeline.workspace.joined_lines import parse_lines
from pipeline.workspace.lines import EditedLineError
from pipeline.workspace.part_lines import parse_part
from pipeline.workspace.paths import DEFERRED, FAILURES, PARTS, RESULTS
from pipeline.workspace.read_position import Span, read_lines
from pipeline.workspace.result_lines import ResultLine, parse_whole_result
from pipeline.workspace.reviewed import is_reviewed
from pipeline.workspace.source_names import encode_name

_CACHE_KIB: Final = 32 * 1024
_BATCH: Final = 500
_SCHEMA: Final = """
CREATE TABLE result (
  source BLOB, page INTEGER, added TEXT, reviewed INTEGER, id TEXT, input INTEGER, offset INTEGER, sent INTEGER,
  leads INTEGER, again INTEGER, over TEXT, of_input INTEGER, of_offset INTEGER,
  PRIMARY KEY (source, page, added, reviewed, id)
) WITHOUT ROWID;
CREATE TABLE failure (
  added TEXT, source BLOB, page INTEGER, class TEXT, is_over INTEGER, id TEXT, input INTEGER, offset INTEGER,
  of_input INTEGER, of_offset INTEGER, PRIMARY KEY (added, source, page, class, is_over)
) WITHOUT ROWID;
CREATE TABLE part (
  source BLOB, page INTEGER, id TEXT, tiles INTEGER, tile INTEGER, added TEXT, attempt TEXT, input INTEGER,
  offset INTEGER, PRIMARY KEY (source, page, id, tiles, tile, added, attempt)
) WITHOUT ROWID;
CREATE TABLE deferred (
  source BLOB, page INTEGER, added TEXT, id TEXT, input INTEGER, offset INTEGER, PRIMARY KEY (source, page)
) WITHOUT ROWID;
CREATE TABLE call (attempt TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE review (source BLOB, page INTEGER, added TEXT, PRIMARY KEY (source, page)) WITHOUT ROWID;
"""
# over: when the latest review was added that this line replaces in its own workspace
# of_input, of_offset: the record or failure that a page takes over which its shard has left; `offset` is then that of
# its line in deferred.jsonl
_INDEXES: Final = (
    "CREATE INDEX result_id ON result (id)",
    "CREATE INDEX failure_id ON failure (id)",
    "ANALYZE",
)

_Parsed = TypeVar("_Parsed")


@dataclass(slots=True)
class Read:
    """What was read of one workspace.

    Attributes:
        texts: Number of its calls with a text.
        last_added: When its last record was added, RFC 3339; "" without one.
        damaged: Damaged lines, which were left out.
        edited: Lines whose values were edited by hand, which were left out.
        example: Where the first of these lines is.
    """

    texts: int = 0
    last_added: str = ""
    damaged: int = 0
    edited: int = 0
    example: str = ""


class LineTable:
    """The lines of several workspaces; a context manager."""

    def __init__(self) -> None:
        self.database = TemporaryDatabase(_SCHEMA, cache_kib=_CACHE_KIB)
        self._rows: dict[str, list[tuple[object, ...]]] = {"result": [], "failure": [], "part": [], "call": []}
        self._has_reviews = False

    def __repr__(self) -> str:
        return "<LineTable>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def add_workspace(self, number: int, workspace: Path) -> Read:
        """Add the lines of a workspace, which no run may hold.

        Args:
            number: Names the workspace in the rows.
            workspace: The directory.

        Raises:
            OSError: a file cannot be read.
            UsageError: a segment is compressed, and the extra for that is not installed.
        """
        read = Read()
        for table in ("review", "call"):
            self.database.change(f"DELETE FROM {table}", ())  # noqa: S608 - a constant
        self._has_reviews = False
        for span, line in _parse(workspace, RESULTS, parse_whole_result, read):
            self._add_result(number, span, line, read)
        for span, failure in _parse(workspace, FAILURES, parse_whole_failure, read):
            source = encode_name(failure.source)
            place = (number, span.start, None, None)
            self._add(
                "failure", failure.added, source, failure.page, failure.error, failure.is_over, failure.id, *place
            )
        for span, part in _parse(workspace, PARTS, parse_part, read):
            page = (encode_name(part.source), part.page, part.id, part.tile.of, part.tile.number)
            self._add("part", *page, part.added, part.attempt, number, span.start)
            self._add("call", part.attempt)
        for span, page_left in _parse(workspace, DEFERRED, parse_deferred, read):
            self._add_deferred(number, span, page_left)
        self._flush()
        read.texts = int(self.database.rows("SELECT count(*) FROM call")[0][0])
        return read

    def finish(self) -> None:
        """Make the indexes; no workspace is added after that."""
        for statement in _INDEXES:
            self.database.rows(statement)

    def _add_result(self, number: int, span: Span, line: ResultLine, read: Read) -> None:
        source, reviewed = line.source_bytes(), is_reviewed(line)
        over = None if reviewed or not self._has_reviews else self._find_review(source, line.page)
        if reviewed:
            self._flush()
            self.database.change("INSERT OR REPLACE INTO review VALUES (?, ?, ?)", (source, line.page, line.added))
            self._has_reviews = True
        was_sent = line.duplicate_of is None and (line.review is None or line.again)
        leads = line.duplicate_of is None or line.review is not None
        self._add(
            "result", source, line.page, line.added, reviewed, line.id, number, span.start,
            was_sent and line.skipped is None, leads, line.again, over, None, None
        )  # fmt: skip
        for attempt in line.attempts:
            self._add("call", attempt)
        read.last_added = max(read.last_added, line.added)

    def _find_review(self, source: bytes, page: int) -> str | None:
        rows = self.database.rows("SELECT added FROM review WHERE source = ? AND page = ?", (source, page))
        return rows[0][0] if rows else None

    def _add_deferred(self, number: int, span: Span, page: Deferred) -> None:
        self._flush()
        self.database.change(
            "INSERT INTO deferred VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET added = excluded.added,"
            " id = excluded.id, input = excluded.input, offset = excluded.offset WHERE excluded.added > deferred.added",
            (encode_name(page.source), page.page, page.added, page.id, number, span.start),
        )

    def _add(self, table: str, *values: object) -> None:
        rows = self._rows[table]
        rows.append(values)
        if len(rows) == _BATCH:
            self._insert(table)

    def _flush(self) -> None:
        for table in self._rows:
            self._insert(table)

    def _insert(self, table: str) -> None:
        rows = self._rows[table]
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self.database.change_many(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608
            rows.clear()


def _parse(workspace: Path, name: str, parse: Callable[[bytes], _Parsed], read: Read) -> Iterator[tuple[Span, _Parsed]]:
    """Yield the places and the contents of the lines of a file; count those that say nothing."""
    for file, number, span, line in read_lines(workspace / name):
        for place, parsed in parse_lines([(span, line.removesuffix(b"\n"))], parse):
            if not isinstance(parsed, DamagedLineError):
                yield place, parsed
                continue
            if not line.endswith(b"\n"):  # torn by a crash, and never counted as a text
                continue
            if isinstance(parsed, EditedLineError):
                read.edited += 1
            else:
                read.damaged += 1
            read.example = read.example or f"{file}:{number}: {parsed}"
