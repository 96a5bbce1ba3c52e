"""The pace of calls: finds the rate or the concurrency that an account permits, and stays just under it.

Precedent: congestion control. A ramp (slow start, but with spaced sends) doubles the pacing rate until the first
refusal. After it each epoch, from one refusal to the next, measures what is permitted, and the pacing rate climbs
through what the measure leaves open: slowly where a refusal costs a long pause, fast where it costs a call.
All numbers below are measured: `python -m tests.benchmarks.pace`.
"""

import math
from typing import Final

from pipeline.remote.estimate import COARSEST, FIRST_RATE, MAX_RATE, MIN_RATE, Epoch, Estimate, Token

__all__ = ["Pace", "Token"]

_DOUBLING_S: Final = 0.2
"""No rate grows faster. After the first answer 64 calls are in flight in 0.5 s; a burst of 10 is overrun 2.6 times."""

_MAX_HOLD_S: Final = 20.0
_MAX_PAUSE_S: Final = 366 * 86400.0

_CATCH_UP_S: Final = 0.005
"""So late a timer does not delay the next call too: event loops oversleep by 1 to 2 ms."""

_FEW: Final = 4
"""An epoch of fewer calls is too short to measure by."""

_ROW: Final = 4
"""So many refusals without an answer in between are the end of a window, not a bucket's."""

_WINDOW_GROWTH: Final = 0.05
"""Breadth of the climb while the number in flight limits: then the rate need only keep out of its way."""


class _Window:
    """The hypothesis that a call is refused if and only if so many others are in flight; the ramp's end proposes it.

    The limit is raised now and then. A refusal of a raised one confirms it; two others in a row refute it. Three in a
    row with more in flight than at any call accepted before, and far more than usual, propose it again.
    """

    def __init__(self) -> None:
        self.limit: float = math.inf
        self._strikes = self._calls = self._suspicions = self._most = 0
        self._usual = 0.0
        self._step = 1
        self._raised = False
        self._interval = 25.0

    def accept(self, others: int, cost: float) -> float:
        """Count a call; return by what factor the limit was raised, given what a refusal costs in calls."""
        self._calls += 1
        self._most = max(self._most, others)
        self._usual += (others - self._usual) / 50
        if self.limit == math.inf:
            return 1.0
        self._raised = self._raised and not (others >= self.limit - 1 and self._calls > 3)
        if self._calls < self._interval * max(1.0, cost / 6):
            return 1.0
        before, self.limit = self.limit, self.limit + self._step
        self._step, self._calls, self._raised = 2 * self._step, 0, True
        return self.limit / before

    def refuse(self, others: int, calls: int, *, ramping: bool) -> bool:
        """Return whether this refusal, so many calls after the one before, fits; in the ramp any does."""
        fits = ramping
        if self._raised:
            self._strikes = 0
            self._interval = min(4 * self._interval, max(100.0, 25 * self.limit))
            fits = others >= self.limit - 1 - self._step
        elif self.limit < math.inf:
            self._strikes += 1
            fits = self._strikes < 2 and calls >= 8 and others >= self.limit - 1
        elif not ramping and calls >= 16:
            suspicious = others > max(self._most, 1.3 * self._usual + 0.5)
            self._suspicions = self._suspicions + 1 if suspicious else 0
            fits = self._suspicions >= 3
        self._most = 0
        if fits and self.limit == math.inf:
            self._strikes = self._suspicions = 0
        self.limit = max(1, others) if fits else math.inf
        self._calls, self._step, self._raised = 0, 1, False
        return fits

    def contradict(self, others: int, calls: int) -> None:
        """Count a refusal hard on another; the second, or one with far fewer others in flight, refutes."""
        self._strikes += calls > 0 and not self._raised
        if self._strikes >= 2 or others < self.limit * 0.75 - 1:
            self.limit, self._raised = math.inf, False


