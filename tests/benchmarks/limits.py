"""Models of how services limit an account: each admits or refuses calls and knows the least possible time."""

import math
from typing import Protocol


class Limit(Protocol):
    """A limiter of one account."""

    def admit(self, now_s: float, in_service: int) -> bool:
        """Return whether a call is admitted that arrives now, while `in_service` others are being worked on."""
        ...

    def ideal_s(self, pages: int) -> float:
        """Return the least time in which this many calls can be served."""
        ...

    def retry_after_s(self, now_s: float) -> float | None:
        """Return the Retry-After of a call that is refused now; None leaves it to the load."""
        return None


class TokenBucket(Limit):
    """A token bucket of size `burst` that is refilled at `rate_per_s` and full at the start.

    Args:
        rate_per_s: Tokens per second.
        burst: Its size.
        named: A refusal's Retry-After is the time to the next token, in whole seconds.
    """

    def __init__(self, rate_per_s: float, burst: float, *, named: bool = False) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._named = named
        self._tokens = burst
        self._at_s = 0.0

    def admit(self, now_s: float, in_service: int) -> bool:
        self._tokens = min(self.burst, self._tokens + (now_s - self._at_s) * self.rate_per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def ideal_s(self, pages: int) -> float:
        return max(0.0, pages - self.burst) / self.rate_per_s

    def retry_after_s(self, now_s: float) -> float | None:
        return max(1.0, math.ceil((1 - self._tokens) / self.rate_per_s)) if self._named else None


class Concurrency(Limit):
    """At most `calls` in service at once; `latency_s` is their mean duration, for the ideal time."""

    def __init__(self, calls: int, latency_s: float) -> None:
        self._calls = calls
        self._latency_s = latency_s

    def admit(self, now_s: float, in_service: int) -> bool:
        return in_service < self._calls

    def ideal_s(self, pages: int) -> float:
        return pages / self._calls * self._latency_s


class BucketChange(Limit):
    """A token bucket that is replaced by another one at a time."""

    def __init__(self, before: TokenBucket, after: TokenBucket, *, at_s: float) -> None:
        self._before = before
        self._after = after
        self._at_s = at_s

    def admit(self, now_s: float, in_service: int) -> bool:
        return (self._before if now_s < self._at_s else self._after).admit(now_s, in_service)

    def ideal_s(self, pages: int) -> float:
        first = self._before.burst + self._before.rate_per_s * self._at_s
        return self._at_s + max(0.0, pages - first - self._after.burst) / self._after.rate_per_s


class ConcurrencyChange(Limit):
    """A limit of the calls in service that is replaced by another one at a time."""

    def __init__(self, before: int, after: int, latency_s: float, *, at_s: float) -> None:
        self._before = before
        self._after = after
        self._latency_s = latency_s
        self._at_s = at_s

    def admit(self, now_s: float, in_service: int) -> bool:
        return in_service < (self._before if now_s < self._at_s else self._after)

    def ideal_s(self, pages: int) -> float:
        left_pages = pages - self._before * self._at_s / self._latency_s
        return self._at_s + left_pages / self._after * self._latency_s
