"""How close together calls may be: a ramp until the first refusal, then a climb through what the estimate leaves open.

Precedent: congestion control. The ramp (slow start, with spaced sends) doubles the pacing rate. From then on each
epoch, from one refusal to the next, measures the permitted rate, and the pacing rate climbs: slowly where a refusal
costs a long pause, fast where it costs one call. Source of the figures: `python -m tests.benchmarks.pace`.
"""

import math
from typing import Final

from pipeline.remote.pace.bucket import (
    FIRST_RATE_PER_S,
    MAX_ERROR,
    MAX_RATE_PER_S,
    MIN_RATE_PER_S,
    Epoch,
    Estimate,
    is_beyond,
)
from pipeline.remote.pace.calls import Start, Token
from pipeline.remote.pace.in_flight import InFlightLimit

_DOUBLING_S: Final = 0.2
"""Shortest time in which a rate doubles: 64 calls are in flight 0.5 s after the first answer; a token bucket with a
burst of 10 is overrun 2.6 times."""

_MAX_HOLD_S: Final = 20.0

_CATCH_UP_S: Final = 0.005
"""A send that is at most this late does not delay the next one: event loops oversleep by 1 to 2 ms."""

_MIN_MEASURED_CALLS: Final = 4
"""An epoch of fewer calls is too short to measure the rate by."""

_IN_FLIGHT_HALF_RANGE: Final = 0.05
"""Half range of a climb while the in-flight limit holds: then the rate only has to stay above what the limit allows."""

_STEEPER: Final = 1.6
_MAX_HALF_RANGE: Final = 0.5
"""Each stage of a climb is so many times steeper than the one before, up to this half range: limits are raised, too."""

_USUAL_REFUSALS: Final = 0.0035
_MAX_CARE: Final = 9.0
"""The climb is slower, by up to this factor, while a larger share of calls than usual is refused."""

_SETTLED_ERROR: Final = 0.03
"""Error of a rate that was found by other means; the climb through it begins 1.5 % below."""

_HOLD_GAPS: Final = 2
"""Gaps without a call after a refusal at such a rate: a refused call may count, too."""


class Ramp:
    """Doubles the rate: nothing has been refused."""

    def grow(self, since_last_s: float) -> float:
        """Return the factor by which the rate rises with a call, so many seconds after the one before it."""
        return math.pow(2, min(since_last_s, _DOUBLING_S) / _DOUBLING_S)


class Climb:
    """Raises the rate by 2 × the half range in a stage of calls, each stage steeper than the one before.

    Args:
        half_range: Of the rate around the estimate, as a share of it.
        cost_calls: Calls that could be made in the time that a refusal costs: the dearer, the slower.
        stays: The first stage is repeated while the calls in flight are what is limited.
    """

    def __init__(self, half_range: float, cost_calls: float, *, stays: bool = False) -> None:
        self._half_range, self._cost_calls, self._stays = half_range, cost_calls, stays
        self._calls = self._left = max(8.0, cost_calls / half_range)

    def grow(self, gap_s: float, *, is_limited: bool) -> float:
        """Return the factor by which the rate rises with a call.

        Args:
            gap_s: Time between two calls.
            is_limited: The calls in flight are limited.
        """
        growth = min(2 * self._half_range / self._calls, gap_s / _DOUBLING_S * math.log(2))
        self._left -= 1
        if self._left <= 0 and not (is_limited and self._stays):
            self._half_range, self._stays = min(_MAX_HALF_RANGE, _STEEPER * self._half_range), False
            self._calls = self._left = max(8.0, self._cost_calls / self._half_range)
        return 1 + growth


