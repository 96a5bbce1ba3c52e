"""The formats by name; the libraries of a format are imported when it is chosen."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Final

from pipeline.errors import UsageError
from pipeline.export.base import Count, Exported, ExportJob, export_documents
from pipeline.export.images import ImageReader, Images

ExportFunction = Callable[[ExportJob, Count], Exported]


def _export_txt(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.txt import TextWriter  # noqa: PLC0415 - when it is chosen

    return export_documents(job, "txt", TextWriter(per_page=job.per_page), count)


def _export_csv(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.csv_table import write_csv  # noqa: PLC0415 - when it is chosen
    from pipeline.export.single_file import export_file  # noqa: PLC0415

    return export_file(job, count, write_csv)


def _export_sqlite(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.single_file import export_file  # noqa: PLC0415 - when it is chosen
    from pipeline.export.sqlite_database import write_database  # noqa: PLC0415

    return export_file(job, count, write_database)


def _export_parquet(job: ExportJob, count: Count) -> Exported:
    _require_extra("pyarrow", "parquet")
    from pipeline.export.parquet import ParquetWriter  # noqa: PLC0415 - when it is chosen
    from pipeline.export.shards import export_shards  # noqa: PLC0415

    with _open_images(job) as images:
        exported = export_shards(job, "parquet", ParquetWriter(images), count)
        return _with_missing(exported, images)


def _export_hf(job: ExportJob, count: Count) -> Exported:
    _require_extra("pyarrow", "parquet")
    from pipeline.export.hf import FOLDER, Card  # noqa: PLC0415 - when it is chosen
    from pipeline.export.parquet import ParquetWriter  # noqa: PLC0415
    from pipeline.export.shards import export_shards  # noqa: PLC0415

    with _open_images(job) as images:
        card = Card(job.workspace, job.destination.name, job.license_id, has_images=images is not None)
        exported = export_shards(job, "hf", ParquetWriter(images, FOLDER), count, card.describe)
        return _with_missing(exported, images)


def _export_webdataset(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.shards import export_shards  # noqa: PLC0415 - when it is chosen
    from pipeline.export.webdataset import WebDatasetWriter  # noqa: PLC0415

    with _open_images(job) as images:
        exported = export_shards(job, "webdataset", WebDatasetWriter(images), count)
        return _with_missing(exported, images)


def _export_dolma(job: ExportJob, count: Count) -> Exported:
    _require_extra("zstandard", "export")
    from pipeline.export.dolma import DolmaWriter  # noqa: PLC0415 - when it is chosen
    from pipeline.export.shards import export_shards  # noqa: PLC0415

    return export_shards(job, "dolma", DolmaWriter(), count)


def _export_hocr(job: ExportJob, count: Count) -> Exported:
    from pipeline.export.hocr import HocrWriter  # noqa: PLC0415 - when it is chosen

    return export_documents(job, "hocr", HocrWriter(), count)


def _export_page(job: ExportJob, count: Count) -> Exported:
    _require_extra("lxml", "export")
    from pipeline.export.page_xml import PageXmlWriter  # noqa: PLC0415 - when it is chosen

    return export_documents(job, "page", PageXmlWriter(), count)


def _export_alto(job: ExportJob, count: Count) -> Exported:
    _require_extra("lxml", "export")
    from pipeline.export.alto import AltoWriter  # noqa: PLC0415 - when it is chosen

    return export_documents(job, "alto", AltoWriter(), count)


def _export_pdf(job: ExportJob, count: Count) -> Exported:
    _require_extra("pikepdf", "export")
    from pipeline.export.searchable_pdf import PdfWriter  # noqa: PLC0415 - when it is chosen

    kind: Images = "sent" if job.images == "sent" else "original"
    with ImageReader(job.workspace, kind, takes_pdf=False) as images:
        return _with_missing(export_documents(job, "pdf", PdfWriter(images), count), images)


@contextmanager
def _open_images(job: ExportJob) -> Generator[ImageReader | None]:
    """Open the images of the pages, if they are asked for."""
    if job.images == "none":
        yield None
        return
    with ImageReader(job.workspace, job.images) as images:
        yield images


def _with_missing(exported: Exported, images: ImageReader | None) -> Exported:
    return exported if images is None else replace(exported, missing=images.missing)


def _require_extra(module: str, extra: str) -> None:
    """Return when a module is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec(module) is None:
        raise UsageError(f"this format needs the extra {extra}: pip install 'pagemill[{extra}]'")


FORMATS: Final[Mapping[str, ExportFunction]] = {
    "txt": _export_txt,
    "csv": _export_csv,
    "parquet": _export_parquet,
    "dolma": _export_dolma,
    "sqlite": _export_sqlite,
    "hf": _export_hf,
    "webdataset": _export_webdataset,
    "hocr": _export_hocr,
    "alto": _export_alto,
    "page": _export_page,
    "pdf": _export_pdf,
}