class Pace:
    """Tells when the next call may go out; times are seconds on one clock.

    Args:
        rate_per_s: The user's upper bound, > 0; None sets none.
    """

    def __init__(self, rate_per_s: float | None = None) -> None:
        self._bound = MAX_RATE if rate_per_s is None else rate_per_s
        self._rate = min(FIRST_RATE, self._bound)
        self._rate_before_raise = 0.0
        self._ramping = True
        self._next_s = self._last_s = self._paused_until_s = self._event_s = -math.inf
        self._in_flight = self._serial = self._row = 0
        self._refused_share = 0.0
        self._window = _Window()
        self._estimate = Estimate()
        self._epoch = Epoch(0.0, 0, void=0, paused=False)
        self._last_refused_s, self._admitted, self._admitted_s = 0.0, 0, 1.0
        self._cost = 1.0  # of a refusal, in calls
        self._breadth = self._stage = self._left = 1.0  # the rate climbs by 2 x breadth in a stage of so many calls

    def __repr__(self) -> str:
        window = "" if self._window.limit == math.inf else f", window {self._window.limit:.0f}"
        state = "ramping" if self._ramping else f"estimate {self._estimate.rate_per_s:.4g}±{self._estimate.error:.0%}"
        return f"<Pace {self._rate:.4g}/s, {state}{window}, {self._in_flight} in flight>"

    @property
    def rate_per_s(self) -> float:
        """The pacing rate."""
        return self._rate

    def ready_at(self, now_s: float) -> float:
        """Return when the next call may go out, at least `now_s`; math.inf: only after one in flight has ended."""
        if self._in_flight >= self._window.limit:
            return math.inf
        return max(now_s, self._next_s, self._paused_until_s)

    def send(self, now_s: float) -> Token:
        """Note that a call goes out."""
        if self._serial == 0:
            self._epoch.began_s = now_s
        gap_s = 1 / self._rate
        if now_s - max(self._next_s, self._paused_until_s) <= gap_s:  # else it is not the pace that limits
            self._climb(max(0.0, now_s - self._last_s), gap_s)
        catch_up = 0 <= now_s - self._next_s <= max(gap_s / 4, _CATCH_UP_S)
        self._next_s = (self._next_s if catch_up else now_s) + 1 / self._rate
        self._last_s = now_s
        token = Token(now_s, self._serial, self._in_flight, self._rate)
        self._epoch.add(token)
        self._serial += 1
        self._in_flight += 1
        return token

    def accepted(self, now_s: float, token: Token) -> None:
        """Note that a call was answered."""
        self.ended(now_s, token)
        if token.sent_s <= self._event_s:
            return
        if self._row >= _ROW:
            self._restart(token)
        self._row = 0
        self._refused_share *= 0.99
        factor = self._window.accept(token.others, self._cost)
        if factor > 1:  # spaced evenly, so that a refusal speaks of their number and not of two being close
            self._rate_before_raise = self._rate
            served = (self._serial - token.serial + self._epoch.calls(token)) / max(1e-6, now_s - self._epoch.began_s)
            self._rate = self._clamp(min(self._rate, 0.95 * factor * served))

    def ended(self, now_s: float, token: Token) -> None:
        """Note that a call ended in a way that says nothing of the permitted pace."""
        self._in_flight = max(0, self._in_flight - 1)

    def refused(self, now_s: float, token: Token, wait_s: float | None) -> None:
        """Note that a call was refused; `wait_s` is what the service named, None when it named nothing."""
        self.ended(now_s, token)
        pause_s = min(wait_s, _MAX_PAUSE_S) if wait_s is not None and wait_s > 0 else 0.0
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        calls = self._epoch.calls(token)
        if token.sent_s <= self._event_s:  # it was on the wire: the same event
            self._epoch.void += 1
            return
        self._event_s = now_s
        self._last_refused_s = token.sent_s
        if self._ramping or calls >= (1 if pause_s else _FEW):
            self._row = 1
            self._learn(token, calls, pause_s)
        else:
            self._row += 1
            self._epoch.void += 1
            self._window.contradict(token.others, calls)
        if calls > 0:
            self._refused_share = 0.99 * self._refused_share + 0.01
            self._rate = self._clamp(self._rate * (0.85 if self._row > 1 else 1.0))
        if not pause_s:
            hold_s = min(_MAX_HOLD_S, 2.0 ** min(self._row - 1, 30) / self._rate)
            self._next_s = max(now_s + hold_s, self._last_s + 1 / self._bound)

    def _learn(self, token: Token, calls: int, pause_s: float) -> None:
        """End the epoch: take the hypothesis that fits, and the measure that the epoch allows."""
        ramped, self._ramping = self._ramping, False
        fits_window = self._window.refuse(token.others, calls, ramping=ramped)
        if ramped:
            self._estimate.guess(self._epoch, token)
        elif self._epoch.paused or not fits_window:
            self._estimate.measure(self._epoch, token)
        self._admitted, self._admitted_s = calls, self._epoch.elapsed_s(token)
        self._epoch = Epoch(token.sent_s, token.serial, void=1, paused=pause_s > 0)
        self._cost = 1 + self._estimate.rate_per_s * pause_s
        if not fits_window or (ramped and pause_s):
            self._set_out()
        else:
            self._set_stage(COARSEST if ramped else _WINDOW_GROWTH, 1.0)
            self._rate = max(self._rate, self._rate_before_raise)

    def _restart(self, token: Token) -> None:
        """Take a row of refusals for the end of a window: what it admitted, over all its time, is the rate."""
        until_s = [max(0.0, at_s - self._epoch.began_s) for at_s in (self._last_refused_s, token.sent_s)]
        highest, least = (self._admitted / (self._admitted_s + pause_s) for pause_s in until_s)
        if self._admitted:
            self._estimate.lower(highest, 1 - least / highest)
        self._cost = 1 + self._estimate.rate_per_s * until_s[1]
        self._epoch = Epoch(token.sent_s, token.serial, void=0, paused=False)
        self._set_out()

    def _set_out(self) -> None:
        """Start a little below the estimate; climb slower while more than 1 % is refused: others share the account."""
        self._set_stage(self._estimate.error, self._cost * min(6.0, max(1.0, self._refused_share / 0.01)))
        self._rate = self._clamp(self._estimate.rate_per_s * (1 - self._estimate.error / 2))

    def _set_stage(self, breadth: float, cost: float) -> None:
        self._breadth = breadth
        self._stage = self._left = max(8.0, cost / breadth)

    def _climb(self, since_s: float, gap_s: float) -> None:
        """Raise the rate: double it in the ramp; later in stages that grow steeper while nothing is refused."""
        if self._ramping:
            self._rate = self._clamp(self._rate * 2 ** (min(since_s, _DOUBLING_S) / _DOUBLING_S))
        elif self._row <= 1:
            growth = min(2 * self._breadth / self._stage, gap_s / _DOUBLING_S * math.log(2))
            self._rate = self._clamp(self._rate * (1 + growth))
            self._left -= 1
            if self._left <= 0 and (self._window.limit == math.inf or self._breadth != _WINDOW_GROWTH):
                self._set_stage(min(0.5, 1.6 * self._breadth), self._cost)

    def _clamp(self, rate: float) -> float:
        return min(self._bound, MAX_RATE, max(MIN_RATE, rate))
