"""The documents of a workspace: pages with a text, grouped by file or by folder, in page order."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Final, Literal

import msgspec

from pipeline.export.spool import Spool
from pipeline.workspace.finished_pages import FinishedPage
from pipeline.workspace.source_names import decode_name

Grouping = Literal["file", "folder"]

_DIGITS: Final = re.compile(rb"\d+")
_MAX_DIGITS: Final = 40
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(FinishedPage)


@dataclass(frozen=True, slots=True)
class Document:
    """The pages of a file, or of the files of a folder.

    Attributes:
        name: The source of the file; of a folder its path, "" for the root.
        pages: In page order, at least one.
    """

    name: str
    pages: list[FinishedPage]

    def digest(self) -> bytes:
        """Return a digest that changes when a page is added, changed or removed."""
        pages = [(page.source, page.page, page.id, page.state, page.added) for page in self.pages]
        return blake2b(_ENCODER.encode(pages), digest_size=16).digest()

    def split_key(self) -> str:
        """Return what decides about the document's split: equal contents have equal keys."""
        return self.pages[0].id.partition("#")[0] if len({page.source for page in self.pages}) == 1 else self.name


def read_documents(pages: Iterable[FinishedPage], grouping: Grouping) -> Iterator[Document]:
    """Yield the documents of pages that come in the order of their sources' bytes, then of their numbers.

    Args:
        pages: As `read_finished_pages` yields them.
        grouping: "file": a file is a document; "folder": a folder's files are one, in natural order (2 before 10).
    """
    if grouping == "file":
        for source, members in groupby(pages, key=attrgetter("source")):
            yield Document(decode_name(source), list(members))
        return
    with Spool(keys=4, values=1) as spool:
        for page in pages:
            folder, _, name = page.source.rpartition(b"/")
            spool.add(folder, natural_key(name), page.source, page.page, _ENCODER.encode(page))
        for folder, rows in groupby(spool.rows(), key=itemgetter(0)):
            yield Document(decode_name(folder), [_DECODER.decode(row[-1]) for row in rows])


def natural_key(name: bytes) -> bytes:
    """Return a key that sorts numbers in names by their values: "p2" before "p10"."""
    return _DIGITS.sub(lambda match: match[0].lstrip(b"0").rjust(_MAX_DIGITS, b"0"), name)
