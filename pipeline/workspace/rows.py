"""Records as rows of a table: flat, with one type per column, so that pandas, Polars and Arrow agree on them."""

from typing import Any

import orjson

from pipeline.records import Record
from pipeline.wire import replace_surrogates
from pipeline.workspace.reviewed import is_reviewed


def to_row(record: Record) -> dict[str, Any]:
    """Return a record as a row: the columns of `pagemill export --to parquet` that concern the page alone.

    Each column has one type, or None. `meta`, which may hold anything, is JSON. Bytes of names that are not UTF-8 are
    U+FFFD, because tables hold no surrogates; `record.source` and `results.jsonl` have the exact name.
    """
    prep, quality, review = record.prep, record.quality, record.review
    original = None if review is None else review.original
    return {
        "source": replace_surrogates(record.source),
        "page": record.page,
        "state": record.state.value,
        "text": record.text,
        "characters": len(record.text),
        "id": record.id,
        "sha256": record.sha256,
        "duplicate_of": None if record.duplicate_of is None else replace_surrogates(record.duplicate_of),
        "text_from": record.text_from or "service",
        "checked": None if review is None else review.checked,
        "original_text": None if original is None else original.text,
        "score": None if quality is None else quality.score,
        "in_doubt": None if quality is None else quality.is_in_doubt and not is_reviewed(record),
        "format": None if prep is None else prep.format,
        "width_px": None if prep is None else prep.width_px,
        "height_px": None if prep is None else prep.height_px,
        "scale": None if prep is None else float(prep.scale),
        "rotation_deg": None if prep is None else prep.rotation_deg,
        "host": record.reply.host,
        "added": record.added,
        "elapsed_ms": record.elapsed_ms,
        "meta": None if record.meta is None else orjson.dumps(record.meta).decode(),
    }
