"""What is believed of the account's limits, and what each refusal and each opening change about it.

The theory, with a diagram of the states, is in `pace`.
"""

import math
from typing import Final

from pipeline.remote.learned import Learned
from pipeline.remote.pace.bucket import CLOSED_AGAIN_S
from pipeline.remote.pace.calls import CallLog, Start, Token
from pipeline.remote.pace.closure import LONE_REFUSALS, Closure
from pipeline.remote.pace.gaps import Gaps
from pipeline.remote.pace.rate import Rate
from pipeline.remote.pace.sounding import EvenPace, Sounding
from pipeline.remote.pace.window import NAMED_ROUNDING_S, Window

_LONG_PAUSE_S: Final = 8.0
_LONG_PAUSE: Final = 5.0
"""A named pause is sounded when it is longer than this, and than so many times the time before it."""

_CARE: Final = 4.0
"""The climb through an even pace is slower than the cost of a refusal alone would make it: the pace is well known."""

_SHORTEST_SPACING_S: Final = 0.15
_LONGEST_SPACING_S: Final = 120.0
_SPACED_CALLS: Final = 2
"""A closure after so few calls measures their spacing, unless it is so short that the rate finds it as fast, or so long
that it was an outage."""

_NAMED_SPACING_S: Final = 3.0
"""A shorter named pause is rounded too coarsely to measure a spacing."""

_OVERRUN_CALLS: Final = 2.0
"""Calls sent while a refusal comes back, above which probes go alone, unless the rate is well known."""

_EARLY: Final = 0.9
"""A window that opens after less than this share of its length has another clock."""


