"""The records of a workspace, for programs that use its texts."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.errors import StopError, StorageError
from pipeline.records import Record
from pipeline.storage.sqlite import translate_errors
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.joined_lines import parse_first, parse_lines
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.read_position import Span
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.source_names import encode_name

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
CREATE TABLE last (
  source BLOB, page INTEGER, offset INTEGER, PRIMARY KEY (source, page)
) WITHOUT ROWID;
"""

logger = logging.getLogger("pagemill")


def read_records(workspace: Path | str) -> Iterator[Record]:
    """Yield the last record of each page, in the order of these lines in results.jsonl.

    Changes nothing and takes no lock, so a run may append meanwhile, and the medium may be read-only. The file is
    read twice; the places of the last records are kept in a temporary file, so memory does not grow with the number
    of pages. Damaged lines are skipped with a warning; a last line that is not whole is ignored.

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
        db.executemany("INSERT OR REPLACE INTO last VALUES (?, ?, ?)", _find_records(path, file))
        for (offset,) in db.execute("SELECT offset FROM last ORDER BY offset"):
            file.seek(offset)
            with suppress(DamagedLineError):  # another program changed the file meanwhile
                yield parse_first(file.readline().removesuffix(b"\n"), parse_record)


def _find_records(path: Path, file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield (source, page, offset) of each record; log a warning for each damaged line."""
    offset = 0
    for number, line in enumerate(file, 1):
        lines = [(Span(offset, offset + len(line)), line.removesuffix(b"\n"))]
        for span, record in parse_lines(lines, parse_record):
            if isinstance(record, Record):
                yield encode_name(record.source), record.page, span.start
            elif line.endswith(b"\n"):  # else a run may be writing it
                logger.warning("%s:%d: skipped a damaged line: %s", path, number, record)
        offset += len(line)
