"""Dolma: compressed JSON lines, one per document, as toolkits for language-model data read them.

Fields by https://github.com/allenai/dolma/blob/main/docs/data-format.md; `attributes.pdf_page_numbers` as olmOCR writes
it: [first character, end, page] of each page.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.shards import Entry, export_shards
from pipeline.wire import replace_surrogates

_LEVEL: Final = 3
_PAGE_BREAK: Final = "\n\n"
_VERSION: Final = 1


class DolmaWriter:
    """Writes `documents/part-00000.jsonl.zst` and so on."""

    suffix = ".jsonl.zst"
    folder = "documents"
    pages_per_shard = 100_000

    def __repr__(self) -> str:
        return "<DolmaWriter>"

    def write(self, path: Path, entries: Iterator[Entry]) -> None:
        """Write a shard, a line per document."""
        with path.open("wb") as file, zstandard.ZstdCompressor(_LEVEL).stream_writer(file, closefd=False) as lines:
            for _, pages in groupby(entries, key=lambda entry: entry.document):
                lines.write(orjson.dumps(_describe(list(pages)), option=orjson.OPT_APPEND_NEWLINE))


def _describe(pages: list[Entry]) -> dict[str, Any]:
    """Return the line of a document."""
    text, numbers = _join(pages)
    first = pages[0].record
    metadata = {
        "pages": len(pages),
        "sources": sorted({entry.record.source for entry in pages}),
        "ids": [entry.record.id for entry in pages],
        "scores": [None if entry.record.quality is None else entry.record.quality.score for entry in pages],
        "text_from": [entry.record.text_from or "service" for entry in pages],
        "checked": [None if (review := entry.record.review) is None else review.checked for entry in pages],
        "meta": first.meta,
    }
    return {
        "id": first.id if len(pages) == 1 else first.id.partition("#")[0],
        "text": text,
        "source": first.reply.host,
        "added": max(entry.record.added for entry in pages),
        "created": min(entry.record.added for entry in pages),
        "version": f"pagemill-{_VERSION}",
        "metadata": {"document": replace_surrogates(pages[0].document), **metadata},
        "attributes": {"pdf_page_numbers": numbers},
    }


def _join(pages: Iterable[Entry]) -> tuple[str, list[list[int]]]:
    parts: list[str] = []
    numbers = []
    begin = 0
    for entry in pages:
        if parts:
            parts.append(_PAGE_BREAK)
            begin += len(_PAGE_BREAK)
        parts.append(entry.record.text)
        numbers.append([begin, begin + len(entry.record.text), entry.record.page])
        begin += len(entry.record.text)
    return "".join(parts), numbers


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_shards`."""
    return export_shards(job, "dolma", DolmaWriter(), count)