class Hypotheses:
    """The windows, the rate or the even pace that explain the refusals so far.

    Args:
        rate: Spaces calls where nothing else does.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._log = CallLog()
        self._gaps = Gaps()
        self._windows: list[Window] = []
        self._sounding: Sounding | None = None
        self._even: EvenPace | None = None
        self._closure: Closure | None = None
        self._start: Start | None = None
        """The first call since the account was last closed."""
        self._origin: Start | None = None
        """The first call that a window longer than those known would count."""
        self._named_calls = 0
        """Calls admitted before the last named pause."""
        self._sent_calls = 0
        self._last_sent_s = self._last_refusal_s = -math.inf

    def __repr__(self) -> str:
        parts = [repr(self._rate)[6:-1], *(f"{window.calls} in {window.length_s:.3g} s" for window in self._windows)]
        parts += [repr(self._sounding)[1:-1]] if self._sounding else []
        parts += [f"closed after {self._closure.calls}"] if self._closure else []
        return f"<Hypotheses {', '.join(parts)}>"

    @property
    def rate_per_s(self) -> float:
        """The pacing rate."""
        return self._rate.per_s if self._spacing is None else 1 / self._spacing.length_s

    @property
    def _spacing(self) -> Window | None:
        """The window that spaces the calls in place of the rate, which rests meanwhile."""
        return next((window for window in self._windows if window.is_close), None)

    def ready_at(self, in_flight: int) -> float:
        """Return when the next call may be sent; infinity when one of those in flight must end first."""
        if self._closure is not None and self._closure.is_lone:
            return math.inf if in_flight else max(self._closure.probe_s, self._last_sent_s + self._rate.least_gap_s)
        ready_s = [window.ready_at(self._log) for window in self._windows]
        if self._sounding is not None:
            ready_s.append(self._sounding.ready_at())
        if self._spacing is not None:
            return max(self._last_sent_s + self._rate.least_gap_s, *ready_s)
        return max(self._rate.ready_at(in_flight), *ready_s, -math.inf)

    def report_sent(self, token: Token, paused_until_s: float) -> None:
        """Note that a call is sent; `paused_until_s` is the end of the last named pause."""
        if self._spacing is None:
            self._rate.report_sent(token.sent_s, token, paused_until_s)
        self._log.add(token)
        here = Start(token.sent_s, token.serial)
        self._start, self._origin = self._start or here, self._origin or here
        if self._sounding is not None:
            self._sounding.report_sent(token)
        self._sent_calls, self._last_sent_s = token.serial + 1, token.sent_s

    def report_accepted(self, now_s: float, token: Token) -> None:
        """Note that a call was answered that was sent after the last refusal was known."""
        if self._spacing is None:
            self._rate.report_accepted(now_s, token, self._sent_calls)
        self._gaps.report_accepted(token)
        for window in self._windows:
            window.report_spaced(token, self._log)
        if any(window.is_outdated(token.sent_s) for window in self._windows):
            self._forget(token)
        if self._closure is not None:
            closure, self._closure = self._closure, None
            self._reopen(closure, token)

    def report_refused_too(self, token: Token) -> None:
        """Note that a call was refused that was in flight when the last refusal came: the two count as one."""
        self._log.remove(token)
        self._rate.exclude_refused()
        if self._closure is not None:
            self._closure.refused_calls += 1

    def report_refused(self, now_s: float, token: Token, pause_s: float) -> None:
        """Note that a call was refused that was sent after the last refusal was known.

        Args:
            now_s: When the refusal came.
            token: The call.
            pause_s: The pause that the service has named; 0 for none.
        """
        self._log.remove(token)
        # a refusal comes back at once: an earlier call without an answer was admitted, and the account open in between
        was_open = self._log.count_sent(self._last_refusal_s, token.sent_s - (now_s - token.sent_s)) > 0
        self._last_refusal_s = now_s
        closure = self._closure
        if closure is None or was_open:
            closure = self._closure = self._close(token, pause_s)
        closure.add(token, pause_s)
        self._gaps.report_refused(token, self._log)
        if not pause_s:
            self._judge_gaps(closure, token)
        if closure.is_known or closure.is_row:
            self._rate.exclude_refused()
        else:
            self._rate.report_refused(now_s, token, pause_s)
        is_unsure = self._rate.in_flight.limit == math.inf and (closure.refusals > 1 or not self._rate.estimate.is_sure)
        closure.is_overrun = is_unsure and (now_s - token.sent_s) * self._rate.per_s > _OVERRUN_CALLS
        closure.plan_probe(now_s, self._rate.per_s, self._log)
        if pause_s:
            self._expect_end(closure, now_s, token, pause_s)

    def learned(self) -> Learned:
        """Return the limits that the calls have met so far: what counts calls goes before what spaces them."""
        if windows := tuple((window.calls, window.length_s) for window in self._windows if not window.is_spacing):
            return Learned(windows=windows)
        if self._windows:
            return Learned(rate_per_s=min(window.calls / window.length_s for window in self._windows))
        if self._rate.in_flight.limit < math.inf:
            return Learned(in_flight=int(self._rate.in_flight.limit))
        return Learned() if self._rate.is_ramping else Learned(rate_per_s=self._rate.estimate.rate_per_s)

    def _close(self, token: Token, pause_s: float) -> Closure:
        """Return a new closure; a sounding ends with it."""
        start = self._start or Start(token.sent_s, token.serial)
        closure = Closure(token, self._log.count(start.serial, token), start, self._rate)
        found: Window | EvenPace | None = None
        if self._sounding is not None and self._sounding.is_slowed(self._rate, token, self._log):
            return closure
        if self._sounding is not None:
            found, self._sounding = self._sounding.judge(token, self._log), None
            if isinstance(found, EvenPace) and 0 < pause_s < _LONG_PAUSE_S:
                found = None  # a bucket, which fills up during the pause: the rate measures it better
        elif self._even is not None:
            elapsed_s = token.sent_s - start.sent_s
            found = self._even = self._even.after_refusal(closure.calls, elapsed_s, token.rate_per_s)
        elif self._windows:
            found = next((window for window in self._windows if window.is_full(token, self._log)), None)
            closure.contradicted = found is None
        if isinstance(found, Window):
            closure.full = found
            if found not in self._windows:
                self._windows.append(found)
        elif found is not None:
            self._settle(found, token, pause_s, refused=True)
        closure.is_known = found is not None
        closure.is_even = isinstance(found, EvenPace) and not found.is_penalty
        return closure

    def _settle(self, even: EvenPace, token: Token, closed_s: float, *, refused: bool) -> None:
        """Climb from just below an even pace; `closed_s` is what a refusal costs."""
        self._even = even
        self._rate.settle(token, even.rate_per_s, refused=refused, cost_calls=_CARE * (1 + even.rate_per_s * closed_s))

    def _expect_end(self, closure: Closure, now_s: float, token: Token, pause_s: float) -> None:
        """Draw conclusions from a named pause: when it ends, the account is open."""
        passed_s = token.sent_s - closure.start.sent_s
        opens_s = now_s + pause_s
        is_long = pause_s >= _LONG_PAUSE_S and pause_s > _LONG_PAUSE * passed_s
        is_repeated = closure.refusals == 1 and 0 < closure.calls == self._named_calls
        self._start, self._named_calls = None, closure.calls
        if closure.full is not None and not closure.full.is_outlasted(pause_s, self._log):
            began_s = closure.full.began_s(closure.first, self._log)
            closure.full.report_named(token.sent_s - began_s, opens_s - began_s)
            if opens_s < began_s + _EARLY * closure.full.length_s:  # its clock is the service's
                closure.full.start = Start(opens_s, self._sent_calls)
        elif is_repeated and closure.calls <= _SPACED_CALLS and not self._windows:
            if pause_s >= _NAMED_SPACING_S:
                self._space(closure, opens_s - NAMED_ROUNDING_S, Start(opens_s, self._sent_calls))
        elif closure.calls and self._even is None and (closure.full is not None or is_long or is_repeated):
            self._sound(closure, opens_s - NAMED_ROUNDING_S, opens_s, None)
        elif closure.contradicted:
            closure.contradicted = False
            self._windows.pop()

    def _reopen(self, closure: Closure, token: Token) -> None:
        """Draw conclusions from the end of a closure: its last probe was accepted."""
        if closure.pause_s and closure.refusals < LONE_REFUSALS:  # it was expected then
            return
        closed_s = closure.length_s(token)
        if self._even is not None and not self._even.is_given_up(closed_s):
            if self._even.is_penalty and closed_s >= CLOSED_AGAIN_S:
                self._settle(self._even, token, closed_s, refused=False)
        elif self._windows:
            self._judge_window(closure, token)
        elif closure.is_long(token) and (closure.calls > _SPACED_CALLS or self._rate.is_outlasted(closed_s)):
            self._sound(closure, closure.last.sent_s, token.sent_s, token)
        elif closure.refusals >= LONE_REFUSALS and 0 < closure.calls <= _SPACED_CALLS:
            self._space(closure, closure.last.sent_s, Start(token.sent_s, token.serial))
        elif closure.is_long(token):
            self._rate.resume(Start(token.sent_s, token.serial), self._last_sent_s)
        self._start = Start(token.sent_s, token.serial)

    def _judge_window(self, closure: Closure, token: Token) -> None:
        """Move the end of the full window, give a contradicted one up, or look for a longer one."""
        if closure.full is not None and not closure.full.is_outlasted(closure.length_s(token), self._log):
            if not closure.full.is_spacing and closure.refusals > 1:
                self._move(closure.full, closure, closure.last.sent_s, Start(token.sent_s, token.serial))
        elif closure.is_long(token) and self._windows[-1].is_outlasted(closure.length_s(token), self._log):
            self._sound(closure, closure.last.sent_s, token.sent_s, token)
        elif closure.is_long(token):
            self._forget(token)
        else:
            window = self._windows.pop()
            self._settle(EvenPace(window.calls / window.length_s, is_penalty=False), token, 0.0, refused=False)

    def _forget(self, token: Token) -> None:
        """Learn the windows anew, from the next closure on."""
        self._windows.clear()
        self._gaps = Gaps()
        self._origin = self._start = Start(token.sent_s, token.serial)
        self._rate.resume(self._start, self._last_sent_s)

    def _space(self, closure: Closure, shut_at_s: float, following: Start) -> None:
        """Measure the spacing of calls that a closure after very few of them shows; the `following` call ends it."""
        if self._log.count(closure.start.serial) - self._log.count(following.serial) != closure.calls:
            return  # others were admitted between the refusals
        shut_s, open_s = ((at_s - closure.start.sent_s) / closure.calls for at_s in (shut_at_s, following.sent_s))
        if _SHORTEST_SPACING_S < open_s <= _LONGEST_SPACING_S:
            self._rate = closure.restore_rate(following, self._last_sent_s)
            self._rate.in_flight.forget()
            self._windows.append(Window(1, shut_s, open_s, following))

    def _judge_gaps(self, closure: Closure, token: Token) -> None:
        """Explain a refusal by its gap to the call before, where nothing else does; drop a spacing that it refutes."""
        if self._spacing is not None and self._gaps.are_refuted:
            self._windows.remove(self._spacing)
            closure.full, closure.is_known, closure.contradicted = None, False, False
            self._rate.resume(Start(token.sent_s, token.serial), self._last_sent_s)
        elif closure.is_known or closure.is_row or self._windows or self._sounding or self._even:
            return
        elif (spacing := self._gaps.spacing(token)) is not None:
            closure.full, closure.is_known = spacing, True
            self._windows.append(spacing)

    def _move(self, window: Window, closure: Closure, shut_at_s: float, following: Start) -> None:
        """Measure a window's length anew, which opens with the `following` call."""
        began_s = window.began_s(closure.first, self._log)
        is_early = following.sent_s < began_s + _EARLY * window.length_s
        window.move(shut_at_s - began_s, following.sent_s - began_s)
        if is_early:  # its clock is the service's: earlier calls do not count
            window.start = following

    def _sound(self, closure: Closure, shut_at_s: float, open_at_s: float, first: Token | None) -> None:
        """Begin a sounding of the limit that closed the account; `first` is its first call, if it is sent already."""
        start, calls = closure.start, closure.calls
        following = Start(open_at_s, self._sent_calls) if first is None else Start(first.sent_s, first.serial)
        closed_s = open_at_s - closure.first.sent_s
        if self._origin is not None and (self._windows or self._rate.is_outlasted(closed_s)):
            start, calls = self._origin, self._log.count(self._origin.serial, closure.first)
            self._origin = following
            for window in self._windows:
                window.start = following
        if not calls:
            return
        if not 0 < closure.pause_s < _LONG_PAUSE_S:  # else it may be a bucket's, and the rate learns from it
            self._rate = closure.restore_rate(following, self._last_sent_s)
        self._sounding = Sounding(calls, shut_at_s - start.sent_s, open_at_s - start.sent_s, closure.refused_calls)
        if first is not None:
            self._sounding.report_sent(first)
