"""The application over real connections, with a scripted recogniser in place of the engine."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson
from aiohttp import ClientSession, web
from PIL import Image

from pipeline.engine.recognition import Line, Recogniser, Recognition
from pipeline.server.access.authentication import Authenticator
from pipeline.server.api.app import create_app
from pipeline.server.http.connections import MAX_CONNECTIONS
from pipeline.server.http.listener import Runner, Site
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.rendering import encode

KEY = "very-secret-key"
KEY_VARIABLE = "SCHEMATHESIS_KEY"
"""Environment variable with the server's key, for the hooks of Schemathesis."""
IMAGE = encode(Image.new("RGB", (120, 120), "white"))
NOW_MS = 1640995200000

TWO_LINES = Recognition(
    "第一行\nsecond",
    (
        Line("第一行", 0.98, ((10.0, 20.0), (90.0, 20.0), (90.0, 40.0), (10.0, 40.0))),
        Line("second", 1.0, ((10.0, 60.0), (10.0, 60.0), (10.0, 60.0), (10.0, 60.0))),
    ),
)


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


Call = Callable[..., Awaitable[Response]]


def request_body(image: bytes = IMAGE, **changes: object) -> bytes:
    """Return a valid request, with some fields replaced."""
    document = {"type": "image_url", "image_url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}
    return orjson.dumps({"document": document, "filename": "scan 1.png"} | changes)


@asynccontextmanager
async def serving(
    app: web.Application,
    *,
    max_connections: int = MAX_CONNECTIONS,
    on_evicted: Callable[[int], None] = lambda _: None,
    **timeouts: float,
) -> AsyncIterator[str]:
    """Serve an application as `serve` does; yield its base URL.

    Args:
        app: The application.
        max_connections: See `Server`.
        on_evicted: See `Server`.
        timeouts: Arguments of the runner, instead of its defaults.
    """
    options = {"flush_s": 0.1, **timeouts}
    runner = Runner(app, on_malformed=lambda _: None, max_connections=max_connections, on_evicted=on_evicted, **options)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            await Site(runner, listener).start()
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            await runner.cleanup()


def port_of(url: str) -> int:
    """Return the port of a base URL."""
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def serving_api(
    recogniser: Recogniser, *, key: str | None = None, authenticator: Authenticator | None = None, **parts: Any
) -> AsyncIterator[tuple[str, Call]]:
    """Serve the application; yield its base URL and a function that calls it."""
    app = create_app(recogniser, authenticator or Authenticator(key=key), now_ms=lambda: NOW_MS, **parts)
    async with serving(app) as url, ClientSession() as session:

        async def call(
            body: bytes, path: str = TEXT_RECOGNITION_PATH, method: str = "POST", **options: Any
        ) -> Response:
            data = BytesIO(body) if body else None
            async with session.request(method, url + path, data=data, **options) as response:
                return Response(response.status, dict(response.headers), await response.read())

        yield url, call
