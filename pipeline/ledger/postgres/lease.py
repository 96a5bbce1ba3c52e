"""A run as the owner of its reservations: alive to all others as long as it renews its lease in the database.

The lease is measured twice. The server ends it by its own clock. The run counts from before it sent the request that
renewed it, by a clock that does not stop while the machine sleeps, and sends nothing in the last fifth: a run that the
others take for dead has stopped before them. A lease that is renewed after its end begins a new epoch, in which no
permit of the former one may be used.
"""

import time
from typing import Final

from pipeline.ledger.operations import Owner, Permit

LEASE_S: Final = 30.0
_UNUSED: Final = 0.2
"""The last share of a lease, in which no call goes out: it is for one that is just being sent."""
BEATS: Final = 3
"""Renewals per lease: two may be lost."""


def awake_s() -> float:
    """Return the seconds of a clock that neither goes back nor stops while the machine sleeps."""
    clock: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class LeasedOwner(Owner):
    """The owner of a lease.

    Args:
        owner_id: Random.
        lease_s: Length of the lease.
    """

    usable_s: float

    def __init__(self, owner_id: str, lease_s: float) -> None:
        super().__init__(owner_id)
        self.usable_s = (1 - _UNUSED) * lease_s
        self._unused_s = _UNUSED * lease_s
        self._epoch = 0
        self._usable_until_s = 0.0

    def renew(self, asked_s: float, epoch: int, left_s: float) -> None:
        """Note how long the lease still lasts.

        Args:
            asked_s: Time of `awake_s` before the request was sent.
            epoch: Of the lease.
            left_s: Seconds from the answer until it ends.
        """
        if epoch >= self._epoch:
            self._epoch = epoch
            self._usable_until_s = max(self._usable_until_s, asked_s + left_s - self._unused_s)

    def may_send(self, permit: Permit) -> bool:
        """Return whether the lease under which the permit was given still has a fifth of its time."""
        return permit.epoch == self._epoch and awake_s() < self._usable_until_s


class ServerClock:
    """The server's time, told from this machine's clock since the last answer: all machines count the same months."""

    def __init__(self) -> None:
        self._offset_s = 0.0

    def note(self, server_s: float) -> None:
        """Note the time of an answer that has just come."""
        self._offset_s = server_s - awake_s()

    def now_s(self) -> float:
        """Return the seconds since 1970."""
        return self._offset_s + awake_s()
