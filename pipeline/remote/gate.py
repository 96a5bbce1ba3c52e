"""The gate: one rate limiter for all calls of the account; holds every call back while the account must wait.

A 429 concerns the account, so it pauses all pages; a single failure concerns its page alone. `pace` decides the rate,
`circuit` what an outage may cost: until one succeeds, calls go one at a time.
"""

import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from pipeline.errors import TemporaryError
from pipeline.remote.allowance import Allowance
from pipeline.remote.circuit import Circuit
from pipeline.remote.claims import Claims
from pipeline.remote.learned import Learned
from pipeline.remote.pace import Pace, Token
from pipeline.remote.refusals import Refusals

_LONG_WAIT_S: Final = 1.0
"""A page that must wait longer for its turn need not hold a reservation, which takes a few milliseconds."""

_RESERVATION_S: Final = 0.03
"""A generous estimate of the time that a reservation takes."""

_MIN_ENTERED: Final = 2

logger = logging.getLogger("pagemill")


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """The gate's counters.

    Attributes:
        passed: Calls that the gate let through.
        accepted: Calls that the service answered with a text.
        refused: Calls that were refused for now, such as with 429.
        paused_s: Time left of the current pause.
        learned: The limit that the calls have met so far.
    """

    passed: int
    accepted: int
    refused: int
    paused_s: float
    learned: Learned


@dataclass(slots=True)
class Entry:
    """A page that has entered.

    Attributes:
        is_prober: It makes the next call while calls go out one at a time.
        waits: It has not had its turn.
    """

    is_prober: bool
    waits: bool = True


