"""CSV: a header and a row per page (RFC 4180, UTF-8)."""

import csv
from pathlib import Path

from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.single_file import export_file
from pipeline.export.table import COLUMNS, Rows


def write_csv(path: str, rows: Rows) -> None:
    """Write the rows to a new file."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows.read())


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_file`."""
    return export_file(job, count, write_csv, begins=COLUMNS[0].encode())
