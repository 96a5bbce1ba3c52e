"""A broken reply: how the server behaves, and which verdict the client must reach."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.remote.verdict import Accepted, Failed, Verdict
from tests.faults.raw_server import Act, Behaviour, Exchange, send_and

Build = Callable[[Exchange], bytes]

NOT_THE_SERVICES: Final = frozenset({"body-html"})
"""Breakages that are another machine's reply with the status of a success."""

SLOW_PAUSE_S: Final = 1.0
"""Between two pieces of a reply that comes slowly."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """One way in which a reply can be broken.

    Attributes:
        behaviour: How the server answers.
        verdict: The type of the client's verdict after other calls have succeeded; a failed attempt counts as billed
            if the service worked.
        in_runs: False when one such reply would end a run, or when only a large page can tell it from a good reply.
    """

    behaviour: Behaviour
    verdict: type[Verdict] = Failed
    in_runs: bool = True

    @property
    def name(self) -> str:
        """The behaviour's name."""
        return self.behaviour.name


def sends(
    name: str, build: Build, ending: str = "close", *, verdict: type[Verdict] = Failed, in_runs: bool = True
) -> Breakage:
    """Return a breakage that is a sequence of bytes; it counts as work done unless another host answers."""
    worked = verdict in {Accepted, Failed} and name not in NOT_THE_SERVICES
    return Breakage(Behaviour(name, send_and(ending, build), worked=worked), verdict, in_runs)


def acts(name: str, act: Act, verdict: type[Verdict] = Failed) -> Breakage:
    """Return a breakage that takes more than sending bytes."""
    return Breakage(Behaviour(name, act), verdict)


def constant(data: bytes) -> Build:
    """Return a builder of the same bytes for every request."""
    return lambda _: data


async def pour(begin: bytes, again: bytes, exchange: Exchange, *, pause_s: float = 0.0) -> None:
    """Send `begin`, then `again` without end.

    Args:
        begin: Sent once.
        again: Sent until the connection ends.
        exchange: The request.
        pause_s: Between two sends; needed where only a deadline ends the call, so that virtual time passes.
    """
    await exchange.send(begin)
    while True:
        await exchange.send(again)
        await asyncio.sleep(pause_s)
