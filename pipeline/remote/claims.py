"""Claims: whether the headers that say that no call is left tell the truth, and until when calls wait because of them.

A header that says that nothing is left claims: no call gets through before the reset. Two replies contradict it:

1. Another accepted call that was sent later, arrived before the reset, and says that nothing is left, too. A window has
   one last call. Such headers come from token buckets, which refill all the time, and from constants.
2. The first accepted call after the reset says that nothing is left, although the limit is not one call. At its reset a
   window has calls left. Without this rule, a header that always says zero would let one call through per reset, for
   ever.

Some services write what is left when a call arrives, others when its reply is sent, after calls that were sent later
have been counted, too. Of the former, each reply says one less than the reply to the call before it; where it says
less than that, calls in flight are not subtracted a second time.

An accepted call after a reset that leaves something confirms the claims. After three contradictions without a
confirmation between them the headers are disbelieved for the rest of the run: the pace finds the limit by refusals
then, as if there were no headers. The headers of a refusal claim nothing that needs a proof: calls wait for the reset
that they name. Headers inform; they never let a call go out that the pace holds back.
"""

import math
from dataclasses import replace
from typing import Final

from pipeline.remote.allowance import Allowance

MAX_PAUSE_S: Final = 3600.0
"""A later reset belongs to the quota of a day or a month: what is left of it says nothing about the rate."""

_MIN_PAUSE_S: Final = 1.0
"""Resets count whole seconds: a pause of one may be one too long, which costs more than a refusal in so short a
window. After a refusal, a reset is as good as a Retry-After, which counts whole seconds, too."""

_MAX_CONTRADICTIONS: Final = 3
"""Contradictions without a confirmation. One or two may come from replies that overtake each other at a reset."""


class Claims:
    """Judges the allowances of one run; all times are seconds on one clock."""

    def __init__(self) -> None:
        self.is_disbelieved = False
        self._contradictions = 0
        self._claim_sent_s = -math.inf
        self._until_s = -math.inf
        self._awaits_first = False
        """No call after the last claim's reset has been answered."""
        self._last: tuple[int, int] | None = None
        """Serial and remaining calls of the youngest call that was answered."""
        self._counts_later_calls = False
        self._reset_s = math.inf
        """The last reset after which a call was answered."""

    def __repr__(self) -> str:
        state = "disbelieved" if self.is_disbelieved else f"{self._contradictions} contradictions"
        return f"<Claims until {self._until_s:.1f}, {state}>"

    def judge(
        self, now_s: float, sent_s: float, allowance: Allowance, *, serial: int, sent_since: int, accepted: bool
    ) -> Allowance | None:
        """Return what is left now if all calls have to wait for the reset; None if they need not.

        Args:
            now_s: When the reply arrived.
            sent_s: When its call was sent.
            allowance: From its headers.
            serial: Calls sent before this one.
            sent_since: Calls sent after this one: they use up what was left when the reply was written.
            accepted: The call was accepted, not refused.
        """
        if accepted:
            self._compare(now_s, sent_s, allowance)
            self._find_convention(serial, allowance.remaining)
        left = allowance.remaining if self._counts_later_calls else max(0, allowance.remaining - sent_since)
        if self.is_disbelieved or allowance.reset_s is None or left > 0:
            return None
        if not (_MIN_PAUSE_S if accepted else 0.0) < allowance.reset_s <= MAX_PAUSE_S:
            return None
        if accepted:
            self._until_s, self._awaits_first = max(self._until_s, now_s + allowance.reset_s), True
            if allowance.remaining == 0:
                self._claim_sent_s = max(self._claim_sent_s, sent_s)
        return replace(allowance, remaining=left)

    def _find_convention(self, serial: int, remaining: int) -> None:
        """Notice when more calls were counted between two replies than were sent between their calls."""
        if self._last is not None and serial < self._last[0]:
            return
        if self._last is not None and self._last[1] - remaining > serial - self._last[0]:
            self._counts_later_calls = True
        self._last = serial, remaining

    def _compare(self, now_s: float, sent_s: float, allowance: Allowance) -> None:
        """Count a contradiction or a confirmation of the claim so far."""
        is_zero = allowance.remaining == 0
        if self._awaits_first and sent_s >= self._until_s:
            self._awaits_first, self._reset_s = False, self._until_s
            self._contradictions += is_zero and allowance.limit != 1
        elif is_zero and sent_s > self._claim_sent_s > -math.inf and now_s < self._until_s - _MIN_PAUSE_S:
            self._contradictions += 1
        if not is_zero and sent_s >= self._reset_s:
            self._contradictions = 0
        self.is_disbelieved = self.is_disbelieved or self._contradictions >= _MAX_CONTRADICTIONS
