"""The retry budget: how fast failed calls may be repeated, for the whole account."""

import math
from typing import Final

_MOST_RETRIES: Final = 10
_SUCCESSES_A_RETRY: Final = 10
_SPACING_S: Final = 0.5


class RetryBudget:
    """Retries feed on successes; times are seconds on one clock.

    Where fewer than one call in ten fails, retries go out unhindered. Where more fail, the service is in trouble, and
    what the successes do not pay for goes out at two a second. It delays and never denies: a page fails only by its
    own attempts. Precedent: retry throttling in gRPC (proposal A6), `RetryBudget` in Finagle.
    """

    def __init__(self) -> None:
        self._successes = _MOST_RETRIES * _SUCCESSES_A_RETRY
        self._next_s = -math.inf

    def __repr__(self) -> str:
        return f"<RetryBudget {self._successes / _SUCCESSES_A_RETRY} retries>"

    def succeed(self) -> None:
        """Count a call that brought a text."""
        self._successes = min(_MOST_RETRIES * _SUCCESSES_A_RETRY, self._successes + 1)

    def take(self, now_s: float) -> float:
        """Return when a retry that is due may go out: at once if it is paid for, else half a second after the last."""
        if self._successes >= _SUCCESSES_A_RETRY:
            self._successes -= _SUCCESSES_A_RETRY
            return now_s
        self._next_s = max(now_s, self._next_s) + _SPACING_S
        return self._next_s
