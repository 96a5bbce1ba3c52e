"""Imitations of cloud gateways: how each counts calls, and the words and headers of its refusals."""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from tests.gateways.application import Decision, Refusal

Refuse = Callable[[float], Decision]
"""Makes a refusal from the seconds until a call would be admitted."""

ADMITTED: Final = Decision()


class TokenBucket:
    """A token bucket that is full at the start.

    Args:
        rate_per_s: Tokens per second.
        burst: Its size.
        refuse: Makes a refusal from the seconds until the next token.
    """

    def __init__(self, rate_per_s: float, burst: float, refuse: Refuse) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._refuse = refuse
        self._tokens = burst
        self._at_s: float | None = None

    def decide(self, now_s: float) -> Decision:
        """See `Admission`."""
        passed_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._tokens = min(self._burst, self._tokens + passed_s * self._rate_per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return self._refuse((1 - self._tokens) / self._rate_per_s)
        self._tokens -= 1
        return ADMITTED


def aws_refusal(_: float) -> Decision:
    """Return the refusal of Amazon API Gateway: no header says how long to wait."""
    return Decision(Refusal({"message": "Too Many Requests"}), {"x-amzn-ErrorType": "TooManyRequestsException"})


def azure_refusal(wait_s: float) -> Decision:
    """Return the refusal of Azure's Read operation: the text and Retry-After name the wait."""
    seconds = max(1, math.ceil(wait_s))
    message = (
        "Requests to the Read Operation have exceeded call rate limit of your current S0 pricing tier. "
        f"Please retry after {seconds} seconds."
    )
    return Decision(Refusal({"error": {"code": "429", "message": message}}), {"Retry-After": str(seconds)})


class ClockWindow:
    """A fixed window of the wall clock, such as each minute.

    Args:
        calls: Calls per window.
        window_s: Its length.
        describe: Makes the decision from whether the call is admitted, the calls left, and the seconds to the reset.
    """

    def __init__(self, calls: int, window_s: float, describe: Callable[[bool, int, int], Decision]) -> None:
        self._calls = calls
        self._window_s = window_s
        self._describe = describe
        self._window = -1
        self._admitted = 0

    def decide(self, now_s: float) -> Decision:
        """See `Admission`."""
        window = int(now_s // self._window_s)
        if window != self._window:
            self._window, self._admitted = window, 0
        is_admitted = self._admitted < self._calls
        self._admitted += is_admitted
        reset_s = math.ceil((window + 1) * self._window_s - now_s)
        return self._describe(is_admitted, self._calls - self._admitted, reset_s)


def quota_words(unit: str) -> str:
    """Return Google's message for a limit per `minute` or `day`."""
    return (
        f"Quota exceeded for quota metric 'Read requests' and limit 'Read requests per {unit} per user' of service "
        "'vision.googleapis.com' for consumer 'project_number:1'."
    )


def google(is_admitted: bool, left: int, reset_s: int) -> Decision:  # noqa: FBT001 - a callback
    """Decide like Google's APIs: the refusal speaks of a quota per minute, and names no wait."""
    del left, reset_s
    error = {"code": 429, "message": quota_words("minute"), "status": "RESOURCE_EXHAUSTED"}
    return ADMITTED if is_admitted else Decision(Refusal({"error": error}))


def google_in_status_text(is_admitted: bool, left: int, reset_s: int) -> Decision:  # noqa: FBT001
    """Decide like Google's APIs, with the words where our API has them."""
    del left, reset_s
    return ADMITTED if is_admitted else Decision(Refusal({"statusText": quota_words("minute")}))


def kong(calls: int) -> Callable[[bool, int, int], Decision]:
    """Return how Kong's plug-in rate-limiting decides: every answer has its headers."""

    def describe(is_admitted: bool, left: int, reset_s: int) -> Decision:  # noqa: FBT001
        headers = {
            "RateLimit-Limit": str(calls),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(reset_s),
            "X-RateLimit-Limit-Minute": str(calls),
            "X-RateLimit-Remaining-Minute": str(left),
        }
        if is_admitted:
            return Decision(headers=headers)
        refusal = Refusal({"message": "API rate limit exceeded", "request_id": "1"})
        return Decision(refusal, {**headers, "Retry-After": str(reset_s)})

    return describe


class Block:
    """At most `calls` in any `window_s`; one more blocks the account for `block_s`. Refused calls do not count.

    Args:
        calls: Calls per window.
        window_s: Its length.
        block_s: The penalty.
        refuse: Makes a refusal from the seconds until the block ends.
    """

    def __init__(self, calls: int, window_s: float, block_s: float, refuse: Refuse) -> None:
        self._calls = calls
        self._window_s = window_s
        self._block_s = block_s
        self._refuse = refuse
        self._admitted_s: deque[float] = deque()
        self._until_s = 0.0

    def decide(self, now_s: float) -> Decision:
        """See `Admission`."""
        if now_s < self._until_s:
            return self._refuse(self._until_s - now_s)
        while self._admitted_s and self._admitted_s[0] <= now_s - self._window_s:
            self._admitted_s.popleft()
        if len(self._admitted_s) >= self._calls:
            self._until_s = now_s + self._block_s
            return self._refuse(self._block_s)
        self._admitted_s.append(now_s)
        return ADMITTED


def cloudflare_refusal(wait_s: float) -> Decision:
    """Return Cloudflare's page of a rate limiting rule, error 1015."""
    page = (
        "<!doctype html><title>Access denied | x used Cloudflare to restrict access</title><h1>Error 1015</h1>"
        "You are being rate limited"
    )
    return Decision(Refusal(page), {"Retry-After": str(math.ceil(wait_s))})


def plain_refusal(_: float = 0.0) -> Decision:
    """Return a refusal that says nothing but its status."""
    return Decision(Refusal({"statusText": "Too Many Requests"}))


def day_refusal() -> Decision:
    """Return a refusal that speaks of a quota per day."""
    return Decision(Refusal({"statusText": quota_words("day")}))


class DayCap:
    """So many calls, then none: the day does not end within a test.

    Args:
        calls: Calls of the day.
        refuse: Makes a refusal.
    """

    def __init__(self, calls: int, refuse: Callable[[], Decision] = plain_refusal) -> None:
        self._left = calls
        self._refuse = refuse

    def decide(self, now_s: float) -> Decision:
        """See `Admission`."""
        del now_s
        if self._left <= 0:
            return self._refuse()
        self._left -= 1
        return ADMITTED
