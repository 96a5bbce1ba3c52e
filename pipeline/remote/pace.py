"""The pace of calls: finds the rate or the concurrency that an account permits, and stays just below it.

Precedent: congestion control. A ramp (slow start, with spaced sends) doubles the pacing rate until the first refusal.
From then on each epoch, from one refusal to the next, measures the permitted rate, and the pacing rate climbs through
the range that the measurement leaves open: slowly where a refusal costs a long pause, fast where it costs one call.
Source of the figures below: `python -m tests.benchmarks.pace`.
"""

import math
from typing import Final

from pipeline.remote.allowance import Allowance
from pipeline.remote.claims import MAX_PAUSE_S
from pipeline.remote.estimate import (
    FIRST_RATE_PER_S,
    MAX_ERROR,
    MAX_RATE_PER_S,
    MIN_RATE_PER_S,
    Epoch,
    Estimate,
    Token,
)
from pipeline.remote.learned import Learned

__all__ = ["Pace", "Token"]

_DOUBLING_S: Final = 0.2
"""Shortest time in which a rate doubles: 64 calls are in flight 0.5 s after the first answer; a token bucket with a
burst of 10 is overrun 2.6 times."""

_MAX_HOLD_S: Final = 20.0
_MAX_PAUSE_S: Final = 366 * 86400.0

_CATCH_UP_S: Final = 0.005
"""A send that is at most this late does not delay the next one: event loops oversleep by 1 to 2 ms."""

_MIN_MEASURED_CALLS: Final = 4
"""An epoch of fewer calls is too short to measure the rate by."""

_WINDOW_END_REFUSALS: Final = 4
"""This many consecutive refusals mean that a fixed window has closed, not that a token bucket ran dry."""

_IN_FLIGHT_HALF_RANGE: Final = 0.05
"""Half range of a climb while the in-flight limit holds: then the rate only has to stay above what the limit allows."""


class _InFlightLimit:
    """The hypothesis that a call is refused if and only if too many others are in flight.

    The refusal that ends the ramp proposes the limit. Now and then the limit is raised: a refusal at the raised limit
    confirms the hypothesis, two other refusals in a row refute it. Three refusals in a row propose it again if each had
    more calls in flight than any accepted call before it, and many more than the average.
    """

    def __init__(self) -> None:
        self.limit: float = math.inf
        self._contradictions = self._calls = self._supporting_refusals = self._most_accepted = 0
        self._mean_others = 0.0
        self._step = 1
        self._raised = False
        self._calls_per_raise = 25.0

    def report_accepted(self, others: int, refusal_cost_calls: float) -> float:
        """Count an accepted call, sent while `others` were in flight; return the factor by which the limit was raised.

        Args:
            others: Other calls in flight when it was sent.
            refusal_cost_calls: Calls that could be made in the time that a refusal costs.
        """
        self._calls += 1
        self._most_accepted = max(self._most_accepted, others)
        self._mean_others += (others - self._mean_others) / 50
        if self.limit == math.inf:
            return 1.0
        self._raised = self._raised and not (others >= self.limit - 1 and self._calls > 3)
        if self._calls < self._calls_per_raise * max(1.0, refusal_cost_calls / 6):
            return 1.0
        before, self.limit = self.limit, self.limit + self._step
        self._step, self._calls, self._raised = 2 * self._step, 0, True
        return self.limit / before

    def report_refused(self, others: int, accepted_calls: int, *, ramping: bool) -> bool:
        """Return whether the hypothesis explains this refusal; it explains any that ends the ramp.

        Args:
            others: Other calls in flight when the refused call was sent.
            accepted_calls: Calls accepted since the refusal before it.
            ramping: The refusal ends the ramp.
        """
        fits = ramping
        if self._raised:
            self._contradictions = 0
            self._calls_per_raise = min(4 * self._calls_per_raise, max(100.0, 25 * self.limit))
            fits = others >= self.limit - 1 - self._step
        elif self.limit < math.inf:
            self._contradictions += 1
            fits = self._contradictions < 2 and accepted_calls >= 8 and others >= self.limit - 1
        elif not ramping and accepted_calls >= 16:
            supports = others > max(self._most_accepted, 1.3 * self._mean_others + 0.5)
            self._supporting_refusals = self._supporting_refusals + 1 if supports else 0
            fits = self._supporting_refusals >= 3
        self._most_accepted = 0
        if fits and self.limit == math.inf:
            self._contradictions = self._supporting_refusals = 0
        self.limit = max(1, others) if fits else math.inf
        self._calls, self._step, self._raised = 0, 1, False
        return fits

    def report_early_refusal(self, others: int, accepted_calls: int) -> None:
        """Count a refusal soon after another; the second one, or one with far fewer others in flight, refutes."""
        self._contradictions += accepted_calls > 0 and not self._raised
        if self._contradictions >= 2 or others < self.limit * 0.75 - 1:
            self.limit, self._raised = math.inf, False


