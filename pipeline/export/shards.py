"""Formats that pack documents into numbered shards, such as part-00000.parquet.

A document stays in its shard, so that a second export writes only the shards with new, changed or removed documents;
new ones fill up the last shard of their split.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from pipeline.batch.page_images import ImageReader
from pipeline.export.base import Count, Exported, ExportJob, Records, conclude, open_lines, select_documents
from pipeline.export.destination import Destination, open_destination
from pipeline.export.documents import Document, pack_page, unpack_page
from pipeline.export.spool import Spool
from pipeline.records import State
from pipeline.workspace.result_lines import ResultLine
from pipeline.workspace.source_names import decode_name, encode_name


@dataclass(frozen=True, slots=True)
class Entry:
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
    record: ResultLine


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
    """

    documents: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    in_doubt: int = 0
    states: Counter[State] = field(default_factory=Counter)
    corrected: int = 0
    checked: int = 0

    def add(self, document: Document, split: str) -> None:
        """Add a document."""
        self.documents += 1
        self.pages[split] += len(document.pages)
        self.in_doubt += sum(page.in_doubt for page in document.pages)
        self.states.update(page.state for page in document.pages)
        self.corrected += sum(page.is_corrected for page in document.pages)
        self.checked += sum(page.is_checked for page in document.pages)


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
    shards: dict[tuple[str, int], _Shard] = {}
    with (
        open_lines(job, images) as records,
        open_destination(job.destination, form, records.count_flaws) as destination,
        Spool(keys=4, values=10) as spool,
    ):
        members = destination.open_members(writer.pages_per_shard)
        for document in select_documents(job, records):
            split = "" if job.split is None else job.split.choose(document.split_key())
            number = members.assign(encode_name(document.name), split, len(document.pages))
            shards.setdefault((split, number), _Shard()).add(document)
            _add_pages(spool, (split, number, totals.documents), document)
            totals.add(document, split)
        members.forget_others()
        for (split, number), rows in groupby(spool.rows(), key=itemgetter(0, 1)):
            shard, key = shards[split, number], f"{split}/{number}".encode()
            digest = job.digest() + shard.content.digest()
            if not destination.is_current(key, digest):
                write = partial(writer.write, entries=_read_entries(rows, split or None, records))
                path = Path(writer.folder) / f"{split or 'part'}-{number:05}{writer.suffix}"
                destination.put_file(key, digest, str(path), write)
            count(shard.pages)
        _put_descriptions(destination, {} if describe is None else describe(totals))
        destination.remove_others()
    return conclude(destination, records, totals.documents, totals.pages.total())


def _put_descriptions(destination: Destination, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        digest = blake2b(content, digest_size=16).digest()
        if not destination.is_current(name.encode(), digest):
            destination.put(name.encode(), digest, [(name, [content])])


def _add_pages(spool: Spool, place: tuple[str, int, int], document: Document) -> None:
    name = encode_name(document.name)
    for number, page in enumerate(document.pages):
        spool.add(*place, number, name, *pack_page(page))


def _read_entries(rows: Iterable[tuple[Any, ...]], split: str | None, records: Records) -> Iterator[Entry]:
    for _, members in groupby(rows, key=itemgetter(2)):
        document = list(members)
        name = decode_name(document[0][4])
        for record in records.read(unpack_page(row[5:]) for row in document):
            yield Entry(name, len(document), split, record)
