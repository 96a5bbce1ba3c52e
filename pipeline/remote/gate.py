"""The account's gate: nobody passes while the account must wait, and all together pass no faster than it permits.

A 429 belongs to the account, so one pause holds all pages back; other failures belong to the page. The first call of
a run goes alone: a bad key costs one call, not one a worker. How fast the others follow is the pace's business.
"""

import math
from dataclasses import dataclass

import anyio

from pipeline.errors import TemporaryError
from pipeline.remote.pace import Pace, Token


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What the gate has seen.

    Attributes:
        passed: Calls let through.
        accepted: Calls that were answered.
        refused: Calls that came back with 429 or 503.
        paused_s: What is left of the current pause.
    """

    passed: int
    accepted: int
    refused: int
    paused_s: float


class Gate:
    """Holds calls back until the account may call.

    Args:
        rate_per_s: `--rate`: calls are at least 1/rate apart; None sets no bound.
        patience_s: How long refusals without one success are borne.
    """

    def __init__(self, *, rate_per_s: float | None = None, patience_s: float = 600.0) -> None:
        self._pace = Pace(rate_per_s)
        self._patience_s = patience_s
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()
        self._scouting = False
        self._known = False
        self._paused_until_s = -math.inf
        self._refused_since_s: float | None = None
        self._passed = self._accepted = self._refused = 0

    def __repr__(self) -> str:
        return f"<Gate {self._passed} passed, {self._refused} refused, {self._pace!r}>"

    def statistics(self) -> GateStatistics:
        """Return what the gate has seen."""
        paused_s = max(0.0, self._paused_until_s - anyio.current_time())
        return GateStatistics(self._passed, self._accepted, self._refused, paused_s)

    async def wait_turn(self) -> Token:
        """Return when this call may go out; the caller reports its end, with the token, by one of the methods below."""
        async with self._turn:  # one waits for the pace, the others for their turn
            while (ready_s := self._ready_at(now_s := anyio.current_time())) > now_s:
                with anyio.move_on_after(ready_s - now_s):
                    await self._changed.wait()
            self._scouting = not self._known
            self._passed += 1
            return self._pace.send(now_s)

    def report_accepted(self, token: Token) -> None:
        """The call was answered."""
        self._accepted += 1
        self._refused_since_s = None
        self._pace.accepted(anyio.current_time(), token)
        self._end(known=True)

    def report_refused(self, token: Token, wait_s: float | None) -> None:
        """The call came back with 429 or 503; all calls wait.

        Args:
            token: From `wait_turn`.
            wait_s: What the service named; None when it named nothing.

        Raises:
            TemporaryError: refusals have outlasted the patience without one success.
        """
        now_s = anyio.current_time()
        self._refused += 1
        self._paused_until_s = max(self._paused_until_s, now_s + (wait_s or 0.0))
        self._pace.refused(now_s, token, wait_s)
        self._end(known=False)
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if now_s - self._refused_since_s > self._patience_s:
            raise TemporaryError(f"the API refuses calls for {now_s - self._refused_since_s:.0f} s; run again later")

    def report_failed(self, token: Token, *, reached: bool) -> None:
        """The call ended in any other way.

        Args:
            token: From `wait_turn`.
            reached: False when it cannot have come as far as the service: the next one goes alone again.
        """
        self._pace.ended(anyio.current_time(), token)
        self._end(known=reached)

    def _ready_at(self, now_s: float) -> float:
        """Return when the next call may go; infinity while its going depends on one that is under way."""
        return math.inf if self._scouting else self._pace.ready_at(now_s)

    def _end(self, *, known: bool) -> None:
        """A call ended: let the next one look again; as long as nothing is known, it goes alone."""
        self._known = self._known or known
        self._scouting = False
        self._changed.set()
        self._changed = anyio.Event()
