"""An application over real connections, and what stands for the engine behind it."""

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
from pipeline.server.http.protocol import CONNECTIONS_AT_MOST, BoundedSite, Runner
from tests.rendering import encode

KEY = "very-secret-key"
KEY_VARIABLE = "SCHEMATHESIS_KEY"
"""Tells Schemathesis the key that the server knows."""
IMAGE = encode(Image.new("RGB", (120, 120), "white"))


def let() -> asyncio.Event:
    """Return an event that has come."""
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class ScriptedRecogniser:
    """Answers as it is told to, once it may.

    Attributes:
        outcome: Answered or raised.
        may_answer: Holds the answers back until it is set.
        began: Set when an image has come.
        ended: Set when it was answered, or its caller has gone.
        seen: The images that came.
    """

    outcome: str | Recognition | Exception = "the text"
    may_answer: asyncio.Event = field(default_factory=let)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[bytes] = field(default_factory=list)

    async def recognise(self, image: bytes) -> Recognition:
        """Return or raise what it was told to."""
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
class Answer:
    """What a caller gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reply(self) -> Any:
        """The JSON in the body."""
        return orjson.loads(self.body)


def request_body(image: bytes = IMAGE, **changes: object) -> bytes:
    """Return a well-formed request, or one with parts of it replaced."""
    document = {"type": "image_url", "image_url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}
    return orjson.dumps({"document": document, "filename": "scan 1.png"} | changes)


@asynccontextmanager
async def serving(
    app: web.Application, *, connections: int = CONNECTIONS_AT_MOST, **deadlines: float
) -> AsyncIterator[str]:
    """Serve an application as `serve` does; yield its base URL.

    Args:
        app: The application.
        connections: How many may be open.
        deadlines: The runner's, in place of its defaults.
    """
    runner = Runner(app, malformed=lambda _: None, **{"answer_s": 0.1, **deadlines})
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            await BoundedSite(runner, listener, connections=connections).start()
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            await runner.cleanup()


def port_of(url: str) -> int:
    """Return the port in a base URL."""
    return int(url.rpartition(":")[2])
