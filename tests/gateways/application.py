"""Limiters inside the service itself, as in Python web frameworks: the PyPI library `limits`, and imitations."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import limits
import orjson
from aiohttp import web
from limits.storage import MemoryStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from tests.fakes import Call, accept, serve_fake
from tests.gateways.gateway import Gateway, LoggedCall


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a call that is not admitted.

    Attributes:
        body: JSON as an object, or a page as a string.
        status: The HTTP status.
    """

    body: object
    status: int = 429

    def respond(self, headers: Mapping[str, str]) -> web.Response:
        """Return aiohttp's response."""
        if isinstance(self.body, str):
            return web.Response(text=self.body, content_type="text/html", status=self.status, headers=headers)
        return web.Response(
            body=orjson.dumps(self.body), content_type="application/json", status=self.status, headers=headers
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limiter says to one call.

    Attributes:
        refusal: The answer to a call that is refused; None admits it.
        headers: Headers of either answer.
    """

    refusal: Refusal | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Admission(Protocol):
    """A limiter of one account."""

    def decide(self, now_s: float) -> Decision:
        """Admit or refuse a call that arrives now, in seconds of Unix time."""
        ...


@dataclass(frozen=True, slots=True)
class Application:
    """The fake service with a limiter before its recognition.

    Attributes:
        admission: Makes the limiter.
    """

    admission: Callable[[], Admission]

    @asynccontextmanager
    async def serve(self, directory: Path, latency_s: float) -> AsyncGenerator[Gateway]:
        """Run the service; see `Limiter`. It needs no directory."""
        del directory
        admission = self.admission()
        log: list[LoggedCall] = []

        async def answer(call: Call) -> web.StreamResponse:
            arrived_s = time.time()
            decision = admission.decide(arrived_s)
            if decision.refusal is not None:
                response = decision.refusal.respond(decision.headers)
            else:
                await asyncio.sleep(latency_s)
                response = accept(call)
                response.headers.update(decision.headers)
            wait = decision.headers.get("Retry-After")
            log.append(LoggedCall(arrived_s, time.time(), response.status, None if wait is None else float(wait)))
            return response

        async with serve_fake(answer) as service:
            yield Gateway(service.url, service, lambda: log)


Strategy = Literal["fixed", "moving", "counter"]
Headers = Literal[
    "none", "Retry-After", "Retry-After rounded down", "Retry-After of the window", "X-RateLimit", "IETF", "RateLimit-*"
]
"""What answers say. Retry-After is rounded down to as little as 0 by earlier Flask-Limiters (flask-limiter#62), and is
the whole window instead of its rest with go-chi/httprate#47, fastify-rate-limit#324 and dotnet/runtime#92557."""

STRATEGIES: Final[Mapping[Strategy, Callable[[MemoryStorage], RateLimiter]]] = {
    "fixed": FixedWindowRateLimiter,
    "moving": MovingWindowRateLimiter,
    "counter": SlidingWindowCounterRateLimiter,
}


class Limits:
    """The limiter of `limits`, as Flask-Limiter, slowapi and others use it; refused calls do not count.

    Args:
        strategy: `fixed` and `moving` windows, or the sliding-window `counter`.
        rates: Such as `5/second;100/minute`, each of which must admit a call. A call that a later one refuses has
            already counted for the earlier ones.
        headers: What the answers say about the limit.
    """

    def __init__(self, strategy: Strategy, rates: str, headers: Headers = "none") -> None:
        self._limiter = STRATEGIES[strategy](MemoryStorage())
        self._rates = limits.parse_many(rates)
        self._headers = headers

    def decide(self, now_s: float) -> Decision:
        """See `Admission`."""
        failed = next((rate for rate in self._rates if not self._limiter.hit(rate)), None)
        rate = failed or self._rates[-1]
        window = self._limiter.get_window_stats(rate)
        headers = self._describe(rate, window.remaining, window.reset_time, now_s, is_refused=failed is not None)
        if failed is None:
            return Decision(headers=headers)
        return Decision(Refusal({"statusText": f"Rate limit exceeded: {failed}"}), headers)

    def _describe(
        self, rate: limits.RateLimitItem, remaining: int, reset_at_s: float, now_s: float, *, is_refused: bool
    ) -> dict[str, str]:
        reset_s = math.ceil(max(0.0, reset_at_s - now_s))
        match self._headers:
            case "X-RateLimit":
                values = {"Limit": rate.amount, "Remaining": remaining, "Reset": math.ceil(reset_at_s)}
                return {f"X-RateLimit-{name}": str(value) for name, value in values.items()}
            case "IETF":  # draft-ietf-httpapi-ratelimit-headers-10
                policy = f'"calls";q={rate.amount};w={rate.get_expiry()}'
                return {"RateLimit-Policy": policy, "RateLimit": f'"calls";r={remaining};t={reset_s}'}
            case "RateLimit-*":  # the same draft up to version 6
                values = {"Limit": rate.amount, "Remaining": remaining, "Reset": reset_s}
                return {f"RateLimit-{name}": str(value) for name, value in values.items()}
            case "none":
                return {}
            case "Retry-After" | "Retry-After rounded down" | "Retry-After of the window" as kind:
                waits_s = {"Retry-After": max(1, reset_s), "Retry-After of the window": rate.get_expiry()}
                wait_s = waits_s.get(kind, int(max(0.0, reset_at_s - now_s)))
                return {"Retry-After": str(wait_s)} if is_refused else {}


def limit_by_library(strategy: Strategy, rates: str, headers: Headers = "none") -> Application:
    """Return the service with the limiter of `limits`; see `Limits`."""
    return Application(lambda: Limits(strategy, rates, headers))
