"""A limit that counts calls: so many in a length of time."""

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

CLOSE_S: Final = 0.15
"""A spacing below this is close: calls are sent before the one before them is answered."""

_MIN_LENGTH_S: Final = 0.001
_PRECISION: Final = 0.03
_DOUBT_CALLS: Final = 100
_FEW_CALLS: Final = 5
_DOUBT: Final = 0.9
"""A spacing is tried a little shorter after so many calls; twice as many each time that few calls refute it."""

_NEAR: Final = 1.1
"""Share of the length in which the calls before a refused one must lie, if the window has refused it."""

_NEAR_CLOSE: Final = 1.5
"""The same for a short spacing: late arrivals are a larger share of it."""

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
        calm_calls: Calls of a spacing that were accepted in a row.
        doubt_calls: As many let a shorter spacing be tried: one late arrival may have made it too long.
    """

    calls: int
    shut_s: float
    open_s: float
    start: Start
    length_s: float = math.inf
    calm_calls: int = 0
    doubt_calls: int = _DOUBT_CALLS

    def __post_init__(self) -> None:
        self.choose()

    @property
    def is_spacing(self) -> bool:
        """True when the window admits so few calls that its length is bisected."""
        return self.calls <= _BISECTED_CALLS

    @property
    def is_close(self) -> bool:
        """True for a spacing so short that calls are sent before the one before is answered."""
        return self.is_spacing and self.length_s < CLOSE_S

    def choose(self) -> None:
        """Choose the length from what is known."""
        if not self.is_spacing:
            length_s = likely_length_s(self.shut_s, self.open_s)
        elif self.open_s - self.shut_s > 2 * _PRECISION * self.open_s:
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
        """Note that it was shut after this length; the limit of what is open moves when it contradicts."""
        if self.calm_calls < _FEW_CALLS:
            self.doubt_calls *= 2
        self.calm_calls = 0
        self.shut_s = max(self.shut_s, shut_s)
        if self.open_s <= self.shut_s * (1 + _PRECISION):
            self.open_s = 1.2 * self.shut_s
        if self.is_close:
            self.choose()

    def report_spaced(self, token: Token, log: CallLog) -> None:
        """Note that a call of a spacing was accepted."""
        if self.is_spacing and log.count(self.start.serial, token) >= self.calls:
            self.open_s = min(self.open_s, token.sent_s - log.sent_s(self.calls, token))
            self.calm_calls += 1
            if self.calm_calls >= self.doubt_calls:
                self.calm_calls, self.shut_s = 0, _DOUBT * min(self.shut_s, self.open_s)
            self.choose()

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
