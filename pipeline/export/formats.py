"""The formats by name; the module and the libraries of a format are imported when it is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from pipeline.errors import UsageError
from pipeline.export.base import Count, Exported, ExportJob


@dataclass(frozen=True, slots=True)
class Format:
    """Where a format is.

    Attributes:
        module: Below `pipeline.export`; its function `export` takes the job and what counts the pages.
        needs: A library that the module imports; None for none.
        extra: The extra that installs it.
        options: The flags, of those that only some formats have, that it has.
    """

    module: str
    needs: str | None = None
    extra: str = "export"
    options: tuple[str, ...] = ()


FORMATS: Final[Mapping[str, Format]] = {
    "txt": Format("txt", options=("--per",)),
    "csv": Format("csv_table"),
    "sqlite": Format("sqlite_database"),
    "parquet": Format("parquet", "pyarrow", "parquet", ("--images",)),
    "hf": Format("hf", "pyarrow", "parquet", ("--images", "--license")),
    "webdataset": Format("webdataset", options=("--images",)),
    "dolma": Format("dolma", "zstandard"),
    "hocr": Format("hocr"),
    "page": Format("page_xml", "lxml"),
    "alto": Format("alto", "lxml"),
    "pdf": Format("searchable_pdf", "pikepdf", options=("--images",)),
}


def export(job: ExportJob, form: str, count: Count) -> Exported:
    """Export to a format.

    Args:
        job: What is exported.
        form: One of `FORMATS`.
        count: Called with numbers of pages that were just exported.

    Raises:
        UsageError: the format has no such option, a library is not installed, or the destination cannot be used.
        StorageError: the workspace cannot be read, or the destination not be written.
    """
    chosen = FORMATS[form]
    given = {"--per": job.per_page, "--images": job.images, "--license": job.license_id}
    for option in (option for option, value in given.items() if value is not None and option not in chosen.options):
        those = ", ".join(name for name, each in FORMATS.items() if option in each.options)
        raise UsageError(f"{option}: {form} has no such option; these formats have: {those}")
    if chosen.needs is not None and find_spec(chosen.needs) is None:
        raise UsageError(f"this format needs the extra {chosen.extra}: pip install 'pagemill[{chosen.extra}]'")
    export_to: Callable[[ExportJob, Count], Exported] = import_module(f"pipeline.export.{chosen.module}").export
    return export_to(job, count)
