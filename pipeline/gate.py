"""The account's gate: nobody passes while the account must wait.

A 429 belongs to the account, so one pause holds all pages back; other failures belong to the page. The first call of
a run goes alone: a bad key costs one call, not one a worker.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio

from pipeline.errors import TemporaryError
from pipeline.rules.retry import backoff_s

_MAX_SILENT_PAUSE_S: Final = 20.0


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
        jitter: Uniform in [0, 1).
    """

    def __init__(
        self, *, rate_per_s: float | None = None, patience_s: float = 600.0, jitter: Callable[[], float] = random.random
    ) -> None:
        self._spacing_s = 0.0 if rate_per_s is None else 1 / rate_per_s
        self._patience_s = patience_s
        self._jitter = jitter
        self._next_s = -math.inf
        self._paused_until_s = -math.inf
        self._refused_since_s: float | None = None
        self._refusals_in_a_row = 0
        self._scout: anyio.Event | None = None
        self._open = False
        self._passed = self._accepted = self._refused = 0

    def __repr__(self) -> str:
        statistics = self.statistics()
        return f"<Gate {statistics.passed} passed, {statistics.refused} refused, paused {statistics.paused_s:.1f} s>"

    def statistics(self) -> GateStatistics:
        """Return what the gate has seen."""
        paused_s = max(0.0, self._paused_until_s - anyio.current_time())
        return GateStatistics(self._passed, self._accepted, self._refused, paused_s)

    async def wait_turn(self) -> None:
        """Return when this call may go out; the caller reports back with one of the methods below."""
        while not self._open and self._scout is not None:
            await self._scout.wait()
        if not self._open:
            self._scout = anyio.Event()
        try:
            await self._wait_until_free()
        except BaseException:
            self._end_scouting(known=False)
            raise
        self._passed += 1

    def report_accepted(self) -> None:
        """The call was answered."""
        self._accepted += 1
        self._refused_since_s = None
        self._refusals_in_a_row = 0
        self._end_scouting(known=True)

    def report_refused(self, wait_s: float | None) -> None:
        """The call came back with 429 or 503; all calls wait.

        Args:
            wait_s: What the service named; None when it named nothing.

        Raises:
            TemporaryError: refusals have outlasted the patience without one success.
        """
        now_s = anyio.current_time()
        self._refused += 1
        self._end_scouting(known=False)
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if not wait_s and now_s >= self._paused_until_s:  # calls on the wire share one refusal
            self._refusals_in_a_row += 1
            wait_s = 0.5 + backoff_s(self._refusals_in_a_row, self._jitter(), cap_s=_MAX_SILENT_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, now_s + (wait_s or 0.0))
        if now_s - self._refused_since_s > self._patience_s:
            raise TemporaryError(f"the API refuses calls for {now_s - self._refused_since_s:.0f} s; run again later")

    def report_failed(self, *, reached: bool) -> None:
        """The call ended in any other way.

        Args:
            reached: False when it cannot have come as far as the service: the next one goes alone again.
        """
        self._end_scouting(known=reached)

    async def _wait_until_free(self) -> None:
        while True:
            now_s = anyio.current_time()
            free_s = max(self._paused_until_s, self._next_s)
            if free_s <= now_s:
                self._next_s = now_s + self._spacing_s
                return
            await anyio.sleep(free_s - now_s)

    def _end_scouting(self, *, known: bool) -> None:
        """Let the others go, or let the next one scout."""
        self._open = self._open or known
        if self._scout is not None:
            self._scout.set()
            self._scout = None
