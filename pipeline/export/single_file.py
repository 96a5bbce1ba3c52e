"""Formats that are one file: it is replaced as a whole, and written anew by each export."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.errors import StorageError, UsageError
from pipeline.export.base import Count, Exported, ExportJob, open_lines
from pipeline.export.table import Rows


def export_file(job: ExportJob, count: Count, write: Callable[[str, Rows], None], *, begins: bytes) -> Exported:
    """Replace the destination by a file with all rows.

    Args:
        job: What is exported.
        count: Called with the number of pages of each document.
        write: Writes the rows to the path of a new file.
        begins: What a file of this format begins with.

    Raises:
        UsageError: the destination is a folder, or a file that no export wrote.
        StorageError: the workspace cannot be read, or the file not be written.
    """
    target = job.destination
    if target.is_dir():
        raise UsageError(f"{target}: a folder; name a file")
    temporary = target.with_name(f".{target.name}.new")
    try:
        if target.exists() and _read_head(target, len(begins)) != begins:
            raise UsageError(f"{target}: not an export of this format; name another file")
        with open_lines(job) as records:
            temporary.unlink(missing_ok=True)
            rows = Rows(job, records, count)
            write(str(temporary), rows)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    except OSError as exc:
        raise StorageError(f"{target}: {exc.strerror or exc}") from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return replace(records.summarise(rows.documents, records.pages), written=1)


def _read_head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
