"""What a run asks of a ledger, what the ledger answers, and the run as the owner of its reservations."""

import secrets
from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Penalise:
    """Make all runs of the key wait, as the service has asked one of them."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class PaceRefusal:
    """The ledger's answer to a reservation while the account has to wait for longer than a permit is held.

    Attributes:
        wait_s: Seconds after which to ask again.
    """

    wait_s: float


Operation = Reserve | Settle | Penalise
Answer = Permit | QuotaRefusal | ShareRefusal | PaceRefusal | None
"""To a reservation a permit or why there is none; None to any other operation."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a run uses a ledger that other machines share; a ledger of one machine needs none.

    Attributes:
        rate_per_s: Calls that the account allows per second; None for no bound that is known.
        patience_s: How long to wait for a ledger that is away.
        is_ending: Returns True once the run ends and waits only for its settlements.
    """

    rate_per_s: float | None = None
    patience_s: float = 2.0
    is_ending: Callable[[], bool] = lambda: False


class Owner:
    """A run as the owner of its reservations.

    Args:
        owner_id: Random.
    """

    usable_s: float | None = None
    """For how long after a proof of life calls go out; None when nobody takes a living run for dead."""

    def __init__(self, owner_id: str) -> None:
        self.id = owner_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def may_send(self, permit: Permit) -> bool:
        """Return whether the owner is certainly alive to all others, so that a call may go out with the permit."""
        return True


def new_owner_id() -> str:
    """Return a random id for a run as owner."""
    return secrets.token_hex(6)
