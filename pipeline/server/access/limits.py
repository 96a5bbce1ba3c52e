"""How many calls at once: a token bucket a key, kept as one number each.

Source: the generic cell rate algorithm (ITU-T I.371): a bucket is known by the moment at which it is full again.
"""

import math

_MANY = 1024


class BurstLimit:
    """Buckets that fill at one rate; a name without a bucket has a full one.

    Args:
        rate_per_s: Calls a second that each name may make for long.
        burst: Calls that it may make at once; the default is what one second brings, at least one.
    """

    def __init__(self, rate_per_s: float, burst: int | None = None) -> None:
        self._interval_s = 1 / rate_per_s
        self._burst = burst if burst is not None else max(1, math.ceil(rate_per_s))
        self._full_at_s: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<BurstLimit {1 / self._interval_s:g}/s, {self._burst} at once, {len(self._full_at_s)} buckets>"

    def take(self, name: str, now_s: float) -> float:
        """Take a call and return 0; or take none, and return how long to wait for one.

        Args:
            name: Whose bucket.
            now_s: A clock that never goes back.
        """
        full_at_s = max(now_s, self._full_at_s.get(name, now_s)) + self._interval_s
        wait_s = full_at_s - now_s - self._burst * self._interval_s
        if wait_s > 1e-9:  # what floating point makes of nothing
            return wait_s
        if len(self._full_at_s) >= _MANY:
            self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[name] = full_at_s
        return 0.0


def retry_after_s(wait_s: float) -> int:
    """Return a wait as the Retry-After header has it: whole seconds, not before the wait is over, at least 1."""
    return max(1, math.ceil(wait_s))
