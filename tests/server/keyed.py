"""The application with keys, over real connections, with a scripted recogniser and invented clocks."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from PIL import Image

from pipeline.config import Tier
from pipeline.server.access.access import COOKIE, Access
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key, KeyStore
from pipeline.server.api.app import create_app, http_logger
from pipeline.server.recognition import Recognition
from tests.server.rendering import encode

TEXT_PATH = "/api/text-recognition"
IMAGE = encode(Image.new("RGB", (120, 120), "white"))

Headers = Mapping[str, str]
JSON: Headers = {"Content-Type": "application/json"}
NO_HEADERS: Headers = {}


@dataclass(slots=True)
class Clock:
    """What time it is."""

    now: datetime = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    uptime_s: float = 0.0


@dataclass(slots=True)
class ScriptedRecogniser:
    """Answers, fails, or waits to be let."""

    error: Exception | None = None
    may_answer: asyncio.Event | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    async def recognise(self, image: bytes) -> Recognition:
        """Do as told."""
        self.calls += 1
        self.began.set()
        try:
            if self.may_answer is not None:
                await self.may_answer.wait()
            if self.error is not None:
                raise self.error
            return Recognition(f"{len(image)} bytes")
        finally:
            self.ended.set()


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

    @property
    def session(self) -> dict[str, str]:
        """The session's cookie, as a request's header."""
        return {"Cookie": f"{COOKIE}={SimpleCookie(self.headers['Set-Cookie'])[COOKIE].value}"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a server."""

    url: str
    session: ClientSession

    async def call(self, method: str, path: str, body: bytes | None = None, headers: Headers = NO_HEADERS) -> Answer:
        """Make any request."""
        async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def recognise(self, key: str | None = None, image: bytes = IMAGE, headers: Headers = NO_HEADERS) -> Answer:
        """Send a page."""
        query = "" if key is None else f"?key={key}"
        return await self.call("POST", TEXT_PATH + query, page_body(image), {**JSON, **headers})

    async def usage(self, key: str | None = None, headers: Headers = NO_HEADERS) -> Answer:
        """Ask what the month has left."""
        return await self.call("GET", "/api/usage" + ("" if key is None else f"?key={key}"), headers=headers)

    async def sign_in(self, key: str, headers: Headers = NO_HEADERS) -> Answer:
        """Open a session."""
        return await self.call("POST", "/session", orjson.dumps({"key": key}), {**JSON, **headers})


def page_body(image: bytes = IMAGE) -> bytes:
    """Return a well-formed request."""
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return orjson.dumps({"document": {"type": "image_url", "image_url": url}, "filename": "a.png"})


def make_key(path: Path, tier: Tier = "free", quota: int | None = None) -> tuple[str, Key]:
    """Make a key as another process does."""
    with closing(KeyStore(path)) as store:
        return store.add(name="Anna", tier=tier, quota=quota, now="2026-11-03T10:00:00.000000Z")


def revoke(path: Path, key: Key) -> None:
    """Revoke a key as another process does."""
    with closing(KeyStore(path)) as store:
        assert store.revoke(key.id, "2026-11-04T10:00:00.000000Z")


def used(path: Path, key: Key, month: str = "2026-11") -> int:
    """Return what the file says of a key's use."""
    with closing(KeyStore(path)) as store:
        return store.used(key.id, month)


@asynccontextmanager
async def keyed_server(
    path: Path, recogniser: ScriptedRecogniser | None = None, clock: Clock | None = None, **options: Any
) -> AsyncIterator[Caller]:
    """Serve with the keys of this file; `options` go to `Access`."""
    time = clock or Clock()
    async with Keyring(path) as keyring:
        access = Access(keyring=keyring, now=lambda: time.now, clock_s=lambda: time.uptime_s, **options)
        app = create_app(recogniser or ScriptedRecogniser(), access)
        runner = web.AppRunner(
            app, access_log=None, logger=http_logger, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
            url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
            async with ClientSession(connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar()) as session:
                yield Caller(url, session)
        finally:
            await runner.cleanup()
