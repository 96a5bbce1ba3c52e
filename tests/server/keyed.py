"""The application with keys, over real connections, with a scripted recogniser and invented clocks."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from pipeline.config import Tier
from pipeline.server.access.access import COOKIE, Access
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key, KeyStore
from pipeline.server.api.app import create_app
from pipeline.server.http.fetch import Fetch
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.clocks import Clock
from tests.server.serving import IMAGE, Answer, ScriptedRecogniser, request_body, serving

Headers = Mapping[str, str]
JSON: Headers = {"Content-Type": "application/json"}
NO_HEADERS: Headers = {}


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
        return await self.call("POST", TEXT_RECOGNITION_PATH + query, request_body(image), {**JSON, **headers})

    async def usage(self, key: str | None = None, headers: Headers = NO_HEADERS) -> Answer:
        """Ask what the month has left."""
        return await self.call("GET", "/api/usage" + ("" if key is None else f"?key={key}"), headers=headers)

    async def sign_in(self, key: str, headers: Headers = NO_HEADERS) -> Answer:
        """Open a session."""
        return await self.call("POST", "/session", orjson.dumps({"key": key}), {**JSON, **headers})


def session_of(answer: Answer) -> dict[str, str]:
    """Return the session's cookie in an answer as a request's header."""
    return {"Cookie": f"{COOKIE}={SimpleCookie(answer.headers['Set-Cookie'])[COOKIE].value}"}


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
    path: Path,
    recogniser: ScriptedRecogniser | None = None,
    clock: Clock | None = None,
    fetch: Fetch | None = None,
    **options: Any,
) -> AsyncIterator[Caller]:
    """Serve with the keys of this file; `options` go to `Access`."""
    time = clock or Clock()
    async with Keyring(path) as keyring:
        access = Access(keyring=keyring, now=lambda: time.now, clock_s=lambda: time.uptime_s, **options)
        app = create_app(recogniser or ScriptedRecogniser(), access, fetch=fetch)
        connector = TCPConnector(limit=0)
        async with serving(app) as url, ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as session:
            yield Caller(url, session)
