"""A limit that counts calls: so many in a length of time.

The length of a window is a usual one. That of a spacing, a window of very few calls, is any number: it is bisected, as
far as timers and arrivals are exact. From there on no refusal or admission is a bound, because one late arrival would
leave the length far too long; it follows a weighted staircase instead (Kaernbach 1991, "Simple adaptive testing with
the weighted up-down method"): each admitted call shortens it by a small step, each refusal lengthens it by a large one,
and it rests where the share of refusals is the ratio of the two.
"""

import math
from dataclasses import dataclass
from typing import Final

from pipeline.remote.pace.calls import CallLog, Start, Token

_LENGTHS_S: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
"""Lengths that people configure."""

_LATE: Final = 1.0005
_LATE_S: Final = 0.005
"""A window is taken for so much longer, because clocks differ and calls arrive one after the other."""

_BISECTED_CALLS: Final = 3
"""A window of so few calls is a spacing, whose length is any number: it is bisected."""

NAMED_ROUNDING_S: Final = 1.0
"""Services round a Retry-After up to whole seconds."""

_COUNTER_LATE: Final = 1.1
"""A probe finds a counter open later than it is by up to this factor."""

_MIN_LENGTH_S: Final = 0.001
_PRECISION: Final = 0.03

_LONGER: Final = 0.02
_LONGER_AGAIN: Final = 0.1
"""Steps of a spacing's length: after a refusal, and after another one in a row; then it is bisected again."""

_FIRST_SHORTER: Final = 0.002
_SHORTER_AGAIN: Final = 0.0005
_LAST_SHORTER: Final = 0.0001
"""Step after an admitted call: halved at each refusal, down to where one call in 200 is refused; larger again where the
spacing is bisected again, which may leave it too long."""

_NEAR: Final = 1.1
"""Share of the length in which the calls before a refused one must lie, if the window has refused it."""

_NEAR_CLOSE: Final = 1.5
"""The same for a close spacing: late arrivals are a larger share of it."""

_TRUSTED_S: Final = 600.0
_TRUSTED_LENGTHS: Final = 10.0
"""After this time, and so many lengths, a window is measured anew: the limit may have been raised."""


def likely_length_s(shut_s: float, open_s: float) -> float:
    """Return the shortest usual length above `shut_s` and not above `open_s`; this one when there is none."""
    usual = (length * _LATE + _LATE_S for length in _LENGTHS_S if shut_s < length <= open_s * 1.02 + 0.02)
    return next(usual, open_s)


def likely_counter_s(shut_s: float, open_s: float, calls: int, refused_calls: int) -> float:
    """Return the likeliest length of a sliding counter, which opens only some time after one length.

    Args:
        shut_s: Time from the first call to the last refused probe.
        open_s: Time from the first call to the first accepted probe.
        calls: Calls admitted.
        refused_calls: Calls refused since; if they count, too, it opens later by their share of all.
    """
    latest = _COUNTER_LATE * (1 + refused_calls / max(1, calls + refused_calls))
    return next((length for length in _LENGTHS_S if shut_s / latest < length <= open_s * 1.02 + 0.02), open_s)


