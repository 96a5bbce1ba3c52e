"""Models of gateways that count calls in windows, block callers, or stack limits; each knows the least possible time.

Sources: HAProxy's freq_ctr.h (`read_freq_ctr_period`), the strategies of the PyPI package limits, Cloudflare's rate
limiting rules, nginx's ngx_http_limit_req_module.
"""

import copy
import math
from collections import deque

from tests.benchmarks.limits import Limit

_STEP_S = 0.005


class Greedy(Limit):
    """A limit whose least time is found by sending each call as soon as it is admitted."""

    def is_open(self, now_s: float) -> bool:
        """Return whether a call that arrives now would be admitted, without counting it."""
        return copy.deepcopy(self).admit(now_s, 0)

    def next_s(self, now_s: float) -> float:
        """Return a time, as early as is cheaply known, before which no call is admitted."""
        return now_s + _STEP_S

    def ideal_s(self, pages: int) -> float:
        oracle, now_s = copy.deepcopy(self), 0.0
        for _ in range(pages):
            while not oracle.is_open(now_s):
                now_s = oracle.next_s(now_s)
            oracle.admit(now_s, 0)
        return now_s


class CountedWindow(Greedy):
    """A window that the first call opens, and the first one after its end again; `exact` names the end."""

    def __init__(self, calls: int, window_s: float, *, exact: bool = False) -> None:
        self._calls, self._window_s, self._exact = calls, window_s, exact
        self._began_s, self._count = -math.inf, 0

    def admit(self, now_s: float, in_service: int) -> bool:
        if now_s >= self._began_s + self._window_s:
            self._began_s, self._count = now_s, 0
        self._count += 1
        return self._count <= self._calls

    def is_open(self, now_s: float) -> bool:
        return now_s >= self._began_s + self._window_s or self._count < self._calls

    def next_s(self, now_s: float) -> float:
        return max(now_s, self._began_s + self._window_s)

    def retry_after_s(self, now_s: float) -> float | None:
        return max(1.0, math.ceil(self._began_s + self._window_s - now_s)) if self._exact else None


class ClockWindow(Greedy):
    """A window of the service's clock, which the first call meets at `began` of its length."""

    def __init__(self, calls: int, window_s: float, *, began: float = 1 / 3, exact: bool = False) -> None:
        self._calls, self._window_s, self._began, self._exact = calls, window_s, began, exact
        self._window, self._count = -1, 0

    def _number(self, now_s: float) -> int:
        return math.floor(now_s / self._window_s + self._began)

    def admit(self, now_s: float, in_service: int) -> bool:
        if self._number(now_s) != self._window:
            self._window, self._count = self._number(now_s), 0
        self._count += 1
        return self._count <= self._calls

    def is_open(self, now_s: float) -> bool:
        return self._number(now_s) != self._window or self._count < self._calls

    def next_s(self, now_s: float) -> float:
        return (self._number(now_s) + 1 - self._began) * self._window_s + 1e-9

    def retry_after_s(self, now_s: float) -> float | None:
        return math.ceil(self.next_s(now_s) - now_s) if self._exact else None


class MovingWindow(Greedy):
    """At most `calls` in any period of `window_s`; refused calls do not count."""

    def __init__(self, calls: int, window_s: float, *, exact: bool = False) -> None:
        self._calls, self._window_s, self._exact = calls, window_s, exact
        self._admitted_s: deque[float] = deque()

    def is_open(self, now_s: float) -> bool:
        while self._admitted_s and self._admitted_s[0] + self._window_s <= now_s:
            self._admitted_s.popleft()
        return len(self._admitted_s) < self._calls

    def admit(self, now_s: float, in_service: int) -> bool:
        if not self.is_open(now_s):
            return False
        self._admitted_s.append(now_s)
        return True

    def next_s(self, now_s: float) -> float:
        return max(now_s, self._admitted_s[0] + self._window_s)

    def retry_after_s(self, now_s: float) -> float | None:
        return max(1.0, math.ceil(self.next_s(now_s) - now_s)) if self._exact else None


class SlidingCounter(Greedy):
    """The count of the window before, weighted by its share of the last `window_s`, plus the present one's.

    Args:
        calls: Admitted while the sum is at most this.
        window_s: Length of a window; the first call opens the first.
        counts_refused: Refused calls count, too.
        wait_s: The Retry-After of each refusal.
    """

    def __init__(
        self, calls: int, window_s: float, *, counts_refused: bool = False, wait_s: float | None = None
    ) -> None:
        self._calls, self._window_s, self._counts_refused, self._wait_s = calls, window_s, counts_refused, wait_s
        self._began_s, self._before, self._count = -math.inf, 0, 0

    def _turn(self, now_s: float) -> None:
        if now_s >= self._began_s + 2 * self._window_s:
            self._began_s, self._before, self._count = now_s, 0, 0
        elif now_s >= self._began_s + self._window_s:
            self._began_s, self._before, self._count = self._began_s + self._window_s, self._count, 0

    def is_open(self, now_s: float) -> bool:
        self._turn(now_s)
        left = 1 - (now_s - self._began_s) / self._window_s
        return self._before * left + self._count + 1 <= self._calls

    def admit(self, now_s: float, in_service: int) -> bool:
        is_open = self.is_open(now_s)
        self._count += is_open or self._counts_refused
        return is_open

    def retry_after_s(self, now_s: float) -> float | None:
        return self._wait_s


class Block(Greedy):
    """`calls` in any period of `window_s`; one more blocks the caller for `block_s`, named in Retry-After or not."""

    def __init__(self, calls: int, window_s: float, block_s: float, *, named: bool) -> None:
        self._calls, self._window_s, self._block_s, self._named = calls, window_s, block_s, named
        self._hits_s: deque[float] = deque()
        self._until_s = -math.inf

    def _expire(self, now_s: float) -> None:
        while self._hits_s and self._hits_s[0] + self._window_s <= now_s:
            self._hits_s.popleft()

    def is_open(self, now_s: float) -> bool:
        self._expire(now_s)
        return now_s >= self._until_s and len(self._hits_s) < self._calls

    def admit(self, now_s: float, in_service: int) -> bool:
        self._expire(now_s)
        if now_s < self._until_s:
            return False
        self._hits_s.append(now_s)
        if len(self._hits_s) <= self._calls:
            return True
        self._until_s = now_s + self._block_s
        return False

    def next_s(self, now_s: float) -> float:
        first_s = self._hits_s[0] + self._window_s if len(self._hits_s) >= self._calls else now_s
        return max(now_s, self._until_s, first_s)

    def retry_after_s(self, now_s: float) -> float | None:
        return math.ceil(self._until_s - now_s) if self._named else None


class Stack(Greedy):
    """Several limits, asked in turn: the first that refuses ends the asking, as in the package limits."""

    def __init__(self, *limits: Greedy) -> None:
        self._limits = limits
        self._refused: Greedy | None = None

    def is_open(self, now_s: float) -> bool:
        return all(limit.is_open(now_s) for limit in self._limits)

    def admit(self, now_s: float, in_service: int) -> bool:
        self._refused = next((limit for limit in self._limits if not limit.admit(now_s, in_service)), None)
        return self._refused is None

    def next_s(self, now_s: float) -> float:
        return max(limit.next_s(now_s) for limit in self._limits if not limit.is_open(now_s))

    def retry_after_s(self, now_s: float) -> float | None:
        return self._refused.retry_after_s(now_s) if self._refused is not None else None
