"""The experiment after the first long closure: what kind of limit was that?

A limit that counts calls has admitted n of them and was shut for so long that about a length W of time has passed since
the first one. The next calls are spaced evenly at four times n/W, beyond the n-th, twice as fast each time n more have
passed. Where they are refused tells the kind:

- at the n-th: a window, and nothing was lost, because it would have been shut for the rest of W anyway;
- before it: a sliding counter, which still counts the calls of the window before, or a bucket; both admit n/W;
- after it: the closure was a penalty that lasts longer than the window whose limit was exceeded, or a bucket with a
  long Retry-After; n calls in the time of the last n before the refusal are admitted.
"""

import math
from dataclasses import dataclass
from typing import Final

from pipeline.remote.pace.bucket import is_beyond
from pipeline.remote.pace.calls import CallLog, Start, Token
from pipeline.remote.pace.rate import Rate
from pipeline.remote.pace.window import Window, likely_counter_s, likely_length_s

_SPEED: Final = 4.0
"""Times n/W. Slower, the last window of a run would end late; faster, a penalty would be met twice."""

_SLOWED: Final = 1.1
_LEAST_GAP_S: Final = 1e-5

_TOLERANCE: Final = 0.03
"""Share of the n calls by which two counts of a window differ when calls overtake one another."""

_AFTER_REFUSAL: Final = 0.985
_AFTER_SURPRISE: Final = 0.7
"""Factors of an even pace after a refusal that confirms it, and after one that came far too early."""

_MAX_CLIMB: Final = 1.1
_CONFIRMED: Final = 0.7
_MIN_CALLS: Final = 4
"""An even pace is confirmed when this share of it, and so many calls, were admitted before a refusal."""


@dataclass(frozen=True, slots=True)
class EvenPace:
    """A limit that is met by even spacing.

    Attributes:
        rate_per_s: Calls per second.
        is_penalty: Exceeding it closes the account for long.
    """

    rate_per_s: float
    is_penalty: bool

    def after_refusal(self, calls: int, elapsed_s: float, rate_per_s: float) -> "EvenPace | None":
        """Return the pace after a refusal; None when it is given up, because far fewer calls were admitted.

        Args:
            calls: Calls admitted since the account was last closed.
            elapsed_s: The time that they took.
            rate_per_s: The pacing rate of the refused call.
        """
        is_confirmed = calls >= max(_MIN_CALLS, _CONFIRMED * self.rate_per_s * elapsed_s)
        if not self.is_penalty and not is_confirmed:
            return None
        factor = _AFTER_REFUSAL if is_confirmed else _AFTER_SURPRISE
        return EvenPace(factor * min(rate_per_s, _MAX_CLIMB * self.rate_per_s), self.is_penalty)

    def is_given_up(self, closed_s: float) -> bool:
        """Return whether a closure is too long for this pace, so that the limit must be sounded again."""
        return not self.is_penalty and is_beyond(self.rate_per_s, closed_s)


class Sounding:
    """Spaces the calls of the experiment.

    Args:
        calls: Calls admitted before the closure.
        shut_s: Time from the first of them to the last refused probe.
        open_s: Time from the first of them to the first accepted probe, or to the end of a named pause.
        refused_calls: Calls refused in the closure.
    """

    def __init__(self, calls: int, shut_s: float, open_s: float, refused_calls: int = 0) -> None:
        self.calls = calls
        self._refused_calls = refused_calls
        self._shut_s, self._open_s = shut_s, open_s
        self._gap_s = likely_length_s(shut_s, open_s) / _SPEED / calls
        self._left = calls
        self._next_s = -math.inf
        self._start: Start | None = None

    def __repr__(self) -> str:
        return f"<Sounding {self.calls} in {self._shut_s:.3g} to {self._open_s:.3g} s at {1 / self._gap_s:.3g}/s>"

    def ready_at(self) -> float:
        """Return when the next call may be sent."""
        return self._next_s

    def is_slowed(self, rate: Rate, token: Token, log: CallLog) -> bool:
        """Return whether a refusal is that of a known rate, which holds the experiment back before its end."""
        passed = log.count(self._start.serial, token) if self._start is not None else 0
        is_bound = not rate.is_ramping and rate.per_s < _SLOWED / self._gap_s
        return is_bound and passed < (1 - _TOLERANCE) * self.calls

    def report_sent(self, token: Token) -> None:
        """Note that a call is sent; the first one begins the experiment."""
        if self._start is None:
            self._start = Start(token.sent_s, token.serial)
        self._next_s = token.sent_s + self._gap_s
        self._left -= 1
        if self._left <= 0:
            self._gap_s, self._left = max(_LEAST_GAP_S, self._gap_s / 2), self.calls

    def judge(self, token: Token, log: CallLog) -> Window | EvenPace:
        """Return what the refusal of a call says about the limit."""
        start = self._start or Start(token.sent_s, token.serial)
        passed = log.count(start.serial, token)
        if abs(passed - self.calls) <= _TOLERANCE * self.calls:
            return Window(self.calls, max(self._shut_s, token.sent_s - start.sent_s), self._open_s, start)
        if passed < self.calls:
            return EvenPace(
                self.calls / likely_counter_s(self._shut_s, self._open_s, self.calls, self._refused_calls),
                is_penalty=False,
            )
        # the refused call is one more than admitted: `calls` of them lie in less than the window
        span_s = (token.sent_s - log.sent_s(self.calls, token)) * self.calls / max(1, self.calls - 1)
        return EvenPace(self.calls / max(1e-3, span_s), is_penalty=True)
