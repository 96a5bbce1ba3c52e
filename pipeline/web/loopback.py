"""A site for one person on this machine: a folder of files, pictures on demand, and what the person saves.

Any program and any page in a browser can send requests to loopback, so each request needs the token, which the printed
URL has and a cookie keeps; one of another host name is refused, since names that strangers control may lead to loopback
(DNS rebinding), and so is one that another page sends.
"""

import hmac
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from pipeline.errors import StopError, UsageError

HOST: Final = "127.0.0.1"
_NAMES: Final = ("127.0.0.1", "localhost")
_MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_INDEX: Final = "index.html"
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_FILE: Final = re.compile(r"(build-[0-9a-f]+|pictures|thumbnails)/[\w-]+\.[a-z0-9]+")
"""Files that are served; what else is in the folder is not."""

_NOT_SERVED: Final = b'data-served="no"'
_SERVED: Final = b'data-served="yes"'
"""Attribute by which the page knows that it is served."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ChangedPictureError(Exception):
    """The picture would be another one than the page is about."""


@dataclass(frozen=True, slots=True)
class ServedPicture:
    """A picture.

    Attributes:
        body: The file.
        media_type: Its Content-Type.
    """

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Site:
    """What is served.

    Attributes:
        folder: Its `index.html` and the files that this names.
        build: The build of the page whose pictures are found: numbers of another one are other pictures'.
        find_picture: Returns the picture of a number; None when there is none. Raises `ChangedPictureError`.
        save: Takes what the page saves, a JSON object in a line, and returns the answer.
        find_saved: Returns what was saved after a number, by any page, as JSON.
    """

    folder: Path
    build: str
    find_picture: Callable[[int], Awaitable[ServedPicture | None]]
    save: Callable[[bytes], Awaitable[Mapping[str, Any]]]
    find_saved: Callable[[int], Awaitable[bytes]]


@asynccontextmanager
async def serving(site: Site, port: int) -> AsyncGenerator[str]:
    """Serve a site until the block ends; yield its URL, with the token.

    Args:
        site: What is served.
        port: 0 takes a free one.

    Raises:
        UsageError: the port cannot be bound.
    """
    token = secrets.token_urlsafe(24)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    runner = web.AppRunner(app, access_log=None)
    handlers = _Handlers(site)
    app.add_routes(
        [
            web.get("/", handlers.index),
            web.get("/pictures/{number:[0-9]{1,9}}", handlers.picture),
            web.get("/corrections", handlers.saved),
            web.get("/{file:.+}", handlers.file),
            web.post("/corrections", handlers.save),
        ]
    )
    guard = _Guard(token)
    app.middlewares.append(guard.check)
    app.on_response_prepare.append(_add_headers)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as exc:
            raise UsageError(f"port {port}: {exc.strerror or exc}; --port 0 takes a free one") from exc
        guard.port = runner.addresses[0][1]
        yield f"http://{HOST}:{guard.port}/?token={token}"
    finally:
        await runner.cleanup()


class _Guard:
    """Lets requests with the token through."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.port = 0

    def __repr__(self) -> str:
        return f"<_Guard of port {self.port}>"

    @web.middleware
    async def check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse a request that is not the person's own page's."""
        if request.headers.get("Host") not in {f"{name}:{self.port}" for name in _NAMES}:
            raise web.HTTPMisdirectedRequest(text="unknown host\n")
        cookie = f"pagemill-{self.port}"  # cookies belong to a host, whatever the port
        if request.path == "/" and self._is_token(request.query.get("token", "")):
            moved = web.HTTPSeeOther("/")
            moved.set_cookie(cookie, self._token, path="/", httponly=True, samesite="Strict")
            raise moved
        if not self._is_token(request.cookies.get(cookie, "")):
            raise web.HTTPForbidden(text="open the URL that pagemill report --serve has printed\n")
        is_own = request.headers.get("Origin") == f"http://{request.headers['Host']}"
        if request.method not in {"GET", "HEAD"} and not is_own:
            raise web.HTTPForbidden(text="sent by another page\n")
        return await handler(request)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())


class _Handlers:
    def __init__(self, site: Site) -> None:
        self._site = site

    def __repr__(self) -> str:
        return f"<_Handlers {self._site.folder}>"

    async def index(self, _: web.Request) -> web.Response:
        """Return the page, which learns that it is served."""
        body = (self._site.folder / _INDEX).read_bytes().replace(_NOT_SERVED, _SERVED, 1)
        return web.Response(body=body, content_type="text/html", charset="utf-8")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Return a file that the page names."""
        name = request.match_info["file"]
        path = self._site.folder / name
        if not _FILE.fullmatch(name) or not path.is_file():
            raise web.HTTPNotFound
        if not path.resolve().is_relative_to(self._site.folder.resolve()):  # a link may lead anywhere
            raise web.HTTPNotFound
        return web.FileResponse(path)

    async def picture(self, request: web.Request) -> web.Response:
        """Return the picture of a page; 409 when it would be another one by now, 410 for a page of another build."""
        if request.query.get("build") != self._site.build:
            raise web.HTTPGone(text="the report was built again\n")
        try:
            picture = await self._site.find_picture(int(request.match_info["number"]))
        except ChangedPictureError as exc:
            raise web.HTTPConflict(text="the file has changed since it was read\n") from exc
        if picture is None:
            raise web.HTTPNotFound
        return web.Response(body=picture.body, content_type=picture.media_type)

    async def saved(self, request: web.Request) -> web.Response:
        """Return what was saved after the number in `after`."""
        after = request.query.get("after", "")
        if not _NUMBER.fullmatch(after):
            raise web.HTTPBadRequest(text="after: expected a number\n")
        try:
            return web.Response(body=await self._site.find_saved(int(after)), content_type="application/json")
        except (OSError, StopError) as exc:
            raise web.HTTPServiceUnavailable(text=f"{exc}\n") from exc

    async def save(self, request: web.Request) -> web.Response:
        """Take what the page saves."""
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        try:
            return web.json_response(await self._site.save(await request.read()))
        except ValueError as exc:
            raise web.HTTPBadRequest(text=f"{exc}\n") from exc
        except (OSError, StopError) as exc:
            raise web.HTTPServiceUnavailable(text=f"{exc}\n") from exc


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
