"""The records of a workspace, for programs that use its texts."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.errors import StopError, StorageError
from pipeline.records import Record
from pipeline.storage.sqlite import translate_errors
from pipeline.workspace.lines import DamagedLineError, encode_name, parse_record
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.run_file import require_workspace

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
CREATE TABLE last (
  source BLOB, page INTEGER, number INTEGER, offset INTEGER, PRIMARY KEY (source, page)
) WITHOUT ROWID;
"""

logger = logging.getLogger("pagemill")


def read_records(workspace: Path | str) -> Iterator[Record]:
    """Yield the last record of each page, in the order of these lines in results.jsonl.

    Changes nothing and takes no lock, so a run may append meanwhile, and the medium may be read-only. The file is
    read twice; the places of the last records are kept in a temporary file, so memory does not grow with the number
    of pages. Damaged lines are skipped with a warning; a last line without its newline is ignored.

    Args:
        workspace: The directory given to `-o`.

    Raises:
        UsageError: at the call: the directory has neither results.jsonl nor run.json.
        StorageError: during the iteration: results.jsonl, or the temporary file, cannot be read or written.
    """
    path = Path(workspace) / RESULTS
    if not path.exists():
        require_workspace(Path(workspace))
        return iter(())
    return _read_last(path)


def _read_last(path: Path) -> Iterator[Record]:
    def translate(exc: Exception) -> StopError:
        return StorageError(f"{path}: {exc}")

    with (
        translate_errors(translate),
        path.open("rb") as file,
        closing(sqlite3.connect("")) as db,  # a temporary file; its pages leave memory when they are too many
    ):
        db.executescript(_SCHEMA)
        db.executemany("INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?)", _find_records(path, file))
        for number, offset in db.execute("SELECT number, offset FROM last ORDER BY offset"):
            file.seek(offset)
            record = _parse(path, number, file.readline())
            if record is not None:
                yield record


def _find_records(path: Path, file: BinaryIO) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (source, page, line number from 1, offset) of each record."""
    offset = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return  # a run may be writing this line, and a further read would return its second half
        record = _parse(path, number, line)
        if record is not None:
            yield encode_name(record.source), record.page, number, offset
        offset += len(line)


def _parse(path: Path, number: int, line: bytes) -> Record | None:
    """Return a line's record; log a warning and return None when the line is damaged."""
    try:
        return parse_record(line.removesuffix(b"\n"))
    except DamagedLineError as exc:
        logger.warning("%s:%d: skipped a damaged line: %s", path, number, exc)
        return None
