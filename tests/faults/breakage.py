"""A broken reply: what the server does, what the client must make of it, and the means to do it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.remote.verdict import Accepted, Failed, Verdict
from tests.faults.raw_server import Act, Exchange, Way

Build = Callable[[Exchange], bytes]

PATIENCE_S: Final = 1.0
"""Between two bytes of a reply that comes slowly."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """A way to answer badly.

    Attributes:
        way: What the server does.
        verdict: What the client must make of it; a failed attempt counts as billed.
        in_runs: False when one of them would end a run, or needs a large page to be told from a good reply.
    """

    way: Way
    verdict: type[Verdict] = Failed
    in_runs: bool = True

    @property
    def name(self) -> str:
        """What it is called."""
        return self.way.name


def act_by(build: Build, ending: str) -> Act:
    """Return an act: these bytes, then "stay" (the next request may come), "close", "reset" or "hang"."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(build(exchange))
        match ending:
            case "close":
                exchange.writer.close()
            case "reset":
                exchange.reset()
            case "hang":
                await exchange.hang()
            case _:
                pass

    return act


def say(
    name: str, build: Build, ending: str = "close", *, verdict: type[Verdict] = Failed, in_runs: bool = True
) -> Breakage:
    """Return a reply that can be written down; it counts as work done unless it refuses."""
    worked = verdict in {Accepted, Failed}
    return Breakage(Way(name, act_by(build, ending), worked=worked), verdict, in_runs)


def do(name: str, act: Act, verdict: type[Verdict] = Failed) -> Breakage:
    """Return a reply that takes more than writing."""
    return Breakage(Way(name, act), verdict)


def plain(data: bytes) -> Build:
    """Return what builds the same bytes for every request."""
    return lambda _: data


async def pour(begin: bytes, again: bytes, exchange: Exchange, *, pause_s: float = 0.0) -> None:
    """Send without end; with pauses where nothing but a deadline can end it."""
    await exchange.send(begin)
    while True:
        await exchange.send(again)
        await asyncio.sleep(pause_s)
