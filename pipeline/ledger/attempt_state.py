"""The states of a reservation in the ledger."""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.records import PageId


class AttemptState(StrEnum):
    """State of a reservation in the ledger; all but `void` count as spent.

    Attributes:
        PENDING: Reserved; its outcome is not known yet.
        ACCEPTED: Its text is synced in results.jsonl.
        CHARGED: It was or may have been billed, and brought no text.
        POSTED: Written by release 0.2 and earlier for either of the two.
        VOID: It was not sent, or certainly not billed.
        UNKNOWN: Its run died before it recorded an outcome.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    CHARGED = "charged"
    POSTED = "posted"
    VOID = "void"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """A reservation that an earlier run of this workspace did not settle."""

    id: str
    page: PageId
    state: AttemptState
    source: str = ""