class Pace:
    """Decides when the next call may be sent; all times are seconds on one clock.

    Args:
        rate_per_s: The user's upper bound, > 0; None sets none.
    """

    def __init__(self, rate_per_s: float | None = None) -> None:
        self._bound_per_s = MAX_RATE_PER_S if rate_per_s is None else rate_per_s
        self._rate = min(FIRST_RATE_PER_S, self._bound_per_s)
        self._rate_before_raise = 0.0
        self._ramping = True
        self._next_send_s = self._last_sent_s = self._paused_until_s = self._last_refusal_s = -math.inf
        self._in_flight = self._sent_calls = self._refusals_in_a_row = 0
        self._refused_share = 0.0
        self._in_flight_limit = _InFlightLimit()
        self._estimate = Estimate()
        self._epoch = Epoch(0.0, 0, refused_calls=0, paused=False)
        self._last_refused_sent_s, self._last_epoch_calls, self._last_epoch_s = 0.0, 0, 1.0
        self._refusal_cost_calls = 1.0
        # the rate climbs by 2 × the half range in a stage of `_stage_calls`
        self._stage_half_range = self._stage_calls = self._stage_calls_left = 1.0

    def __repr__(self) -> str:
        limit = self._in_flight_limit.limit
        limited = "" if limit == math.inf else f", at most {limit:.0f} in flight"
        state = "ramping" if self._ramping else f"estimate {self._estimate.rate_per_s:.4g}±{self._estimate.error:.0%}"
        return f"<Pace {self._rate:.4g}/s, {state}{limited}, {self._in_flight} in flight>"

    @property
    def rate_per_s(self) -> float:
        """The pacing rate."""
        return self._rate

    def ready_at(self, now_s: float) -> float:
        """Return when the next call may be sent, >= `now_s`; infinity when a call in flight must end first."""
        if self._in_flight >= self._in_flight_limit.limit:
            return math.inf
        return max(now_s, self._next_send_s, self._paused_until_s)

    def report_sent(self, now_s: float) -> Token:
        """Note that a call is sent; its end is reported with the token."""
        if self._sent_calls == 0:
            self._epoch.began_s = now_s
        gap_s = 1 / self._rate
        if now_s - max(self._next_send_s, self._paused_until_s) <= gap_s:  # later sends were not held back by the pace
            self._climb(max(0.0, now_s - self._last_sent_s), gap_s)
        catch_up = 0 <= now_s - self._next_send_s <= max(gap_s / 4, _CATCH_UP_S)
        self._next_send_s = (self._next_send_s if catch_up else now_s) + 1 / self._rate
        self._last_sent_s = now_s
        token = Token(now_s, self._sent_calls, self._in_flight, self._rate)
        self._epoch.add(token)
        self._sent_calls += 1
        self._in_flight += 1
        return token

    def report_accepted(self, now_s: float, token: Token) -> None:
        """Note that a call was answered."""
        self.report_ended(now_s, token)
        if token.sent_s <= self._last_refusal_s:
            return
        if self._refusals_in_a_row >= _WINDOW_END_REFUSALS:
            self._restart_after_window(token)
        self._refusals_in_a_row = 0
        self._refused_share *= 0.99
        factor = self._in_flight_limit.report_accepted(token.others_in_flight, self._refusal_cost_calls)
        if factor > 1:  # space the sends evenly: a refusal then is due to the number in flight, not to two close sends
            self._rate_before_raise = self._rate
            served_calls = self._sent_calls - token.serial + self._epoch.accepted_calls(token)
            served_per_s = served_calls / max(1e-6, now_s - self._epoch.began_s)
            self._rate = self._clamp(min(self._rate, 0.95 * factor * served_per_s))

    def report_ended(self, now_s: float, token: Token) -> None:
        """Note that a call ended in a way that says nothing about the permitted rate."""
        self._in_flight = max(0, self._in_flight - 1)

    def report_refused(self, now_s: float, token: Token, wait_s: float | None) -> None:
        """Note that a call was refused; `wait_s` is the service's Retry-After, None when it sent none."""
        self.report_ended(now_s, token)
        pause_s = min(wait_s, _MAX_PAUSE_S) if wait_s is not None and wait_s > 0 else 0.0
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        accepted_calls = self._epoch.accepted_calls(token)
        if token.sent_s <= self._last_refusal_s:  # it was in flight when the last refusal came: count the two as one
            self._epoch.refused_calls += 1
            return
        self._last_refusal_s = now_s
        self._last_refused_sent_s = token.sent_s
        if self._ramping or accepted_calls >= (1 if pause_s else _MIN_MEASURED_CALLS):
            self._refusals_in_a_row = 1
            self._end_epoch(token, accepted_calls, pause_s)
        else:
            self._refusals_in_a_row += 1
            self._epoch.refused_calls += 1
            self._in_flight_limit.report_early_refusal(token.others_in_flight, accepted_calls)
        if accepted_calls > 0:
            self._refused_share = 0.99 * self._refused_share + 0.01
            self._rate = self._clamp(self._rate * (0.85 if self._refusals_in_a_row > 1 else 1.0))
        if not pause_s:
            hold_s = min(_MAX_HOLD_S, 2.0 ** min(self._refusals_in_a_row - 1, 30) / self._rate)
            self._next_send_s = max(now_s + hold_s, self._last_sent_s + 1 / self._bound_per_s)

    def report_allowance(self, now_s: float, token: Token, allowance: Allowance) -> None:
        """Note what a reply's headers say is left: when that is nothing, no call is sent before the reset."""
        if allowance.remaining <= 0 and allowance.reset_s is not None and 0 < allowance.reset_s <= MAX_PAUSE_S:
            self._paused_until_s = max(self._paused_until_s, now_s + allowance.reset_s)

    def learned(self) -> Learned:
        """Return the limit that the calls have met so far."""
        if self._in_flight_limit.limit < math.inf:
            return Learned(in_flight=int(self._in_flight_limit.limit))
        return Learned() if self._ramping else Learned(rate_per_s=self._estimate.rate_per_s)

    def _end_epoch(self, token: Token, accepted_calls: int, pause_s: float) -> None:
        """Begin a new epoch: choose the hypothesis that explains the refusal, and measure the rate where possible."""
        ramped, self._ramping = self._ramping, False
        fits = self._in_flight_limit.report_refused(token.others_in_flight, accepted_calls, ramping=ramped)
        if ramped:
            self._estimate.start_from_ramp(self._epoch, token)
        elif self._epoch.paused or not fits:
            self._estimate.measure(self._epoch, token)
        self._last_epoch_calls, self._last_epoch_s = accepted_calls, self._epoch.elapsed_s(token)
        self._epoch = Epoch(token.sent_s, token.serial, refused_calls=1, paused=pause_s > 0)
        self._refusal_cost_calls = 1 + self._estimate.rate_per_s * pause_s
        if not fits or (ramped and pause_s):
            self._start_below_estimate()
        else:
            self._start_stage(MAX_ERROR if ramped else _IN_FLIGHT_HALF_RANGE, 1.0)
            self._rate = max(self._rate, self._rate_before_raise)

    def _restart_after_window(self, token: Token) -> None:
        """Measure a fixed window: the calls that it admitted, divided by its length until it opened again."""
        closed_s = [max(0.0, at_s - self._epoch.began_s) for at_s in (self._last_refused_sent_s, token.sent_s)]
        highest, least = (self._last_epoch_calls / (self._last_epoch_s + pause_s) for pause_s in closed_s)
        if self._last_epoch_calls:
            self._estimate.lower(highest, 1 - least / highest)
        self._refusal_cost_calls = 1 + self._estimate.rate_per_s * closed_s[1]
        self._epoch = Epoch(token.sent_s, token.serial, refused_calls=0, paused=False)
        self._start_below_estimate()

    def _start_below_estimate(self) -> None:
        """Set the rate a little below the estimate; climb more slowly while more than 1 % of calls are refused.

        Such a share means that other processes use the account, too.
        """
        cost_calls = self._refusal_cost_calls * min(6.0, max(1.0, self._refused_share / 0.01))
        self._start_stage(self._estimate.error, cost_calls)
        self._rate = self._clamp(self._estimate.rate_per_s * (1 - self._estimate.error / 2))

    def _start_stage(self, half_range: float, cost_calls: float) -> None:
        self._stage_half_range = half_range
        self._stage_calls = self._stage_calls_left = max(8.0, cost_calls / half_range)

    def _climb(self, since_last_s: float, gap_s: float) -> None:
        """Raise the rate: double it in the ramp; later climb in stages, each steeper than the one before."""
        if self._ramping:
            self._rate = self._clamp(self._rate * 2 ** (min(since_last_s, _DOUBLING_S) / _DOUBLING_S))
        elif self._refusals_in_a_row <= 1:
            growth = min(2 * self._stage_half_range / self._stage_calls, gap_s / _DOUBLING_S * math.log(2))
            self._rate = self._clamp(self._rate * (1 + growth))
            self._stage_calls_left -= 1
            keeps_stage = self._in_flight_limit.limit < math.inf and self._stage_half_range == _IN_FLIGHT_HALF_RANGE
            if self._stage_calls_left <= 0 and not keeps_stage:
                self._start_stage(min(0.5, 1.6 * self._stage_half_range), self._refusal_cost_calls)

    def _clamp(self, rate: float) -> float:
        return min(self._bound_per_s, MAX_RATE_PER_S, max(MIN_RATE_PER_S, rate))
