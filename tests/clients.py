"""Clients of the API for tests, and addresses at which they reach no server."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager

from pipeline.remote.client import Client, open_client
from pipeline.remote.outcome import Outcome
from pipeline.remote.timeouts import Timeouts
from pipeline.service import Service
from pipeline.wire import build_image_body
from tests.runs import KEY

DEFAULT_TIMEOUTS = Timeouts()
BODY = build_image_body(b"an image", "image/png", "a.png")


def connect(
    url: str, *, key: str | None = KEY, timeouts: Timeouts = DEFAULT_TIMEOUTS, connections: int = 1
) -> AbstractAsyncContextManager[Client]:
    """Open a client of the service at a base URL."""
    return open_client(Service(url, key, "test"), timeouts, connections=connections)


async def post(
    url: str, *, key: str | None = KEY, timeouts: Timeouts = DEFAULT_TIMEOUTS, body: bytes = BODY
) -> Outcome:
    """Make one call with a new client; fail when the key is in the outcome."""
    async with connect(url, key=key, timeouts=timeouts) as client, asyncio.timeout(20):
        outcome = await client.post(body)
    if key is not None:
        assert key not in repr(outcome)
    return outcome


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield the base URL of a port that is bound and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def full_queue() -> Iterator[str]:
    """Yield the base URL of a port whose accept queue is full: connecting gets no answer, as behind a firewall."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.settimeout(0)
            queued.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
