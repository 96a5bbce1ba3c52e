"""Records as rows of a table: flat, with one type per column, so that pandas, Polars and Arrow agree on them."""

from typing import Any, Final

import orjson

from pipeline.records import Record
from pipeline.wire import replace_surrogates
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.reviewed import is_reviewed

PAGE_COLUMNS: Final = (
    "source", "page", "state", "text", "characters", "id", "sha256", "duplicate_of", "text_from", "checked",
    "original_text", "score", "in_doubt", "format", "width_px", "height_px", "scale", "rotation_deg", "host", "added",
    "elapsed_ms", "meta",
)  # fmt: skip
"""The columns that concern a page alone; `checked`: when a person marked the text as checked; `original_text`: of a
text that a person wrote; `meta`: the manifest's further fields, as JSON."""


def page_values(record: Record | PageText) -> tuple[Any, ...]:
    """Return the values of `PAGE_COLUMNS` of a page."""
    prep, quality, review = record.prep, record.quality, record.review
    original = None if review is None else review.original
    return (
        record.source,
        record.page,
        record.state.value,
        record.text,
        len(record.text),
        record.id,
        record.sha256,
        record.duplicate_of,
        record.text_from or "service",
        None if review is None else review.checked,
        None if original is None else original.text,
        None if quality is None else quality.score,
        None if quality is None else quality.is_in_doubt and not is_reviewed(record),
        None if prep is None else prep.format,
        None if prep is None else prep.width_px,
        None if prep is None else prep.height_px,
        None if prep is None else prep.scale,
        None if prep is None else prep.rotation_deg,
        record.reply.host,
        record.added,
        record.elapsed_ms,
        None if record.meta is None else orjson.dumps(record.meta).decode(),
    )


def to_row(record: Record) -> dict[str, Any]:
    """Return a record as a row: the columns of `pagemill export --to parquet` that concern the page alone.

    Each column has one type, or None. `meta`, which may hold anything, is JSON. Bytes of names that are not UTF-8 are
    U+FFFD, because tables hold no surrogates; `record.source` and `results.jsonl` have the exact name.
    """
    row = dict(zip(PAGE_COLUMNS, page_values(record), strict=True))
    for name in ("source", "duplicate_of"):
        row[name] = None if row[name] is None else replace_surrogates(row[name])
    row["scale"] = None if row["scale"] is None else float(row["scale"])
    return row
