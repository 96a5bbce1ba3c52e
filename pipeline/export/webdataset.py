"""WebDataset: numbered TARs whose files of one stem are a sample: image, text and JSON.

Source: https://github.com/webdataset/webdataset: the key of a sample is its name up to the first dot.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.batch.page_images import ImageReader, PageImage, open_images
from pipeline.export.base import Count, Exported, ExportJob
from pipeline.export.shards import Entry, export_shards
from pipeline.export.table import COLUMNS, row


class WebDatasetWriter:
    """Writes shards of a thousand pages.

    Args:
        images: Of the pages; None writes texts alone.
    """

    suffix = ".tar"
    folder = ""
    pages_per_shard = 1000

    def __init__(self, images: ImageReader | None) -> None:
        self._images = images

    def __repr__(self) -> str:
        return f"<WebDatasetWriter {self._images!r}>"

    def write(self, path: Path, entries: Iterator[Entry]) -> None:
        """Write a shard; a page whose image is missing has none in its sample."""
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as shard:
            for number, (entry, image) in enumerate(self._with_images(entries)):
                key = f"{number:06}-{entry.record.id.removeprefix('sha256:')[:16]}-{entry.record.page:04}"
                for suffix, data in _files(entry, image):
                    _add(shard, key + suffix, data)

    def _with_images(self, entries: Iterator[Entry]) -> Iterator[tuple[Entry, PageImage | None]]:
        if self._images is None:
            return ((entry, None) for entry in entries)
        return self._images.read((entry, entry.record) for entry in entries)


def _files(entry: Entry, image: PageImage | None) -> Iterator[tuple[str, bytes]]:
    """Yield the suffixes and contents of a sample's files."""
    if image is not None:
        yield image.suffix, image.data
    yield ".txt", entry.record.text.encode()
    values = dict(zip(COLUMNS, row(entry.document, entry.pages, entry.record, entry.split), strict=True))
    fields: dict[str, Any] = {**values, "meta": entry.record.meta}
    del fields["text"]
    yield ".json", orjson.dumps(fields)


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    shard.addfile(member, io.BytesIO(data))


def export(job: ExportJob, count: Count) -> Exported:
    """Export; see `export_shards`."""
    with open_images(job.workspace, job.images) as images:
        return export_shards(job, "webdataset", WebDatasetWriter(images), count, images=images)
