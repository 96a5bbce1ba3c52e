"""The leanest loops over results.jsonl, which exports are compared with: `parse` writes nothing, `convert` Parquet.

    python -m tests.benchmarks.export_loops parse|convert RESULTS

They parse each line with orjson, and have neither checksums, the last record of each page, order, nor notes.
"""

import sys
from itertools import islice
from pathlib import Path

import orjson

_GROUP = 10_000


def parse_lines(results: Path) -> None:
    """Parse every line."""
    with results.open("rb") as file:
        for line in file:
            orjson.loads(line)


def convert_lines(results: Path) -> None:
    """Write all lines to one Parquet file beside them, in batches."""
    import pyarrow as pa  # noqa: PLC0415 - the other loop needs none
    import pyarrow.parquet as pq  # noqa: PLC0415

    with results.open("rb") as file:
        names = sorted(orjson.loads(file.readline()).keys() - {"prep", "reply"})
        file.seek(0)
        schema = pa.Table.from_pylist([_take(file.readline(), names)]).schema
        file.seek(0)
        with pq.ParquetWriter(
            results.with_name("lean.parquet"), schema, compression="zstd", compression_level=3
        ) as writer:
            while lines := list(islice(file, _GROUP)):
                writer.write_table(pa.Table.from_pylist([_take(line, names) for line in lines], schema))


def _take(line: bytes, names: list[str]) -> dict[str, object]:
    record = orjson.loads(line)
    return {**{name: record[name] for name in names}, **record["prep"], "host": record["reply"]["host"]}


if __name__ == "__main__":
    {"parse": parse_lines, "convert": convert_lines}[sys.argv[1]](Path(sys.argv[2]))
