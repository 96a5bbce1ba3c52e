"""What a run asks of a ledger, what the ledger answers, and the run as the owner of its reservations."""

import secrets
from dataclasses import dataclass

from pipeline.billing import NightShare, QuotaRefusal
from pipeline.ledger.attempt_state import AttemptState
from pipeline.records import PageId


@dataclass(frozen=True, slots=True)
class Reserve:
    """Count one call for a page before it is made; the source names the page in messages."""

    page: PageId
    source: str = ""


@dataclass(frozen=True, slots=True)
class Settle:
    """Record the outcome of a reserved call."""

    attempt: str
    state: AttemptState


@dataclass(frozen=True, slots=True)
class Permit:
    """A reservation: the call counts from now on.

    Attributes:
        attempt: Id of the reserved call.
        delay_s: Seconds after the answer before which the account may not send it.
        epoch: Of the owner's lease under which it was given; another one has ended it.
    """

    attempt: str
    delay_s: float = 0.0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ShareRefusal:
    """The ledger's answer to a reservation when tonight's share is made.

    Attributes:
        share: As it was when the run began.
        others: Calls that other runs have made tonight, before and beside this one.
    """

    share: NightShare
    others: int

    def __str__(self) -> str:
        return self.share.describe_end(self.others)


Operation = Reserve | Settle
Answer = Permit | QuotaRefusal | ShareRefusal | None
"""To a reservation a permit or why there is none; None to any other operation."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A run as the owner of its reservations.

    Attributes:
        id: Random.
    """

    id: str

    def may_send(self, permit: Permit) -> bool:
        """Return whether the owner is certainly alive to all others, so that a call may go out with the permit."""
        return True


def new_owner_id() -> str:
    """Return a random id for a run as owner."""
    return secrets.token_hex(6)
