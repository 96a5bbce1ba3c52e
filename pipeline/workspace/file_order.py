"""Finished pages in the order of their lines, for whoever reads all of them and needs no other order.

The index yields pages in the order of their names. Where that is not the order in which they ended, each line would be
read from another place of the file, and decompressed with its neighbours.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final

from pipeline.errors import StopError, StorageError
from pipeline.records import State
from pipeline.storage.sqlite import translate_errors
from pipeline.workspace.finished_pages import FinishedPage

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
CREATE TABLE page (source BLOB, page INTEGER, state TEXT, added TEXT, in_doubt INTEGER, id TEXT, offset INTEGER);
"""


def sort_by_line(pages: Iterable[FinishedPage]) -> Iterator[FinishedPage]:
    """Yield the pages by the offsets of their lines; they are kept in a temporary file, so memory does not grow.

    Raises:
        StorageError: the temporary file cannot be written or read.
    """
    with translate_errors(_translate), closing(sqlite3.connect("")) as db:  # "": a temporary file
        db.executescript(_SCHEMA)
        db.executemany(
            "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((p.source, p.page, p.state.value, p.added, p.in_doubt, p.id, p.offset) for p in pages),
        )
        for source, page, state, added, in_doubt, page_id, offset in db.execute("SELECT * FROM page ORDER BY offset"):
            yield FinishedPage(source, page, State(state), added, bool(in_doubt), page_id, offset)


def _translate(exc: Exception) -> StopError:
    return StorageError(f"temporary file of the pages' order: {exc}")
