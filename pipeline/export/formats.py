"""The formats by name; the libraries of a format are imported when it is chosen."""

from collections.abc import Callable, Mapping
from typing import Final

from pipeline.export.base import Count, Exported, ExportJob, export_documents

ExportFunction = Callable[[ExportJob, Count], Exported]


def _export_txt(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.txt import TextWriter  # noqa: PLC0415 - when it is chosen

    return export_documents(job, "txt", TextWriter(per_page=job.per_page), count)


def _export_csv(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.csv_table import export_csv  # noqa: PLC0415 - when it is chosen

    return export_csv(job, count)


def _export_parquet(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.parquet import ParquetWriter  # noqa: PLC0415 - an extra, when it is chosen
    from pipeline.export.shards import export_shards  # noqa: PLC0415

    return export_shards(job, "parquet", ParquetWriter(), count)


FORMATS: Final[Mapping[str, ExportFunction]] = {"txt": _export_txt, "csv": _export_csv, "parquet": _export_parquet}