class Gate:
    """Makes calls wait until the account may send them.

    Args:
        rate_per_s: `--rate`: calls are at least 1/rate apart; None sets no bound.
        patience_s: Longest time of refused or failed calls without one success, after which the run stops.
        on_pause: Called when a pause begins, with the seconds that the service asks for; None when it does not say.
    """

    def __init__(
        self,
        *,
        rate_per_s: float | None = None,
        patience_s: float = 600.0,
        on_pause: Callable[[float | None], object] | None = None,
    ) -> None:
        self._pace = Pace(rate_per_s)
        self._claims = Claims()
        self._circuit = Circuit(patience_s)
        self._refusals = Refusals(patience_s)
        self._on_pause = on_pause
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()
        self._paused_until_s = -math.inf
        self._answers = False
        """The service has answered about a page, with a text or a rejection."""
        self._is_warned = False
        """The user knows of the outage."""
        self._door = anyio.Lock(fast_acquire=True)
        self._entered = 0
        """Pages that have entered and wait for their turn."""
        self._has_prober = False
        """While calls go out one at a time: a page has entered to make the next one."""
        self._passed = 0

    def __repr__(self) -> str:
        return f"<Gate {self._passed} passed, {self._refusals.refused} refused, {self._pace!r}, {self._circuit!r}>"

    @property
    def is_probing(self) -> bool:
        """True while calls go out one at a time, because none has succeeded yet or the service fails."""
        return self._circuit.is_probing

    def statistics(self) -> GateStatistics:
        """Return the counters as they are now."""
        now_s = anyio.current_time()
        probe_s = self._circuit.ready_at(now_s)
        paused_s = max(0.0, self._paused_until_s - now_s, probe_s - now_s if probe_s < math.inf else 0.0)
        refusals = self._refusals
        return GateStatistics(self._passed, refusals.accepted, refusals.refused, paused_s, self._pace.learned())

    @asynccontextmanager
    async def entry(self) -> AsyncGenerator[Entry]:
        """Enter the context once a turn is near; until then the page needs no reservation.

        While calls go out one at a time, are paused, or wait for the pace, all others wait outside.
        """
        async with self._door:  # one page waits for the way in, the others for the lock
            while (is_full := self._is_full()) or self._is_closed(anyio.current_time()):
                await (self._changed.wait() if is_full else self._wait_for_change(anyio.current_time()))
            entry = Entry(is_prober=self._circuit.is_probing)
            self._entered += 1
            self._has_prober = self._has_prober or entry.is_prober
        try:
            yield entry
        finally:
            self._leave(entry)
            if entry.is_prober:
                self._has_prober = False
                self._wake()

    async def wait_turn(self, entry: Entry | None = None) -> Token:
        """Return once this call may be sent; the caller must report its end, with the token, by a `report_…` method."""
        while (token := await self._wait_turn(entry, leaves=False)) is None:
            pass
        return token

    async def wait_near_turn(self, entry: Entry) -> Token | None:
        """Return as `wait_turn` does, or None when the turn is not near any more: a reservation is to be given back."""
        return await self._wait_turn(entry, leaves=True)

    async def _wait_turn(self, entry: Entry | None, *, leaves: bool) -> Token | None:
        async with self._turn:  # one call waits for the pace, the others for the lock
            while self._ready_at(now_s := anyio.current_time()) > now_s:
                if leaves and self._is_closed(now_s):
                    return None
                await self._wait_for_change(now_s)
            self._passed += 1
            token = self._pace.report_sent(now_s)
            self._circuit.report_sent()
            if entry is not None:
                self._leave(entry)
            return token

    def _leave(self, entry: Entry) -> None:
        """Let the next page in, when this one has its turn, or has given up."""
        if entry.waits:
            entry.waits = False
            self._entered -= 1
            self._wake()

    async def _wait_for_change(self, now_s: float) -> None:
        """Wait until the next call may be sent by what is known now, or something else is known."""
        with anyio.move_on_after(max(0.0, self._ready_at(now_s) - now_s)):
            await self._changed.wait()

    def report_accepted(self, token: Token, allowance: Allowance | None = None) -> None:
        """Report that the service answered the call with a text; `allowance` is what its headers say is left."""
        now_s = anyio.current_time()
        self._refusals.report_accepted()
        self._answers = True
        self._is_warned = False
        self._pace.report_accepted(now_s, token)
        if (spent := self._judge(now_s, token, allowance, accepted=True)) is not None:
            self._pause(now_s, spent.reset_s)
            self._pace.pause(now_s + (spent.reset_s or 0.0))
        self._circuit.report_accepted(token.serial)
        self._wake()

    def report_refused(
        self, token: Token, wait_s: float | None, allowance: Allowance | None = None, *, is_limit: bool = False
    ) -> None:
        """Report that the call was refused for now; all calls wait.

        Args:
            token: From `wait_turn`.
            wait_s: Seconds to wait, as the service asks; None when it does not ask.
            allowance: What the reply's headers say is left; None when they do not. Its reset counts as a wait.
            is_limit: The status says that there were too many calls (429).

        Raises:
            QuotaExhaustedError: after successes, all calls for longer than `patience_s` were too many.
            TemporaryError: they were refused as long for other reasons, or from the first one on.
        """
        now_s = anyio.current_time()
        if (spent := self._judge(now_s, token, allowance, accepted=False)) is not None:
            wait_s = max(wait_s or 0.0, spent.reset_s or 0.0)
        self._pause(now_s, wait_s)
        self._pace.report_refused(now_s, token, wait_s)
        self._circuit.report_ended()
        self._wake()
        self._refusals.report_refused(now_s, wait_s, is_limit=is_limit)

    def pause(self, wait_s: float) -> None:
        """Make all calls wait: another run of the account was asked to."""
        now_s = anyio.current_time()
        self._paused_until_s = max(self._paused_until_s, now_s + wait_s)
        self._pace.pause(now_s + wait_s)
        self._wake()

    def _pause(self, now_s: float, wait_s: float | None) -> None:
        """Make all calls wait as long as the service asks, and report that, unless a pause is under way."""
        is_new = self._paused_until_s <= now_s
        self._paused_until_s = max(self._paused_until_s, now_s + (wait_s or 0.0))
        if is_new and self._on_pause is not None:
            self._on_pause(wait_s)

    def _judge(self, now_s: float, token: Token, allowance: Allowance | None, *, accepted: bool) -> Allowance | None:
        """Return the allowance when nothing is left of it, all calls have to wait for its reset, and it is believed."""
        if allowance is None:
            return None
        sent_since = self._passed - token.serial - 1
        return self._claims.judge(
            now_s, token.sent_s, allowance, serial=token.serial, sent_since=sent_since, accepted=accepted
        )

    def report_failed(self, token: Token, reason: str) -> None:
        """Report that the service, or the way to it, failed the call.

        Args:
            token: From `wait_turn`.
            reason: One line for the user.

        Raises:
            TemporaryError: so many calls have failed in a row that the service must be down.
        """
        now_s = anyio.current_time()
        self._pace.report_ended(now_s, token)
        self._circuit.report_failed(now_s, token.serial)
        self._wake()
        if (outage_s := self._circuit.outage_s(now_s)) is not None:
            calls = "every call of this run" if not self._answers else "every call"
            raise TemporaryError(
                f"the API has failed {calls} for {outage_s:.0f} s, the last with: {reason}; run again later"
            )
        if self._circuit.is_probing and not self._is_warned:
            self._is_warned = True
            logger.warning("the API fails (%s): one call at a time until one succeeds", reason)

    def report_ended(self, token: Token, *, answered: bool) -> None:
        """Report that the call ended in a way that concerns its page alone.

        Args:
            token: From `wait_turn`.
            answered: The service itself answered; the first such answer shows that it can be called.
        """
        self._pace.report_ended(anyio.current_time(), token)
        if answered:
            self._answers = True
            self._circuit.report_answered()
        else:
            self._circuit.report_ended()
        self._wake()

    def _ready_at(self, now_s: float) -> float:
        """Return when the next call may be sent; infinity while that depends on a call in flight."""
        return max(self._pace.ready_at(now_s), self._circuit.ready_at(now_s))

    def _is_full(self) -> bool:
        """Return whether as many pages have entered as get their turn in the time that a reservation takes."""
        if self._circuit.is_probing and self._has_prober:
            return True
        return self._entered >= _MIN_ENTERED + _RESERVATION_S * self._pace.rate_per_s

    def _is_closed(self, now_s: float) -> bool:
        """Return whether the next turn is far: a probe is under way, or the account waits for long."""
        pace_s = self._pace.ready_at(now_s)  # infinite while as many calls are in flight as the service takes
        is_far = math.isfinite(pace_s) and pace_s - now_s > _LONG_WAIT_S
        return is_far or self._circuit.ready_at(now_s) - now_s > _LONG_WAIT_S

    def _wake(self) -> None:
        """Wake the waiting calls, whose time may have changed."""
        self._changed.set()
        self._changed = anyio.Event()
