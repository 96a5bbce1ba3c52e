"""The evidence that a limiter admits a call by its gap to the one before: a bucket without a burst.

Every other limiter has admitted, at its first calls if not later, some that followed more closely than those which it
refused: a burst was used up, a window filled, calls in flight were sent close together. So calls are spaced when no
call was admitted that followed more closely than a refused one, but for what late timers and arrivals make of a gap.
"""

import math
from itertools import pairwise
from typing import Final

from pipeline.remote.pace.calls import CallLog, Start, Token
from pipeline.remote.pace.window import Window

_REFUSALS: Final = 2
_ADMITTED: Final = 6
"""So many refusals are enough, with so many admitted calls between them: in the simulations no other limiter looked
like a spacing after them, but for a key that several processes share, until a gap refutes it."""

_REMEMBERED: Final = 50
"""Gaps before a refused call that are looked at."""

_LATE: Final = 0.1
"""Share of a gap by which late timers and arrivals shorten or lengthen it."""

_REFUTED: Final = 0.15
"""Share by which an admitted gap must be shorter than a refused one to show that calls are not spaced after all."""

_SHORTEST_S: Final = 0.004
_LONGEST_S: Final = 0.075
"""Timers are late by as much as a shorter gap; longer ones are found by a rate as fast. Either does as well."""


class Gaps:
    """The shortest gap before an admitted call, and the longest one before a refused call."""

    def __init__(self) -> None:
        self._shortest_admitted_s, self._longest_refused_s = math.inf, 0.0
        self._most_admitted_others, self._fewest_refused_others = -1, math.inf
        self._admitted = self._refused = 0

    def report_accepted(self, token: Token) -> None:
        """Note a call that was answered."""
        self._most_admitted_others = max(self._most_admitted_others, token.others_in_flight)
        self._admitted += 1

    def report_refused(self, token: Token, log: CallLog) -> None:
        """Note a call that was refused; those before it were admitted, because a refusal comes back at once."""
        before_s = log.last_sent_s(_REMEMBERED, token)
        if not before_s:  # another run's calls have kept it out
            return
        *admitted_s, refused_s = [after_s - earlier_s for earlier_s, after_s in pairwise([*before_s, token.sent_s])]
        self._shortest_admitted_s = min(self._shortest_admitted_s, *admitted_s, math.inf)
        self._longest_refused_s = max(self._longest_refused_s, refused_s)
        self._fewest_refused_others = min(self._fewest_refused_others, token.others_in_flight)
        self._refused += self._admitted >= _ADMITTED or not self._refused
        self._admitted = 0

    @property
    def are_refuted(self) -> bool:
        """True when a call was admitted that followed far more closely than a refused one."""
        return self._shortest_admitted_s < (1 - _REFUTED) * self._longest_refused_s

    def spacing(self, token: Token) -> Window | None:
        """Return the spacing that explains the refusal of this call; None where calls are not spaced."""
        if self._refused < _REFUSALS or not _SHORTEST_S <= self._longest_refused_s <= _LONGEST_S:
            return None
        if self._most_admitted_others < self._fewest_refused_others:
            return None  # it may be a limit of the calls in flight
        if self._shortest_admitted_s < (1 - _LATE) * self._longest_refused_s:
            return None
        shut_s, open_s = min(self._longest_refused_s, self._shortest_admitted_s), self._shortest_admitted_s
        return Window(1, shut_s, open_s, Start(token.sent_s, token.serial), is_close=True)
