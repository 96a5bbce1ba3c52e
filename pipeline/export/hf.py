"""A dataset for Hugging Face: Parquet shards below data/, and a card with their origin, counts and quality."""

import json
from pathlib import Path
from typing import Final

from pipeline.batch.page_images import open_images
from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.parquet import ParquetWriter
from pipeline.export.shards import Totals, export_shards
from pipeline.export.table import COLUMNS
from pipeline.records import State
from pipeline.workspace.run_file import require_workspace

CARD: Final = "README.md"
FOLDER: Final = "data"

_SIZES: Final = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
)  # fmt: skip
# `datasets` caches by the folder's name and these fields, not by the files: without `description` it would load the
# data of an earlier export, or of another folder of that name.
_TEMPLATE: Final = """---
license: {license}
task_categories:
- image-to-text
tags:
- ocr
size_categories:
- {size}
configs:
- config_name: default
  description: "content {content}"
  data_files:
{files}
---

# {title}

{pages:,} pages of {documents:,} documents, recognised with pagemill {version} by the service `{service}`.

| split | pages |
|---|---|
{splits}

## Provenance

Each row is a page: `source` names its file, `id` its content (SHA-256 and page), `host` the service, `added` the time.
Texts are as the service returned them, unless `text_from` says otherwise. {duplicates:,} pages are duplicates of
others, which `duplicate_of` names.

## Quality

The service doubts its own text of {in_doubt:,} pages ({in_doubt_share:.1%}; `in_doubt`, `score`). A person has
corrected {corrected:,} texts (`text_from`, `original_text`) and marked {checked:,} as checked (`checked`).

## Columns

{columns}
"""


class Card:
    """Writes the dataset card.

    Args:
        workspace: The directory given to `-o`.
        title: Of the dataset.
        license_id: As Hugging Face names it, such as cc-by-4.0.
        has_images: Whether there is a column of images.
    """

    def __init__(self, workspace: Path, title: str, license_id: str, *, has_images: bool) -> None:
        self._run = require_workspace(workspace)
        self._title = title
        self._license_id = license_id
        self._columns = (*(("image",) if has_images else ()), *COLUMNS)

    def __repr__(self) -> str:
        return f"<Card {self._title}>"

    def describe(self, totals: Totals) -> dict[str, bytes]:
        """Return the card as a file."""
        pages = totals.pages.total()
        splits = sorted(totals.pages)
        text = _TEMPLATE.format(
            license=_quote(self._license_id),
            size=next((name for bound, name in _SIZES if pages < bound), "n>10M"),
            content=totals.content.hexdigest(),
            files="\n".join(map(_describe_files, splits)),
            title=self._title,
            pages=pages,
            documents=totals.documents,
            version=self._run.version,
            service=self._run.service,
            splits="\n".join(f"| {name or 'train'} | {totals.pages[name]:,} |" for name in splits),
            duplicates=totals.states[State.DUPLICATE],
            in_doubt=totals.in_doubt,
            corrected=totals.corrected,
            checked=totals.checked,
            in_doubt_share=totals.in_doubt / max(1, pages),
            columns="\n".join(f"- `{name}`" for name in self._columns),
        )
        return {CARD: text.encode()}


def _describe_files(split: str) -> str:
    return f"  - split: {_quote(split or 'train')}\n    path: {FOLDER}/{split or 'part'}-*.parquet"


def _quote(text: str) -> str:
    """Return a text as YAML, which takes a bare `no` for false and `1` for a number; JSON is YAML."""
    return json.dumps(text)


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_shards`."""
    with open_images(job.workspace, job.images) as images:
        card = Card(
            job.workspace, job.destination.resolve().name, job.license_id or "unknown", has_images=images is not None
        )
        writer = ParquetWriter(images, FOLDER)
        return export_shards(job, "hf", writer, count, describe=card.describe, images=images)
