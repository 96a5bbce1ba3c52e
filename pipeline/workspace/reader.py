"""The records of a workspace, for programs that use its texts."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import StopError, StorageError
from pipeline.records import Record
from pipeline.storage.sqlite import translate_errors
from pipeline.storage.temporary import TemporaryDatabase
from pipeline.workspace.checksums import DamagedLineError
from pipeline.workspace.joined_lines import parse_first, parse_lines
from pipeline.workspace.line_stream import LineStream, open_lines
from pipeline.workspace.paths import RESULTS
from pipeline.workspace.read_position import number_lines
from pipeline.workspace.result_lines import parse_record
from pipeline.workspace.run_file import require_workspace
from pipeline.workspace.segments import has_results
from pipeline.workspace.source_names import encode_name

if TYPE_CHECKING:
    from io import BufferedReader

_SCHEMA: Final = """
CREATE TABLE last (
  source BLOB, page INTEGER, offset INTEGER, PRIMARY KEY (source, page)
) WITHOUT ROWID;
"""

logger = logging.getLogger("pagemill")


def read_records(workspace: Path | str) -> Iterator[Record]:
    """Yield the last record of each page, in the order of these lines in results.jsonl.

    Reads closed segments, compressed or not, as well. Changes nothing and takes no lock, so a run may append meanwhile,
    and the medium may be read-only. The lines are read twice; the places of the last records are kept in a temporary
    file, so memory does not grow with the number of pages. Damaged lines are skipped with a warning; a last line that
    is not whole is ignored.

    Args:
        workspace: The directory given to `-o`.

    Raises:
        UsageError: at the call: the directory has neither results.jsonl nor run.json; during the iteration: a segment
            is compressed, and the extra for that is not installed.
        StorageError: during the iteration: results.jsonl, or the temporary file, cannot be read or written.
    """
    path = Path(workspace) / RESULTS
    if not has_results(path.parent):
        require_workspace(Path(workspace))
        return iter(())
    return _read_last(path)


def _read_last(path: Path) -> Iterator[Record]:
    def translate(exc: Exception) -> StopError:
        return StorageError(f"{path}: {exc}")

    with (
        translate_errors(translate),
        open_lines(path) as file,
        TemporaryDatabase(_SCHEMA) as db,
    ):
        db.change_many("INSERT OR REPLACE INTO last VALUES (?, ?, ?)", _find_records(path, file))
        for (offset,) in db.stream("SELECT offset FROM last ORDER BY offset"):
            file.seek(offset)
            with suppress(DamagedLineError):  # another program changed the file meanwhile
                yield parse_first(file.readline().removesuffix(b"\n"), parse_record)


def _find_records(path: Path, file: "BufferedReader[LineStream]") -> Iterator[tuple[bytes, int, int]]:
    """Yield (source, page, offset) of each record; log a warning for each damaged line."""
    for name, number, place, line in number_lines(file):
        for span, record in parse_lines([(place, line.removesuffix(b"\n"))], parse_record):
            if isinstance(record, Record):
                yield encode_name(record.source), record.page, span.start
            elif line.endswith(b"\n"):  # else a run may be writing it
                logger.warning("%s:%d: skipped a damaged line: %s", path.with_name(name), number, record)