class Rate:
    """Spaces calls; all times are seconds on one clock.

    Args:
        bound_per_s: The user's upper bound, > 0.
    """

    def __init__(self, bound_per_s: float = MAX_RATE_PER_S) -> None:
        self._bound_per_s = bound_per_s
        self._rate = min(FIRST_RATE_PER_S, bound_per_s)
        self._rate_before_raise = 0.0
        self._next_send_s = self._last_sent_s = -math.inf
        self._refusals_in_a_row = 0
        self._refused_share = 0.0
        self._refusal_cost_calls = 1.0
        self._epoch = Epoch(0.0, 0, refused_calls=0, paused=False)
        self._is_first = True
        self.estimate = Estimate()
        self.in_flight = InFlightLimit()
        self._phase: Ramp | Climb = Ramp()

    def __repr__(self) -> str:
        limited = "" if self.in_flight.limit == math.inf else f", at most {self.in_flight.limit:.0f} in flight"
        state = "ramping" if self.is_ramping else f"estimate {self.estimate.rate_per_s:.4g}±{self.estimate.error:.0%}"
        return f"<Rate {self._rate:.4g}/s, {state}{limited}>"

    @property
    def is_ramping(self) -> bool:
        """True before the first refusal."""
        return isinstance(self._phase, Ramp)

    @property
    def per_s(self) -> float:
        """The pacing rate."""
        return self._rate

    @property
    def least_gap_s(self) -> float:
        """The time between two calls at the user's upper bound."""
        return 1 / self._bound_per_s

    def is_outlasted(self, closed_s: float) -> bool:
        """Return whether a well-known rate cannot be why the account was closed: a window must count the calls, too."""
        return not self.is_ramping and self.estimate.is_sure and is_beyond(self.estimate.rate_per_s, closed_s)

    def ready_at(self, in_flight: int) -> float:
        """Return when the next call may be sent; infinity when one of those in flight must end first."""
        return math.inf if in_flight >= self.in_flight.limit else self._next_send_s

    def report_sent(self, now_s: float, token: Token, paused_until_s: float) -> None:
        """Note that a call is sent; a pause before it held it back, the pace did not."""
        if self._is_first:
            self._epoch.began_s, self._is_first = now_s, False
        gap_s = 1 / self._rate
        if now_s - max(self._next_send_s, paused_until_s) <= gap_s:  # later sends were not held back by the pace
            self._climb(max(0.0, now_s - self._last_sent_s), gap_s)
        catch_up = 0 <= now_s - self._next_send_s <= max(gap_s / 4, _CATCH_UP_S)
        self._next_send_s = (self._next_send_s if catch_up else now_s) + 1 / self._rate
        self._last_sent_s = now_s
        self._epoch.add(token)

    def report_accepted(self, now_s: float, token: Token, sent_calls: int) -> None:
        """Note that a call was answered that was sent after the last refusal was known.

        Args:
            now_s: When the answer came.
            token: The call.
            sent_calls: Calls sent so far.
        """
        self._refusals_in_a_row = 0
        self._refused_share *= 0.99
        factor = self.in_flight.report_accepted(token.others_in_flight, self._refusal_cost_calls)
        if factor > 1:  # space the sends evenly: a refusal then is due to the number in flight, not to two close sends
            self._rate_before_raise = self._rate
            served_calls = sent_calls - token.serial + self._epoch.accepted_calls(token)
            served_per_s = served_calls / max(1e-6, now_s - self._epoch.began_s)
            self._rate = self._clamp(min(self._rate, 0.95 * factor * served_per_s))

    def report_refused(self, now_s: float, token: Token, pause_s: float) -> None:
        """Note that a call was refused that was sent after the last refusal was known; 0 s is no named pause."""
        accepted_calls = self._epoch.accepted_calls(token)
        if self.is_ramping or accepted_calls >= (1 if pause_s else _MIN_MEASURED_CALLS):
            self._refusals_in_a_row = 1
            self._end_epoch(token, accepted_calls, pause_s)
        else:
            self._refusals_in_a_row += 1
            self._epoch.refused_calls += 1
            self.in_flight.report_early_refusal(token.others_in_flight, accepted_calls)
        if accepted_calls > 0:
            self._refused_share = 0.99 * self._refused_share + 0.01
            self._rate = self._clamp(self._rate * (0.85 if self._refusals_in_a_row > 1 else 1.0))
        if not pause_s:
            hold_s = min(_MAX_HOLD_S, 2.0 ** min(self._refusals_in_a_row - 1, 30) / self._rate)
            self._next_send_s = max(now_s + hold_s, self._last_sent_s + self.least_gap_s)

    def exclude_refused(self) -> None:
        """Do not count a call as accepted that was refused for another reason than the rate."""
        self._epoch.refused_calls += 1

    def resume(self, following: Start, last_sent_s: float) -> None:
        """Go on after a time in which the account was closed, and no rate could be measured.

        Args:
            following: The first call that is admitted again.
            last_sent_s: When the last call was sent, by whatever rate.
        """
        self._next_send_s = last_sent_s + self.least_gap_s
        self._refusals_in_a_row = 0
        self._epoch = Epoch(following.sent_s, following.serial, refused_calls=0, paused=False)

    def settle(self, token: Token, rate: float, *, refused: bool, cost_calls: float = 1.0) -> None:
        """Take a rate that was found by other means, and climb from just below it.

        Args:
            token: The call that began the row of refusals, or ended it.
            rate: Calls per second.
            refused: The call was refused.
            cost_calls: Calls that could be made in the time that a refusal costs.
        """
        self.in_flight.forget()
        self.estimate.settle(rate, _SETTLED_ERROR)
        self._epoch = Epoch(token.sent_s, token.serial, refused_calls=int(refused), paused=False)
        self._refusals_in_a_row = 0
        self._refusal_cost_calls = cost_calls
        self._start_below_estimate()
        self._next_send_s = token.sent_s + (_HOLD_GAPS if refused else 1) / self._rate

    def _end_epoch(self, token: Token, accepted_calls: int, pause_s: float) -> None:
        """Begin a new epoch: choose the hypothesis that explains the refusal, and measure the rate where possible."""
        ramped = self.is_ramping
        fits = self.in_flight.report_refused(token.others_in_flight, accepted_calls, ramping=ramped)
        if ramped:
            self.estimate.start_from_ramp(self._epoch, token)
        elif self._epoch.paused or not fits:
            self.estimate.measure(self._epoch, token)
        self._epoch = Epoch(token.sent_s, token.serial, refused_calls=1, paused=pause_s > 0)
        self._refusal_cost_calls = 1 + self.estimate.rate_per_s * pause_s
        if not fits or (ramped and pause_s):
            self._start_below_estimate()
        else:
            self._phase = Climb(MAX_ERROR, 1.0) if ramped else Climb(_IN_FLIGHT_HALF_RANGE, 1.0, stays=True)
            self._rate = max(self._rate, self._rate_before_raise)

    def _start_below_estimate(self) -> None:
        """Set the rate a little below the estimate; climb more slowly while more calls are refused than usual.

        Such a share means that other processes use the account, too.
        """
        cost_calls = self._refusal_cost_calls * min(_MAX_CARE, max(1.0, self._refused_share / _USUAL_REFUSALS))
        self._phase = Climb(self.estimate.error, cost_calls)
        self._rate = self._clamp(self.estimate.rate_per_s * (1 - self.estimate.error / 2))

    def _climb(self, since_last_s: float, gap_s: float) -> None:
        """Raise the rate: double it in the ramp; later climb, unless calls are refused in a row."""
        if isinstance(self._phase, Ramp):
            self._rate = self._clamp(self._rate * self._phase.grow(since_last_s))
        elif self._refusals_in_a_row <= 1:
            self._rate = self._clamp(self._rate * self._phase.grow(gap_s, is_limited=self.in_flight.limit < math.inf))

    def _clamp(self, rate: float) -> float:
        return min(self._bound_per_s, MAX_RATE_PER_S, max(MIN_RATE_PER_S, rate))
