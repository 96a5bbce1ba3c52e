"""SQLite: a table of pages with full-text search, as datasette and sqlite-utils find it (`pages_fts`)."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Final

from pipeline.errors import StorageError
from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.ngrams import spread_words
from pipeline.export.single_file import export_file
from pipeline.export.table import COLUMNS, Rows

_TYPES: Final = {
    "page": "INTEGER", "pages": "INTEGER", "characters": "INTEGER", "score": "REAL", "in_doubt": "INTEGER",
    "width_px": "INTEGER", "height_px": "INTEGER", "scale": "REAL", "rotation_deg": "INTEGER", "elapsed_ms": "INTEGER",
}  # fmt: skip
_DEFINITIONS: Final = ", ".join(f"{name} {_TYPES.get(name, 'TEXT')}" for name in COLUMNS)
_SCHEMA: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE pages (number INTEGER PRIMARY KEY, {_DEFINITIONS}, UNIQUE (source, page));
CREATE VIRTUAL TABLE pages_fts USING fts5 (text, content="pages", content_rowid="number", tokenize="unicode61");
CREATE VIEW documents AS
  SELECT document, count(*) AS pages, sum(characters) AS characters, min(score) AS score, sum(in_doubt) AS in_doubt
  FROM pages GROUP BY document;
"""  # noqa: S608 - names of columns
_INSERT: Final = f"INSERT INTO pages VALUES (?, {', '.join('?' * len(COLUMNS))})"  # noqa: S608
_INDEX: Final = "INSERT INTO pages_fts (rowid, text) VALUES (?, ?)"
_TEXT: Final = COLUMNS.index("text")
_BATCH: Final = 1000


def write_database(path: str, rows: Rows) -> None:
    """Write the rows to a new database.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(_SCHEMA)
            for first, batch in _in_batches(rows.read()):
                numbered = list(enumerate(batch, first))
                db.executemany(_INSERT, ((number, *row) for number, row in numbered))
                db.executemany(_INDEX, ((number, spread_words(row[_TEXT])) for number, row in numbered))
            db.execute("INSERT INTO pages_fts (pages_fts) VALUES ('optimize')")
            db.commit()
    except sqlite3.Error as exc:
        raise StorageError(f"{path}: {exc}") from exc


def _in_batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield (number of the first row, from 1; rows)."""
    first = 1
    while batch := list(islice(rows, _BATCH)):
        yield first, batch
        first += len(batch)


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_file`."""
    return export_file(job, count, write_database, begins=b"SQLite format 3\0")
