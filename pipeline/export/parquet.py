"""Parquet: shards of typed columns, compressed with Zstandard; imported only when it is chosen."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.shards import Entry
from pipeline.export.table import COLUMNS, row

_ROWS_PER_BATCH: Final = 10_000
_TYPES: Final = {
    "page": pa.int32(),
    "pages": pa.int32(),
    "characters": pa.int32(),
    "score": pa.float32(),
    "in_doubt": pa.bool_(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "scale": pa.float32(),
    "rotation_deg": pa.int16(),
    "elapsed_ms": pa.int64(),
}
"""All other columns are strings."""
SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


class ParquetWriter:
    """Writes shards with the columns of `table.COLUMNS`."""

    suffix = ".parquet"
    folder = ""
    pages_per_shard = 100_000

    def __repr__(self) -> str:
        return "<ParquetWriter>"

    def write(self, path: Path, entries: Iterator[Entry]) -> None:
        """Write a shard in row groups of 10,000 pages."""
        with pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=3) as file:
            rows = (row(entry.document, entry.pages, entry.record, entry.split) for entry in entries)
            while batch := list(islice(rows, _ROWS_PER_BATCH)):
                columns = [
                    pa.array(values, field.type) for values, field in zip(zip(*batch, strict=True), SCHEMA, strict=True)
                ]
                file.write_batch(pa.record_batch(columns, schema=SCHEMA))
