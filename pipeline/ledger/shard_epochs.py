"""Epochs: which attempt at a shard of a cluster's job may call and commit; at most one at a time.

Each attempt gets the next epoch of its shard, once the owner of the one before is dead. From then on the ledger takes
nothing from the former owner, neither a reservation nor a settlement nor a commit, should it wake up again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Begun:
    """The attempt may work, in this epoch of its shard: 1 for the first attempt."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Held:
    """Another attempt is alive; ask again after so many seconds."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Commit:
    """How an attempt has ended that has committed its shard."""

    epoch: int
    exit_code: int

    @property
    def is_done(self) -> bool:
        """True when the shard needs no further attempt; after failures of pages, a later run makes one."""
        return self.exit_code == 0


class ShardEpochs(Protocol):
    """The epochs of one job's shards in a ledger. One thread at a time calls it; it blocks.

    Every method raises LedgerError when the ledger cannot be trusted, and TemporaryError when it is away.
    """

    def begin(self, shard: int, owner: str, above: int = 0) -> Begun | Held | Commit:
        """Begin the next epoch of a shard, unless it is done or the owner of the last epoch is alive.

        Args:
            shard: Its number, 1-based.
            owner: The id of the run that makes the attempt.
            above: The new epoch is greater than this, too: another ledger has given epochs up to it.
        """

    def commit(self, shard: int, epoch: int, owner: str, exit_code: int) -> bool:
        """Note that an attempt has finished its shard; False, and nothing is noted, when a later one has begun."""

    def committed(self) -> Mapping[int, Commit]:
        """Return the shards whose last attempt has committed."""
