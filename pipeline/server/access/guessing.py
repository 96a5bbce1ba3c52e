"""Slows down the guessing of keys: per peer, and over all peers together.

Only answers to wrong keys are delayed. A right key is always accepted at once, so nobody locks out the callers behind
the same proxy; that a key cannot be guessed is due to its length. The first wrong keys of a peer are answered at once,
too: a person who mistypes a key does not wait.
"""

from collections.abc import Callable
from typing import Final

from pipeline.server.http.addresses import peer_group

PEER_RATE_PER_S: Final = 2.0
PEER_BURST: Final = 20
OVERALL_RATE_PER_S: Final = 20.0
OVERALL_BURST: Final = 200

DELAY_MAX_S: Final = 5.0
"""The longest delay of an answer. A guess that is due later is answered with 429 after this time."""

_MAX_PEERS: Final = 4096
"""Number of peers at which those are forgotten that may guess a full burst again."""


class GuessLimit:
    """Says how long the answer to a wrong key is delayed.

    Args:
        clock_s: A monotonic clock.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._peers: dict[str, Schedule] = {}
        self._overall = Schedule(OVERALL_RATE_PER_S, OVERALL_BURST)

    def __repr__(self) -> str:
        return f"<GuessLimit, {len(self._peers)} peers>"

    def delay_s(self, peer: str) -> float:
        """Count a wrong key of a peer; return the seconds after which it is due, 0 within the burst.

        Args:
            peer: The peer's address.
        """
        now_s, group = self._clock_s(), peer_group(peer)
        if len(self._peers) >= _MAX_PEERS:
            self._peers = {name: schedule for name, schedule in self._peers.items() if not schedule.is_unused(now_s)}
        own = self._peers.setdefault(group, Schedule(PEER_RATE_PER_S, PEER_BURST))
        return max(own.book(now_s), self._overall.book(now_s))


class Schedule:
    """Times at which events are due, at one rate after a burst.

    Args:
        rate_per_s: Events per second in the long run.
        burst: Events that are due at once.
    """

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._interval_s = 1 / rate_per_s
        self._burst_s = burst * self._interval_s
        self._full_at_s = 0.0

    def book(self, now_s: float) -> float:
        """Return the seconds until the next event is due; one that is due after `DELAY_MAX_S` takes no place."""
        full_at_s = max(now_s, self._full_at_s) + self._interval_s
        wait_s = full_at_s - now_s - self._burst_s
        wait_s = wait_s if wait_s > 1e-9 else 0.0  # tolerates the rounding of floating-point sums
        if wait_s <= DELAY_MAX_S:
            self._full_at_s = full_at_s
        return wait_s

    def is_unused(self, now_s: float) -> bool:
        """Return whether the whole burst is due at once."""
        return self._full_at_s <= now_s
