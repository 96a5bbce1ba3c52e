"""A limiter in front of the fake service, and what its access log says about the calls."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from tests.fakes import Call, FakeOcr, Script, accept

UNDER_WAY_S: Final = 0.05
"""Calls that arrive this soon after a refusal were sent before the client read it; clocks differ by less."""


@dataclass(frozen=True, slots=True, order=True)
class LoggedCall:
    """One call, as the limiter logged it.

    Attributes:
        arrived_s: When its first byte arrived, in seconds of Unix time.
        ended_s: When its answer was sent.
        status: The answer's HTTP status; 0 when the client was gone before.
        retry_after_s: Seconds of the answer's Retry-After; None without the header.
    """

    arrived_s: float
    ended_s: float
    status: int
    retry_after_s: float | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the call got its page's text."""
        return self.status == 200


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running limiter.

    Attributes:
        url: Its base URL, for `--api-url`.
        service: The fake service behind it.
        read_log: Returns the logged calls; complete once the limiter has ended.
    """

    url: str
    service: FakeOcr
    read_log: Callable[[], Sequence[LoggedCall]]

    @property
    def let_through(self) -> int:
        """Calls that passed the limiter and were answered by the service."""
        return sum(self.service.billed.values())

    def calls(self) -> list[LoggedCall]:
        """Return the logged calls in the order of their arrival."""
        return sorted(self.read_log(), key=lambda call: (call.arrived_s, call.ended_s))


class Limiter(Protocol):
    """A kind of limiter and its settings."""

    def serve(self, directory: Path, latency_s: float) -> AbstractAsyncContextManager[Gateway]:
        """Run the limiter and a service that takes this long per page.

        Args:
            directory: An existing directory for settings and logs.
            latency_s: The service's time per page.
        """
        ...


def accept_after(latency_s: float) -> Script:
    """Return a script that accepts each call after this time."""

    async def script(call: Call) -> web.StreamResponse:
        await asyncio.sleep(latency_s)
        return accept(call)

    return script


def parse_retry_after(text: str) -> float | None:
    """Return the seconds of a logged Retry-After; None for `-` or nothing, with which logs mark a missing header."""
    return None if text in {"", "-"} else float(text)


def count_inside_retry_after(calls: Sequence[LoggedCall]) -> int:
    """Count the calls that arrived while the Retry-After of an earlier answer ran, except those already under way.

    Args:
        calls: In any order.
    """
    waits = [(call.ended_s, call.retry_after_s) for call in calls if call.retry_after_s is not None]
    events = sorted([*waits, *((call.arrived_s, None) for call in calls)], key=lambda event: event[0])
    inside, told_s, until_s = 0, 0.0, 0.0
    for at_s, wait_s in events:
        if wait_s is not None:
            told_s, until_s = at_s, max(until_s, at_s + wait_s)
        elif told_s + UNDER_WAY_S < at_s < until_s - UNDER_WAY_S:
            inside += 1
    return inside
