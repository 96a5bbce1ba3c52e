"""The documents of each shard, in a temporary file until the shard is written: memory does not grow with the pages."""

from collections.abc import Iterable, Iterator
from itertools import count, groupby
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from pipeline.export.documents import Document
from pipeline.export.spool import Spool
from pipeline.workspace.finished_pages import FinishedPage
from pipeline.workspace.source_names import decode_name, encode_name

ShardKey = tuple[str, int]
"""Split, "" without any, and number within it."""

_PAGES_PER_SAVE: Final = 500
"""A row of the file holds as many of them as are in one shard: a row per document takes ten times as long."""
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[tuple[bytes, list[FinishedPage]]])


class ShardPages:
    """The documents by shard; a context manager."""

    def __init__(self) -> None:
        self._spool = Spool(keys=3, values=1)
        self._unsaved: dict[ShardKey, list[tuple[bytes, list[FinishedPage]]]] = {}
        self._unsaved_pages = 0
        self._numbers = count()

    def __repr__(self) -> str:
        return f"<ShardPages {self._unsaved_pages} unsaved>"

    def __enter__(self) -> Self:
        self._spool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.__exit__(kind, error, trace)

    def add(self, shard: ShardKey, document: Document) -> None:
        """Add a document behind those that its shard has."""
        self._unsaved.setdefault(shard, []).append((encode_name(document.name), document.pages))
        self._unsaved_pages += len(document.pages)
        if self._unsaved_pages >= _PAGES_PER_SAVE:
            self._save()

    def shards(self) -> Iterator[tuple[ShardKey, Iterator[Document]]]:
        """Yield each shard in order, with its documents."""
        self._save()
        for (split, number), rows in groupby(self._spool.rows(), key=itemgetter(0, 1)):
            yield (split, number), _decode(rows)

    def _save(self) -> None:
        for (split, number), documents in self._unsaved.items():
            self._spool.add(split, number, next(self._numbers), _ENCODER.encode(documents))
        self._unsaved.clear()
        self._unsaved_pages = 0


def _decode(rows: Iterable[tuple[Any, ...]]) -> Iterator[Document]:
    for *_, documents in rows:
        for name, pages in _DECODER.decode(documents):
            yield Document(decode_name(name), pages)
