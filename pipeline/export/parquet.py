"""Parquet: shards of typed columns, compressed with Zstandard; imported only when it is chosen.

With images, `datasets.load_dataset("parquet", …)` reads a column of images: a struct of bytes and path, and the
features in the schema's metadata under the key `huggingface`.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.batch.page_images import ImageReader, PageImage, open_images
from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.shards import Entry, export_shards
from pipeline.export.table import COLUMNS, row

PAGES_PER_SHARD: Final = 100_000
IMAGES_PER_SHARD: Final = 1000
_ROWS_PER_BATCH: Final = 250
"""Few enough for the processor's cache: columns of batches of 10,000 take twice as long to make."""
_ROWS_PER_GROUP: Final = 10_000
_IMAGES_PER_GROUP: Final = 100
"""Hugging Face reads a row group as a whole."""
_TYPES: Final = {
    "page": "int32",
    "pages": "int32",
    "characters": "int32",
    "score": "float32",
    "in_doubt": "bool",
    "width_px": "int32",
    "height_px": "int32",
    "scale": "float32",
    "rotation_deg": "int16",
    "elapsed_ms": "int64",
}
"""All other columns are strings."""
_IMAGE: Final = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
SCHEMA: Final = pa.schema([(name, pa.type_for_alias(_TYPES.get(name, "string"))) for name in COLUMNS])


class ParquetWriter:
    """Writes shards with the columns of `table.COLUMNS`, and `image` before them when there are images.

    Args:
        images: Of the pages; None for none.
        folder: Of the shards below the destination.
    """

    suffix = ".parquet"

    def __init__(self, images: ImageReader | None = None, folder: str = "") -> None:
        self._images = images
        self.folder = folder
        self.pages_per_shard = PAGES_PER_SHARD if images is None else IMAGES_PER_SHARD

    def __repr__(self) -> str:
        return f"<ParquetWriter {self._images!r}>"

    def write(self, path: Path, entries: Iterator[Entry]) -> None:
        """Write a shard in row groups."""
        schema = SCHEMA if self._images is None else _with_image(SCHEMA)
        rows = map(_row, entries) if self._images is None else map(_image_row, self._read(entries))
        size = _ROWS_PER_GROUP if self._images is None else _IMAGES_PER_GROUP
        with (
            pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as file,
            ThreadPoolExecutor(1) as thread,
        ):
            written: Future[None] | None = None
            while group := _make_table(islice(rows, size), schema):
                if written is not None:
                    written.result()
                written = thread.submit(file.write_table, group)  # compresses while the next group is read
                if self._images is not None:  # two groups of images would take too much memory
                    written.result()
            if written is not None:
                written.result()

    def _read(self, entries: Iterator[Entry]) -> Iterator[tuple[Entry, PageImage | None]]:
        assert self._images is not None
        return self._images.read((entry, entry.record) for entry in entries)


def _make_table(rows: Iterator[tuple[Any, ...]], schema: pa.Schema) -> pa.Table | None:
    """Return a row group; None without rows."""
    batches = []
    while batch := list(islice(rows, _ROWS_PER_BATCH)):
        values = zip(zip(*batch, strict=True), schema, strict=True)
        columns = [pa.array(list(column), field.type) for column, field in values]
        batches.append(pa.record_batch(columns, schema=schema))
    return pa.Table.from_batches(batches) if batches else None


def _row(entry: Entry) -> tuple[Any, ...]:
    return row(entry.document, entry.pages, entry.record, entry.split)


def _image_row(item: tuple[Entry, PageImage | None]) -> tuple[Any, ...]:
    entry, image = item
    value = None if image is None else {"bytes": image.data, "path": Path(entry.record.source).stem + image.suffix}
    return value, *_row(entry)


def _with_image(schema: pa.Schema) -> pa.Schema:
    """Return the schema with an image before the other columns, as Hugging Face's datasets know it."""
    features: dict[str, Any] = {name: {"dtype": _TYPES.get(name, "string"), "_type": "Value"} for name in schema.names}
    info = orjson.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})
    return pa.schema([_IMAGE, *schema], metadata={b"huggingface": info})


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_shards`."""
    with open_images(job.workspace, job.images) as images:
        return export_shards(job, "parquet", ParquetWriter(images), count, images=images)
