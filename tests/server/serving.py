"""The application over real connections, with a scripted recogniser in place of the engine."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from PIL import Image

from pipeline.engine.recognition import Recognition
from pipeline.server.http.connections import MAX_CONNECTIONS, BoundedSite, Runner
from tests.rendering import encode

KEY = "very-secret-key"
KEY_VARIABLE = "SCHEMATHESIS_KEY"
"""Environment variable with the server's key, for the hooks of Schemathesis."""
IMAGE = encode(Image.new("RGB", (120, 120), "white"))


def already_set() -> asyncio.Event:
    """Return an event that is set."""
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class ScriptedRecogniser:
    """Returns or raises its outcome, once it may.

    Attributes:
        outcome: The text or recognition to return, or the exception to raise.
        may_answer: Holds the outcome back until it is set.
        began: Set when an image has arrived.
        ended: Set when the outcome was returned, or the caller was cancelled.
        seen: The images that arrived.
    """

    outcome: str | Recognition | Exception = "the text"
    may_answer: asyncio.Event = field(default_factory=already_set)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[bytes] = field(default_factory=list)

    async def recognise(self, image: bytes) -> Recognition:
        """Return or raise the outcome."""
        self.seen.append(image)
        self.began.set()
        try:
            await self.may_answer.wait()
        finally:
            self.ended.set()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Recognition(self.outcome) if isinstance(self.outcome, str) else self.outcome


@dataclass(frozen=True, slots=True)
class Response:
    """A response as the client received it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reply(self) -> Any:
        """The JSON body."""
        return orjson.loads(self.body)


def request_body(image: bytes = IMAGE, **changes: object) -> bytes:
    """Return a valid request, with some fields replaced."""
    document = {"type": "image_url", "image_url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}
    return orjson.dumps({"document": document, "filename": "scan 1.png"} | changes)


@asynccontextmanager
async def serving(
    app: web.Application, *, max_connections: int = MAX_CONNECTIONS, **timeouts: float
) -> AsyncIterator[str]:
    """Serve an application as `serve` does; yield its base URL.

    Args:
        app: The application.
        max_connections: See `BoundedSite`.
        timeouts: Arguments of the runner, instead of its defaults.
    """
    runner = Runner(app, on_malformed=lambda _: None, **{"flush_s": 0.1, **timeouts})
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            await BoundedSite(runner, listener, max_connections=max_connections).start()
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            await runner.cleanup()


def port_of(url: str) -> int:
    """Return the port of a base URL."""
    return int(url.rpartition(":")[2])
