"""The retry budget: limits how fast failed calls are repeated, for the whole account."""

import math
from typing import Final

_MAX_SAVED_RETRIES: Final = 10
_SUCCESSES_PER_RETRY: Final = 10
_UNPAID_SPACING_S: Final = 0.5


class RetryBudget:
    """Ten successful calls pay for one retry; at most ten paid retries are saved up, and ten are there at the start.

    While fewer than one call in ten fails, every retry is paid for and goes out at once. While more fail, the service
    is in trouble: unpaid retries go out at two per second. The budget delays retries and never denies one: a page
    fails only by its own attempts. Precedent: retry throttling in gRPC (proposal A6), `RetryBudget` in Finagle.

    All times are seconds on one clock.
    """

    def __init__(self) -> None:
        self._unspent_successes = _MAX_SAVED_RETRIES * _SUCCESSES_PER_RETRY
        self._last_unpaid_s = -math.inf

    def __repr__(self) -> str:
        return f"<RetryBudget {self._unspent_successes / _SUCCESSES_PER_RETRY} retries>"

    def count_success(self) -> None:
        """Count a call that was answered with a text."""
        self._unspent_successes = min(_MAX_SAVED_RETRIES * _SUCCESSES_PER_RETRY, self._unspent_successes + 1)

    def schedule_retry(self, now_s: float) -> float:
        """Return when a due retry may be sent: now if it is paid for, else 0.5 s after now and the last unpaid one."""
        if self._unspent_successes >= _SUCCESSES_PER_RETRY:
            self._unspent_successes -= _SUCCESSES_PER_RETRY
            return now_s
        self._last_unpaid_s = max(now_s, self._last_unpaid_s) + _UNPAID_SPACING_S
        return self._last_unpaid_s


def backoff_s(attempt: int, jitter: float, *, base_s: float = 1.0, cap_s: float = 20.0) -> float:
    """Return the wait before the next attempt: full jitter, rand(0, min(cap_s, base_s·2ⁿ)).

    Args:
        attempt: Attempts made so far, >= 1; n is one less.
        jitter: A random number, uniform in [0, 1).
        base_s: Longest wait before the second attempt.
        cap_s: Longest wait before any attempt.
    """
    return jitter * min(cap_s, base_s * 2.0 ** min(attempt - 1, 64))
