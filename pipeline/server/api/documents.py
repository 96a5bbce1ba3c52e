"""Answers that can be looked up again by their id, for as long as there is room."""

from collections import OrderedDict
from typing import Final

KEPT_AT_MOST: Final = 1_000
KEPT_MAX_BYTES: Final = 16 * 1024 * 1024
"""An answer has a few kB; with all positions of a dense page a few 100."""


class Documents:
    """The latest answers, in memory; the oldest makes room.

    Args:
        at_most: Number of answers.
        max_bytes: What they may hold together; a larger one is not kept.
    """

    def __init__(self, at_most: int = KEPT_AT_MOST, max_bytes: int = KEPT_MAX_BYTES) -> None:
        self._at_most = at_most
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Documents {len(self._answers)}, {self._bytes} bytes>"

    def __len__(self) -> int:
        return len(self._answers)

    def keep(self, caller: str, document_id: str, answer: bytes) -> None:
        """Keep an answer for the caller who got it.

        Args:
            caller: The caller's name.
            document_id: Not used before.
            answer: The body that was sent.
        """
        if len(answer) > self._max_bytes:
            return  # nobody else's has to go for one that cannot stay
        self._answers[caller, document_id] = answer
        self._bytes += len(answer)
        while len(self._answers) > self._at_most or self._bytes > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest)

    def find(self, caller: str, document_id: str) -> bytes | None:
        """Return an answer that this caller got; None when there is none, or no longer."""
        return self._answers.get((caller, document_id))
