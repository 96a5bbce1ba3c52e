"""CSV: one file with a header and a row per page (RFC 4180, UTF-8)."""

import csv
import os
from contextlib import suppress
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.export.base import Count, Exported, ExportJob, open_lines
from pipeline.export.table import COLUMNS, Rows


def export_csv(job: ExportJob, count: Count) -> Exported:
    """Replace the destination by a file with all rows.

    Raises:
        StorageError: the workspace cannot be read, or the file not be written.
    """
    target = job.destination
    temporary = target.with_name(f".{target.name}.new")
    try:
        with open_lines(job) as records:
            rows = Rows(job, records, count)
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows(rows.read())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
    except OSError as exc:
        raise StorageError(f"{target}: {exc.strerror or exc}") from exc
    finally:
        _remove(temporary)
    return Exported(documents=rows.documents, pages=records.pages, written=1, unreadable=records.unreadable)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
