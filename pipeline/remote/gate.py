"""The gate: one rate limiter for all calls of the account; holds every call back while the account must wait.

A 429 concerns the account, so it pauses all pages; other failures concern their page alone. The first call of a run
goes alone until the service answers it: a bad key costs one call, not one per worker. `pace` decides the rate.
"""

import math
from dataclasses import dataclass

import anyio

from pipeline.errors import TemporaryError
from pipeline.remote.pace import Pace, Token


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """The gate's counters.

    Attributes:
        passed: Calls that the gate let through.
        accepted: Calls that the service answered with a text.
        refused: Calls that the service refused with 429 or 503.
        paused_s: Time left of the current pause.
    """

    passed: int
    accepted: int
    refused: int
    paused_s: float


class Gate:
    """Makes calls wait until the account may send them.

    Args:
        rate_per_s: `--rate`: calls are at least 1/rate apart; None sets no bound.
        patience_s: Longest time of refused calls without one success, after which the run stops.
    """

    def __init__(self, *, rate_per_s: float | None = None, patience_s: float = 600.0) -> None:
        self._pace = Pace(rate_per_s)
        self._patience_s = patience_s
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()
        self._first_in_flight = False
        """A call is in flight on whose outcome all others wait."""
        self._service_answers = False
        """A call of this run has reached the service."""
        self._paused_until_s = -math.inf
        self._refused_since_s: float | None = None
        self._passed = self._accepted = self._refused = 0

    def __repr__(self) -> str:
        return f"<Gate {self._passed} passed, {self._refused} refused, {self._pace!r}>"

    def statistics(self) -> GateStatistics:
        """Return the counters as they are now."""
        paused_s = max(0.0, self._paused_until_s - anyio.current_time())
        return GateStatistics(self._passed, self._accepted, self._refused, paused_s)

    async def wait_turn(self) -> Token:
        """Return once this call may be sent; the caller must report its end, with the token, by a `report_…` method."""
        async with self._turn:  # one call waits for the pace, the others for the lock
            while (ready_s := self._ready_at(now_s := anyio.current_time())) > now_s:
                with anyio.move_on_after(ready_s - now_s):
                    await self._changed.wait()
            self._first_in_flight = not self._service_answers
            self._passed += 1
            return self._pace.report_sent(now_s)

    def report_accepted(self, token: Token) -> None:
        """Report that the service answered the call with a text."""
        self._accepted += 1
        self._refused_since_s = None
        self._pace.report_accepted(anyio.current_time(), token)
        self._end(reached=True)

    def report_refused(self, token: Token, wait_s: float | None) -> None:
        """Report that the service refused the call with 429 or 503; all calls wait.

        Args:
            token: From `wait_turn`.
            wait_s: Seconds to wait, as the service asks; None when it does not ask.

        Raises:
            TemporaryError: calls have been refused for longer than `patience_s` without one success.
        """
        now_s = anyio.current_time()
        self._refused += 1
        self._paused_until_s = max(self._paused_until_s, now_s + (wait_s or 0.0))
        self._pace.report_refused(now_s, token, wait_s)
        self._end(reached=False)
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if now_s - self._refused_since_s > self._patience_s:
            refused_s = now_s - self._refused_since_s
            raise TemporaryError(f"the API has refused calls for {refused_s:.0f} s and answered none; run again later")

    def report_failed(self, token: Token, *, reached: bool) -> None:
        """Report that the call ended in any other way.

        Args:
            token: From `wait_turn`.
            reached: The call may have reached the service. If not, and none did before, the next call goes alone, too.
        """
        self._pace.report_ended(anyio.current_time(), token)
        self._end(reached=reached)

    def _ready_at(self, now_s: float) -> float:
        """Return when the next call may be sent; infinity while that depends on a call in flight."""
        return math.inf if self._first_in_flight else self._pace.ready_at(now_s)

    def _end(self, *, reached: bool) -> None:
        """Note the end of a call and wake the waiting call, whose time may have changed."""
        self._service_answers = self._service_answers or reached
        self._first_in_flight = False
        self._changed.set()
        self._changed = anyio.Event()
