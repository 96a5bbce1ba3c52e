"""The documents of a workspace: pages with a text, grouped by file or by folder, in page order."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal

from pipeline.export.spool import Spool
from pipeline.records import State
from pipeline.workspace.finished_pages import FinishedPage
from pipeline.workspace.source_names import decode_name

Grouping = Literal["file", "folder"]

_DIGITS: Final = re.compile(rb"\d+")
_MAX_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class Document:
    """The pages of a file, or of the files of a folder.

    Attributes:
        name: The source of the file; of a folder its path, "" for the root.
        pages: In page order, at least one.
    """

    name: str
    pages: Sequence[FinishedPage]

    def digest(self) -> bytes:
        """Return a digest that changes when a page is added, changed or removed."""
        digest = blake2b(digest_size=16)
        for page in self.pages:
            digest.update(b"%b\0%d\0%b\0%b\0%b\n" % (
                page.source, page.page, page.id.encode(), page.state.value.encode(), page.added.encode(),
            ))  # fmt: skip
        return digest.digest()

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
        for source, members in groupby(pages, key=lambda page: page.source):
            yield Document(decode_name(source), list(members))
        return
    with Spool(keys=4, values=7) as spool:
        for page in pages:
            folder, _, name = page.source.rpartition(b"/")
            spool.add(folder, natural_key(name), *pack_page(page))
        for folder, rows in groupby(spool.rows(), key=itemgetter(0)):
            yield Document(decode_name(folder), [unpack_page(row[2:]) for row in rows])


def natural_key(name: bytes) -> bytes:
    """Return a key that sorts numbers in names by their values: "p2" before "p10"."""
    return _DIGITS.sub(lambda match: match[0].lstrip(b"0").rjust(_MAX_DIGITS, b"0"), name)


def pack_page(page: FinishedPage) -> tuple[Any, ...]:
    """Return a page as the values of a spool's row."""
    flags = page.is_checked, page.is_corrected
    return page.source, page.page, page.state.value, page.added, page.in_doubt, page.id, page.offset, *flags


def unpack_page(values: Sequence[Any]) -> FinishedPage:
    """Return the page of the values of `pack_page`."""
    source, page, state, added, in_doubt, page_id, offset, is_checked, is_corrected = values
    flags = bool(is_checked), bool(is_corrected)
    return FinishedPage(source, page, State(state), added, bool(in_doubt), page_id, offset, *flags)
