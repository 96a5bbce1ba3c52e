"""The index's part about proofs of paid calls: which attempts have a readable line, and which lines cannot be read."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.workspace.cache_database import CacheDatabase
from pipeline.workspace.lines import PageHead
from pipeline.workspace.result_lines import ResultHead

PROOFS_SCHEMA: Final = """
CREATE TABLE text_attempt (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE edited_line (
  file TEXT NOT NULL, offset INTEGER NOT NULL, attempt TEXT, source BLOB NOT NULL, page INTEGER NOT NULL,
  added TEXT NOT NULL, PRIMARY KEY (file, offset)
) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('attempts', 0);
CREATE TRIGGER count_attempt AFTER INSERT ON text_attempt BEGIN
  UPDATE counter SET number = number + 1 WHERE name = 'attempts';
END;
"""
DAMAGED_SCHEMA: Final = """
CREATE TABLE damaged_line (file TEXT NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (file, offset)) WITHOUT ROWID;
"""
FORGET_DAMAGED: Final = "DELETE FROM damaged_line"
FORGET_PROOFS: Final = (
    "DELETE FROM text_attempt",
    "DELETE FROM edited_line",
    "DELETE FROM counter WHERE name <> 'attempts'",
    "UPDATE counter SET number = 0",
)
_BATCH: Final = 500
_STANDING: Final = """
SELECT file, offset, attempt, source FROM edited_line AS line WHERE NOT EXISTS (
  SELECT 1 FROM page WHERE page.source = line.source AND page.page = line.page AND page.added > line.added
) ORDER BY file, offset
"""
"""Edited lines that no later line of the same page has replaced."""


@dataclass(frozen=True, slots=True)
class EditedLine:
    """A line whose JSON is right and whose checksum is not.

    Attributes:
        file: The file's name.
        offset_bytes: Offset of its first byte.
        attempts: The calls of its text; none in failures.jsonl.
        source: The bytes of the source's name.
    """

    file: str
    offset_bytes: int
    attempts: tuple[str, ...]
    source: bytes


class TextProofs:
    """Attempts with a readable line, edited lines, and numbers that the next run compares.

    Args:
        database: The index's.
    """

    def __init__(self, database: CacheDatabase) -> None:
        self._db = database
        self._unsaved: deque[str] = deque()
        """Attempts that the next commit writes together; one statement per line would cost more than the line."""

    def __repr__(self) -> str:
        return f"<TextProofs {self._db!r}>"

    def add(self, attempt: str) -> None:
        """Add the attempt of a readable line of results.jsonl."""
        self._unsaved.append(attempt)
        if len(self._unsaved) >= _BATCH:
            self.save()

    def save(self) -> None:
        """Write the attempts that were added; a commit makes them durable."""
        rows: list[tuple[str]] = []
        while self._unsaved:  # another thread may add meanwhile
            rows.append((self._unsaved.popleft(),))
        if rows:
            self._db.change_many("INSERT OR IGNORE INTO text_attempt VALUES (?)", rows)

    def add_edited(self, file: str, offset_bytes: int, fields: PageHead) -> None:
        """Add an edited line."""
        attempts = " ".join(fields.attempts) if isinstance(fields, ResultHead) else ""
        self._db.change(
            "INSERT OR REPLACE INTO edited_line VALUES (?, ?, ?, ?, ?, ?)",
            (file, offset_bytes, attempts or None, fields.source_bytes(), fields.page, fields.added),
        )

    def add_damaged(self, file: str, offset_bytes: int) -> None:
        """Add a line whose JSON is not right."""
        self._db.change("INSERT OR REPLACE INTO damaged_line VALUES (?, ?)", (file, offset_bytes))

    def count_unreadable(self, file: str) -> int:
        """Return the number of a file's lines that say nothing: damaged, or edited and not replaced since."""
        (damaged,) = self._db.rows("SELECT count(*) FROM damaged_line WHERE file = ?", (file,))[0]
        return int(damaged) + sum(line.file == file for line in self.edited())

    def count(self) -> int:
        """Return the number of attempts with a readable line; takes no longer for more of them."""
        self.save()
        return self.get_number("attempts") or 0

    def find(self, attempts: Sequence[str]) -> set[str]:
        """Return those of the attempts that have a readable line."""
        self.save()
        found = set[str]()
        for start in range(0, len(attempts), _BATCH):
            some = attempts[start : start + _BATCH]
            marks = ", ".join("?" * len(some))
            rows = self._db.rows(f"SELECT id FROM text_attempt WHERE id IN ({marks})", (*some,))  # noqa: S608
            found.update(row[0] for row in rows)
        return found

    def all(self) -> Iterator[list[str]]:
        """Yield all attempts with a readable line, in groups."""
        self.save()
        last = ""
        while rows := self._db.rows("SELECT id FROM text_attempt WHERE id > ? ORDER BY id LIMIT 500", (last,)):
            last = rows[-1][0]
            yield [row[0] for row in rows]

    def edited(self) -> list[EditedLine]:
        """Return the edited lines that no later line of the same page has replaced."""
        return [
            EditedLine(file, offset_bytes, tuple((attempts or "").split()), source)
            for file, offset_bytes, attempts, source in self._db.rows(_STANDING)
        ]

    def get_number(self, name: str) -> int | None:
        """Return a stored number; None when there is none, as after the lines were read anew."""
        rows = self._db.rows("SELECT number FROM counter WHERE name = ?", (name,))
        return None if not rows else int(rows[0][0])

    def put_number(self, name: str, number: int) -> None:
        """Store a number until the lines are read anew."""
        self._db.change("INSERT OR REPLACE INTO counter VALUES (?, ?)", (name, number))

    def forget_numbers(self) -> None:
        """Remove all stored numbers."""
        self._db.change("DELETE FROM counter WHERE name <> 'attempts'", ())
