"""The application with a key store, over real connections, with a scripted recogniser and clocks set by the test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from pipeline.config import Tier
from pipeline.server.access.authentication import SESSION_COOKIE, Authenticator
from pipeline.server.access.keyring import Keyring
from pipeline.server.access.keys import Key, KeyStore
from pipeline.server.api.app import create_app
from pipeline.server.http.admission import AdmissionControl
from pipeline.server.http.connections import MAX_CONNECTIONS
from pipeline.server.http.fetch import Fetch
from pipeline.server.http.turns import FairTurns
from pipeline.wire import TEXT_RECOGNITION_PATH
from tests.clocks import Clock
from tests.server.serving import IMAGE, Response, ScriptedRecogniser, request_body, serving

Headers = Mapping[str, str]
JSON: Headers = {"Content-Type": "application/json"}
NO_HEADERS: Headers = {}

NOW = "2026-11-03T10:00:00.000000Z"
MONTH = "2026-11"


@dataclass(frozen=True, slots=True)
class Client:
    """A client of one server."""

    url: str
    session: ClientSession

    async def call(self, method: str, path: str, body: bytes | None = None, headers: Headers = NO_HEADERS) -> Response:
        """Send a request."""
        async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
            return Response(response.status, dict(response.headers), await response.read())

    async def recognise(self, key: str | None = None, image: bytes = IMAGE, headers: Headers = NO_HEADERS) -> Response:
        """Send an image."""
        query = "" if key is None else f"?key={key}"
        return await self.call("POST", TEXT_RECOGNITION_PATH + query, request_body(image), {**JSON, **headers})

    async def usage(self, key: str | None = None, headers: Headers = NO_HEADERS) -> Response:
        """Request the usage of the month."""
        return await self.call("GET", "/api/usage" + ("" if key is None else f"?key={key}"), headers=headers)

    async def sign_in(self, key: str, headers: Headers = NO_HEADERS) -> Response:
        """Open a session."""
        return await self.call("POST", "/session", orjson.dumps({"key": key}), {**JSON, **headers})


def session_of(response: Response) -> dict[str, str]:
    """Return the session cookie of a response as a request header."""
    return {"Cookie": f"{SESSION_COOKIE}={SimpleCookie(response.headers['Set-Cookie'])[SESSION_COOKIE].value}"}


def make_key(path: Path, tier: Tier = "free", quota: int | None = None) -> tuple[str, Key]:
    """Make a key, as another process does."""
    with closing(KeyStore(path)) as store:
        return add_key(store, tier, quota)


def add_key(store: KeyStore, tier: Tier = "free", quota: int | None = None) -> tuple[str, Key]:
    """Make a key in an open store."""
    return store.add(name="Anna", tier=tier, quota=quota, now=NOW)


def revoke(path: Path, key: Key) -> None:
    """Revoke a key, as another process does."""
    with closing(KeyStore(path)) as store:
        assert store.revoke(key.id, "2026-11-04T10:00:00.000000Z")


def used(path: Path, key: Key, month: str = MONTH) -> int:
    """Return the calls of a key that the file has."""
    with closing(KeyStore(path)) as store:
        return store.used(key.id, month)


@asynccontextmanager
async def keyed_server(
    path: Path,
    recogniser: ScriptedRecogniser | None = None,
    clock: Clock | None = None,
    fetch: Fetch | None = None,
    *,
    admission: AdmissionControl | None = None,
    turns: FairTurns | None = None,
    max_connections: int = MAX_CONNECTIONS,
    **options: Any,
) -> AsyncIterator[Client]:
    """Serve with the keys of this file; `options` are arguments of `Authenticator`."""
    time = clock or Clock()
    async with Keyring(path) as keyring:
        access = Authenticator(keyring=keyring, now=lambda: time.now, clock_s=lambda: time.uptime_s, **options)
        app = create_app(recogniser or ScriptedRecogniser(), access, fetch=fetch, admission=admission, turns=turns)
        connector = TCPConnector(limit=0)
        async with (
            serving(app, max_connections=max_connections) as url,
            ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as session,
        ):
            yield Client(url, session)
