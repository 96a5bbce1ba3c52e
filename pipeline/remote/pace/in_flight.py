"""The hypothesis that an account limits the calls in flight, not their rate."""

import math
from typing import Final

_CALLS_PER_RAISE: Final = 25.0
"""Calls after which the limit is tested; each refusal that confirms it makes the next test four times as rare."""

_MAX_LIMIT: Final = 4096
_FEW: Final = 2
_CALLS_PER_EARLY_RAISE: Final = 6.0
"""The same where the ramp was refused with few in flight: two close calls to a bucket without a burst look like it."""

_LEAST_FASTER: Final = 0.5
"""Each confirmation halves the share by which the next test is faster, down to this one: what was refused may have been
the spacing of the calls, and is not at a lower rate."""


class InFlightLimit:
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
        self._calls_per_raise = _CALLS_PER_RAISE
        self._confirmations = 0

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
        if self.limit > _MAX_LIMIT:  # more than any run has in flight: nothing tests it
            self.forget()
            return 1.0
        faster = self.limit / before - 1
        if self.limit == before + 1:
            faster = min(faster, max(_LEAST_FASTER, faster / 2**self._confirmations))
        return 1 + faster

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
            self._confirmations += 1
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
            self._contradictions = self._supporting_refusals = self._confirmations = 0
            if others <= _FEW:
                self._calls_per_raise = _CALLS_PER_EARLY_RAISE
        self.limit = max(1, others) if fits else math.inf
        self._calls, self._step, self._raised = 0, 1, False
        return fits

    def forget(self) -> None:
        """Drop the hypothesis: the refusals have another cause."""
        self.limit, self._raised = math.inf, False

    def report_early_refusal(self, others: int, accepted_calls: int) -> None:
        """Count a refusal soon after another; the second one, or one with far fewer others in flight, refutes."""
        self._contradictions += accepted_calls > 0 and not self._raised
        if self._contradictions >= 2 or others < self.limit * 0.75 - 1:
            self.limit, self._raised = math.inf, False
