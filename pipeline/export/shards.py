"""Formats that pack documents into numbered shards, such as part-00000.parquet.

A document stays in its shard, so that a second export writes only the shards with new, changed or removed documents;
new ones fill up the last shard of their split.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from pipeline.batch.page_images import ImageReader
from pipeline.export.base import Count, Exported, ExportJob, Records, conclude, open_lines, select_documents
from pipeline.export.destination import Destination, open_destination
from pipeline.export.documents import Document
from pipeline.export.shard_pages import ShardKey, ShardPages
from pipeline.records import State
from pipeline.workspace.page_texts import PageText
from pipeline.workspace.source_names import encode_name

_STATE: Final = attrgetter("state")
_FLAGS: Final = tuple(map(attrgetter, ("in_doubt", "is_corrected", "is_checked")))


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A page of a shard.

    Attributes:
        document: Name of its document.
        pages: Number of the document's pages, as far as they are exported.
        split: Name of its split; None without any.
        record: The page's record.
    """

    document: str
    pages: int
    split: str | None
    record: PageText


@dataclass(slots=True)
class Totals:
    """What the shards hold.

    Attributes:
        documents: Number of documents.
        pages: Number of pages by split; "" without any.
        in_doubt: Number of pages whose text the service doubts.
        states: Number of pages by state.
        corrected: Number of pages whose text a person wrote.
        checked: Number of pages whose text a person marked as checked.
        content: Hash of the names and digests of the shards, and of what they lack.
    """

    documents: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    in_doubt: int = 0
    states: Counter[State] = field(default_factory=Counter)
    corrected: int = 0
    checked: int = 0
    content: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, document: Document, split: str) -> None:
        """Add a document."""
        self.documents += 1
        self.pages[split] += len(document.pages)
        self.states.update(map(_STATE, document.pages))
        in_doubt, corrected, checked = (sum(map(flag, document.pages)) for flag in _FLAGS)
        self.in_doubt += in_doubt
        self.corrected += corrected
        self.checked += checked


Describe = Callable[[Totals], Mapping[str, bytes]]
"""Returns files that describe the shards, by their paths."""


class ShardWriter(Protocol):
    """A format whose files hold many documents."""

    suffix: str
    """Of a shard's file, such as ".parquet"."""
    folder: str
    """Folder of the shards below the destination, "" for the destination itself."""
    pages_per_shard: int
    """A shard takes documents until it holds this many pages."""

    def write(self, path: Path, entries: Iterator[Entry]) -> None:
        """Write a shard's file.

        Args:
            path: Of a temporary file.
            entries: Its pages, documents whole and one after another.
        """
        ...


@dataclass(slots=True)
class _Shard:
    """The documents of a shard, as far as they were assigned.

    Attributes:
        pages: Number of pages.
        content: Hash of names and digests of the documents.
    """

    pages: int = 0
    content: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, document: Document) -> None:
        """Add a document."""
        self.pages += len(document.pages)
        self.content.update(encode_name(document.name) + b"\0" + document.digest())


def export_shards(
    job: ExportJob,
    form: str,
    writer: ShardWriter,
    count: Count,
    *,
    describe: Describe | None = None,
    images: ImageReader | None = None,
) -> Exported:
    """Write each shard that is new or changed, and remove those without documents.

    Args:
        job: What is exported.
        form: The format's name.
        writer: Of the format.
        count: Called with the number of pages of each shard.
        describe: Of the format, when it has files beside the shards.
        images: Of the pages, if the writer reads them.

    Raises:
        UsageError: the destination cannot be used.
        StorageError: the workspace cannot be read, or the destination not be written.
    """
    totals = Totals()
    shards: dict[ShardKey, _Shard] = {}
    with (
        open_lines(job, images) as records,
        open_destination(job.destination, form, records.count_flaws) as destination,
        ShardPages() as shard_pages,
    ):
        members = destination.open_members(writer.pages_per_shard)
        for document in select_documents(job, records):
            split = "" if job.split is None else job.split.choose(document.split_key())
            number = members.assign(encode_name(document.name), split, len(document.pages))
            shards.setdefault((split, number), _Shard()).add(document)
            shard_pages.add((split, number), document)
            totals.add(document, split)
        members.forget_others()
        for (split, number), documents in shard_pages.shards():
            shard, key = shards[split, number], f"{split}/{number}".encode()
            digest = job.digest() + shard.content.digest()
            if not destination.is_current(key, digest):
                write = partial(writer.write, entries=_read_entries(documents, split or None, records))
                path = Path(writer.folder) / f"{split or 'part'}-{number:05}{writer.suffix}"
                destination.put_file(key, digest, str(path), write)
            totals.content.update(key + digest + b"%d" % records.count_flaws())
            count(shard.pages)
        _put_descriptions(destination, {} if describe is None else describe(totals))
        destination.remove_others()
    return conclude(destination, records, totals.documents, totals.pages.total())


def _put_descriptions(destination: Destination, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        digest = blake2b(content, digest_size=16).digest()
        if not destination.is_current(name.encode(), digest):
            destination.put(name.encode(), digest, [(name, [content])])


def _read_entries(documents: Iterable[Document], split: str | None, records: Records) -> Iterator[Entry]:
    for document in documents:
        pages = len(document.pages)
        for record in records.read_texts(document.pages):
            yield Entry(document.name, pages, split, record)