@dataclass(slots=True)
class Window:
    """The hypothesis that at most `calls` are admitted in `length_s`, whatever their spacing.

    It holds for fixed windows, whether their clock is the service's or begins with the first call, and for moving ones:
    a call waits until the one `calls` before it is a length ago.

    Attributes:
        calls: Calls that are admitted.
        shut_s: A length after which it was still shut.
        open_s: A length after which it was open.
        start: Calls before this one do not count.
        length_s: The length believed, between `shut_s` and `open_s`.
        is_close: It is a spacing so short that calls are sent before the one before is answered: the rate rests.
        shorter: Step by which the next admitted call shortens a spacing, as a share of the length.
        is_refused: The last call of a spacing was refused.
    """

    calls: int
    shut_s: float
    open_s: float
    start: Start
    length_s: float = math.inf
    is_close: bool = False
    shorter: float = _FIRST_SHORTER
    is_refused: bool = False

    def __post_init__(self) -> None:
        self.choose()

    @property
    def is_spacing(self) -> bool:
        """True when the window admits so few calls that its length is bisected."""
        return self.calls <= _BISECTED_CALLS

    def choose(self) -> None:
        """Choose the length from what is known."""
        if not self.is_spacing:
            length_s = likely_length_s(self.shut_s, self.open_s)
        elif self._is_bracketed:
            length_s = (self.shut_s + self.open_s) / 2
        else:
            length_s = self.open_s
        self.length_s = max(_MIN_LENGTH_S, length_s)

    def rounds(self, log: CallLog) -> int:
        """Return how often the window has been filled."""
        return log.count(self.start.serial) // self.calls

    def ready_at(self, log: CallLog) -> float:
        """Return when the next call is admitted; minus infinity for at once."""
        if log.count(self.start.serial) < self.calls:
            return -math.inf
        return log.sent_s(self.calls) + self.length_s

    def is_outdated(self, now_s: float) -> bool:
        """Return whether the window is to be measured anew."""
        return now_s - self.start.sent_s >= max(_TRUSTED_S, _TRUSTED_LENGTHS * self.length_s)

    def is_outlasted(self, closed_s: float, log: CallLog) -> bool:
        """Return whether the account was closed for longer than by this window: a longer one must count, too."""
        return self.rounds(log) >= 2 and closed_s > 1.5 * self.length_s + 0.5

    def is_full(self, token: Token, log: CallLog) -> bool:
        """Return whether the window may have refused this call: as many were sent shortly before."""
        if log.count(self.start.serial, token) < self.calls:
            return False
        return log.sent_s(self.calls, token) > token.sent_s - (_NEAR_CLOSE if self.is_close else _NEAR) * self.length_s

    def began_s(self, token: Token, log: CallLog) -> float:
        """Return when the first of the calls was sent that kept this one out."""
        return log.sent_s(self.calls, token)

    def report_shut(self, shut_s: float) -> None:
        """Note that a spacing was shut so long after the call before the refused one."""
        if self._is_bracketed and shut_s < self.open_s:
            self.shut_s = max(self.shut_s, shut_s)
            self.choose()
        elif self.is_refused:
            self.shorter = max(_SHORTER_AGAIN, self.shorter)
            self.shut_s = max(self.length_s, shut_s)
            self.open_s = (1 + _LONGER_AGAIN) * self.shut_s
            self.choose()
        else:
            self.is_refused = True
            self.shorter = max(_LAST_SHORTER, self.shorter / 2)
            self._step_to((1 + _LONGER) * self.length_s)

    def report_spaced(self, token: Token, log: CallLog) -> None:
        """Note that a call of a spacing was accepted."""
        if not self.is_spacing or log.count(self.start.serial, token) < self.calls:
            return
        self.is_refused = False
        if self._is_bracketed:
            self.open_s = min(self.open_s, token.sent_s - log.sent_s(self.calls, token))
            self.choose()
        elif self.is_full(token, log):  # a call after a longer gap, for want of pages, would be admitted by any spacing
            self._step_to(self.length_s * (1 - self.shorter))

    def report_named(self, shut_s: float, open_s: float) -> None:
        """Note a named end: `open_s` after the first call, told when it was shut `shut_s` after it.

        It is an upper bound, because some services name their whole window, whenever they refuse.
        """
        if shut_s < self.open_s:
            self.open_s = min(self.open_s, open_s)
        else:
            self.shut_s, self.open_s = max(shut_s, open_s - NAMED_ROUNDING_S), open_s
        self.shut_s = min(max(self.shut_s, shut_s), self.open_s)
        self.choose()

    def move(self, shut_s: float, open_s: float) -> None:
        """Measure the length anew: shut after the one time, open after the other."""
        self.shut_s, self.open_s = shut_s, open_s
        self.choose()

    @property
    def _is_bracketed(self) -> bool:
        """True while the length of a spacing is known less well than timers and arrivals allow."""
        return self.open_s - self.shut_s > 2 * _PRECISION * self.open_s

    def _step_to(self, length_s: float) -> None:
        self.shut_s = self.open_s = self.length_s = max(_MIN_LENGTH_S, length_s)
