"""A row of refusals without an accepted call between them: the account is closed."""

import copy
import math
from dataclasses import dataclass, field
from typing import Final

from pipeline.remote.pace.calls import CallLog, Start, Token
from pipeline.remote.pace.rate import Rate
from pipeline.remote.pace.window import Window

LONE_REFUSALS: Final = 3
"""After so many refusals in a row probes go out alone: more calls at once would only be refused with them."""

_LONG_REFUSALS: Final = 4
"""A closure of fewer refusals is the everyday one of a bucket that ran dry."""

_DENSE_CALLS: Final = 30
"""Where so many calls are admitted, a refused probe is cheap even if the service counts it."""

_DENSE_S: Final = (
    *(1.0, 1.2, 2.0, 5.0, 10.0, 11.5, 13.0, 15.0, 20.0, 30.0),
    *(36.0, 45.0, 60.0, 68.0, 78.0, 90.0, 120.0, 180.0, 300.0),
)
_SPARSE_S: Final = (1.0, 1.5, 2.0, 5.0, 10.0, 15.0, 17.0, 20.0, 30.0, 60.0, 82.0, 92.0, 105.0, 120.0, 180.0, 300.0)
"""When to probe, in seconds from the first call: at the usual lengths of windows, and a little later at those of
sliding counters, which count the refused probes, too."""

_LONG_S: Final = 0.5
"""A bucket that ran dry is open again sooner, unless its rate is so low that a window is no worse a guess."""

_DRAINED: Final = 0.5
"""When so large a share of the calls in flight at the first refusal is left, too many in flight are not the cause."""

_STEP: Final = 0.01
"""Share of a window's length after which it is probed again, if it is not open when it was expected to be."""

_SHORT_S: Final = 0.4
_DENSE_HOLD: Final = 0.25
_SPARSE_HOLD: Final = 0.1
"""Probes go out at doubling intervals up to this time from the first call, and while the interval is this small a share
of it; then at the usual lengths. Source of the figures: `python -m tests.benchmarks.pace`."""

_EVEN_HOLD_S: Final = 10.0
"""A sliding counter is probed at doubling intervals up to this one, and then like any other limit."""

_LATE_S: Final = 0.01
_MAX_HOLD_S: Final = 30.0
_LONGEST_HOLD_S: Final = 150.0
"""Probes become as rare as this when the account stays closed: each may renew what closes it."""


@dataclass(slots=True)
class Closure:
    """A row of refusals.

    Attributes:
        first: The call that was refused first.
        calls: Calls admitted since `start`.
        start: The first of them.
        rate: The rate as it was before.
        is_known: The cause is known, and is not the rate.
        is_even: It is that calls were sent a little too fast for a sliding counter.
        full: The window that was full, and is expected to open again; None for another cause.
        contradicted: There are windows, and none was full.
        is_overrun: Several calls would be sent in the time that a refusal takes to come back.
        refusals: Refused calls, each sent after the refusal before it was known.
        refused_calls: All refused calls.
        last: The last of the former.
        pause_s: The longest pause that the service has named; 0 for none.
        probe_s: When the next probe goes out.
    """

    first: Token
    calls: int
    start: Start
    rate: Rate
    is_known: bool = False
    is_even: bool = False
    full: Window | None = None
    contradicted: bool = False
    is_overrun: bool = False
    refusals: int = 0
    refused_calls: int = 0
    last: Token = field(init=False)
    pause_s: float = 0.0
    probe_s: float = 0.0

    def __post_init__(self) -> None:
        self.last = self.first
        self.rate = copy.deepcopy(self.rate)

    @property
    def is_lone(self) -> bool:
        """True while probes go out one at a time."""
        if self.pause_s:
            return self.refusals > 1
        if self.full is not None and self.full.is_close and self.refusals < LONE_REFUSALS:
            return False  # the next call is spaced anyway
        return self.is_known or self.is_overrun or (self.refusals >= LONE_REFUSALS and self._is_drained)

    @property
    def is_row(self) -> bool:
        """True when there are more refusals in a row than a bucket that ran dry causes."""
        return self.refusals >= _LONG_REFUSALS and self._is_drained

    def is_long(self, token: Token) -> bool:
        """Return whether the account was closed, until this accepted call, for longer than by a bucket that ran dry."""
        return self.is_row and self.length_s(token) > _LONG_S

    @property
    def _is_drained(self) -> bool:
        """True when a limit of the calls in flight cannot be the cause: many of them have ended."""
        return self.last.others_in_flight <= max(1.0, _DRAINED * self.first.others_in_flight)

    def restore_rate(self, following: Start, last_sent_s: float) -> Rate:
        """Return the rate as it was before, to resume, because another limit caused the refusals."""
        rate = copy.deepcopy(self.rate)
        rate.resume(following, last_sent_s)
        return rate

    def add(self, token: Token, pause_s: float) -> None:
        """Add a refusal, with the pause that it names, 0 s for none."""
        self.refusals += 1
        self.refused_calls += 1
        self.last = token
        self.pause_s = max(self.pause_s, pause_s)

    def length_s(self, token: Token) -> float:
        """Return the time from the first refusal to an accepted call."""
        return token.sent_s - self.first.sent_s

    def plan_probe(self, now_s: float, rate_per_s: float, log: CallLog) -> None:
        """Decide when the next probe goes out, while they go alone.

        Args:
            now_s: Now.
            rate_per_s: The pacing rate.
            log: The calls so far.
        """
        self.probe_s = self._next_probe_s(now_s, rate_per_s, log)

    def _next_probe_s(self, now_s: float, rate_per_s: float, log: CallLog) -> float:
        began_s = self.start.sent_s
        if self.full is not None:
            began_s = self.full.began_s(self.last, log)
            opens_s = began_s + self.full.length_s
            if now_s < opens_s:
                return opens_s
            if self.full.is_spacing:
                self.full.report_shut(self.last.sent_s - began_s)
                return max(now_s, began_s + self.full.length_s)
        elif self.is_even and 2.0 ** min(self.refusals, 30) / rate_per_s < _EVEN_HOLD_S:
            return now_s + 2.0**self.refusals / rate_per_s  # a refused probe may count, too: one gap is too short
        passed_s = now_s - began_s
        is_dense = self.calls >= _DENSE_CALLS
        gap_s = 1 / rate_per_s if self.full is None else max(1 / rate_per_s, _STEP * self.full.length_s)
        hold_s = min(_MAX_HOLD_S, 2.0 ** min(self.refusals - 1, 30) * gap_s)
        if passed_s <= _SHORT_S or hold_s < (_DENSE_HOLD if is_dense else _SPARSE_HOLD) * passed_s:
            return now_s + hold_s
        times_s = _DENSE_S if is_dense else _SPARSE_S
        usual_s = next((began_s + at_s + _LATE_S for at_s in times_s if at_s > 1.1 * passed_s), math.inf)
        return min(usual_s, now_s + min(_LONGEST_HOLD_S, max(_MAX_HOLD_S, passed_s / 2)))
