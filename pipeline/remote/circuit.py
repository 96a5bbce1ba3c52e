"""The circuit: a service that fails altogether costs a handful of calls, not the month.

Failed calls may be billed, so an outage must be told from pages that fail for their own reasons, at the price of few
calls. The evidence is a text from a call that was sent after the first failed one: the service works, and the circuit
closes at once. A text from an older call is none: slow replies of a service that has just failed still arrive.

    closed ── a call fails ──► suspect ── 3 failures more than in flight then ──► probing ── 8 probes fail ──► over
      ▲                          │                                                   │
      └───── newer text ─────────┴─────────────────── newer text ────────────────────┘

- **closed**: calls go out as the pace permits. A run does not begin here: until one call has succeeded it is probing,
  so a dead service costs 8 calls.
- **suspect**: an outage may have begun. The calls in flight at the first failure cannot be called back. Calls go on as
  before, because single failures are everyday, but failed calls and calls in flight together stay below the number in
  flight at the first failure plus 3.
- **probing**: one call at a time, with growing pauses, by whichever page is next.
- **over**: as many calls have failed as were in flight at the first failure, plus 3 + 8; or the outage has lasted for
  the user's patience. The run ends as temporary; no page is blamed.

A service that fails half of its calls at random is over after 12 failures in a row if calls go out one at a time, once
in 4,000 calls; with 8 in flight after 19, once in half a million. One that fails a fifth at random is never over. A
refusal (429) is no evidence: its probe is repeated.

The names are those of the circuit breaker (M. Nygard, "Release It!"), whose half-open state this is, with a bound.
"""

import math
from typing import Final

FREE_CALLS: Final = 3
"""Calls sent after the first failure before only probes go out."""

PROBES: Final = 8
"""Probes that fail before the outage is certain; with FREE_CALLS, one less than "a dozen" of the design."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0


class Circuit:
    """Decides when a call may be sent while the service fails; all times are seconds on one clock.

    Args:
        patience_s: Longest time of an outage, after which it is over.
    """

    def __init__(self, patience_s: float = 600.0) -> None:
        self._patience_s = patience_s
        self._is_closed = False
        self._in_flight = 0
        self._failed_calls = 0
        """Calls that failed since the circuit was last closed."""
        self._unbound_calls = 0
        """Failures after which only probes go out: none before the first success."""
        self._first_serial = -1
        """Serial of the first failed call."""
        self._began_s: float | None = None
        self._last_failure_s = -math.inf

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "probing" if self.is_probing else "suspect"
        return f"<Circuit {state}, {self._failed_calls} failed, {self._in_flight} in flight>"

    @property
    def is_probing(self) -> bool:
        """True while calls go out one at a time: nothing has succeeded yet, or too much has failed since."""
        return not self._is_closed and self._in_flight + self._failed_calls >= self._unbound_calls

    def ready_at(self, now_s: float) -> float:
        """Return when the next call may be sent, >= `now_s`; infinity while that depends on a call in flight."""
        if not self.is_probing:
            return now_s
        return math.inf if self._in_flight else max(now_s, self._last_failure_s + self._pause_s())

    def report_sent(self) -> None:
        """Note that a call is sent."""
        self._in_flight += 1

    def report_accepted(self, serial: int) -> None:
        """Note that a call brought a text.

        Args:
            serial: Its number in the order of sending, from 0.
        """
        self._in_flight -= 1
        if serial > self._first_serial:
            self._close()

    def report_answered(self) -> None:
        """Note that the service rejected a call's page: before the first text, this shows that it can be called."""
        self._in_flight -= 1
        if self._first_serial < 0:
            self._close()

    def report_ended(self) -> None:
        """Note that a call ended in a way that says nothing about the service."""
        self._in_flight -= 1

    def report_failed(self, now_s: float, serial: int) -> None:
        """Note that a call failed."""
        if self._is_closed:
            self._is_closed = False
            self._unbound_calls = self._in_flight + FREE_CALLS
            self._first_serial = serial
        self._in_flight -= 1
        self._failed_calls += 1
        self._last_failure_s = now_s
        self._began_s = now_s if self._began_s is None else self._began_s

    def outage_s(self, now_s: float) -> float | None:
        """Return how long the outage has lasted when it is over: the run must end; None while it may go on."""
        if self._began_s is None:
            return None
        lasted_s = now_s - self._began_s
        is_certain = self._failed_calls >= self._unbound_calls + PROBES
        next_s = self._last_failure_s + self._pause_s() if self.is_probing and not self._in_flight else now_s
        return lasted_s if is_certain or next_s - self._began_s > self._patience_s else None

    def _close(self) -> None:
        self._is_closed = True
        self._failed_calls = 0
        self._began_s = None

    def _pause_s(self) -> float:
        """Return the pause before the next probe; before the first call of a run there is none."""
        if self._failed_calls == 0:
            return 0.0
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._failed_calls - max(self._unbound_calls, 1)))
