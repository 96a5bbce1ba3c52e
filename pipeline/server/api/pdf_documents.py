"""The PDFs that callers have sent to the page: in memory, for a while, within a bound that callers share."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

HELD_MAX_BYTES: Final = 128 * 1024 * 1024
"""Of all documents together."""
IDLE_S: Final = 900.0
"""A document that nobody has asked for in this time is dropped. The page sends it again when it is needed."""


@dataclass(slots=True)
class Document:
    """A PDF.

    Attributes:
        owner: The caller that sent it.
        content: The file.
        pages: Number of its pages.
        used_s: When it was last asked for, on a monotonic clock.
    """

    owner: str
    content: bytes = field(repr=False)
    pages: int
    used_s: float


class HeldDocuments:
    """Documents by id; those that were not used for the longest time come first.

    Args:
        max_bytes: Size of all documents together.
        idle_s: See `IDLE_S`.
    """

    def __init__(self, max_bytes: int = HELD_MAX_BYTES, idle_s: float = IDLE_S) -> None:
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def __repr__(self) -> str:
        return f"<HeldDocuments {len(self)}, {sum(self._bytes_by_owner().values())} bytes>"

    def __len__(self) -> int:
        return len(self._documents)

    def keep(self, document_id: str, document: Document) -> None:
        """Keep a document; where there is no room, the caller that holds most loses the one it used the longest ago.

        Args:
            document_id: An id that was not used before.
            document: Of at most `max_bytes`.
        """
        self.drop_idle(document.used_s)
        self._documents[document_id] = document
        while (held := self._bytes_by_owner()).total() > self._max_bytes:
            owner = max(held, key=held.__getitem__)
            oldest = next(key for key, other in self._documents.items() if other.owner == owner)
            del self._documents[oldest]

    def find(self, owner: str, document_id: str, now_s: float) -> Document | None:
        """Return a document that this caller sent; None when there is none, or it was dropped."""
        self.drop_idle(now_s)
        document = self._documents.get(document_id)
        if document is None or document.owner != owner:
            return None
        document.used_s = now_s
        self._documents.move_to_end(document_id)
        return document

    def drop(self, owner: str, document_id: str) -> None:
        """Drop a document of this caller, if it is held."""
        document = self._documents.get(document_id)
        if document is not None and document.owner == owner:
            del self._documents[document_id]

    def drop_idle(self, now_s: float) -> None:
        """Drop the documents that nobody has asked for in `idle_s`."""
        while self._documents and now_s - next(iter(self._documents.values())).used_s >= self._idle_s:
            self._documents.popitem(last=False)

    def _bytes_by_owner(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for document in self._documents.values():
            held[document.owner] += len(document.content)
        return held
