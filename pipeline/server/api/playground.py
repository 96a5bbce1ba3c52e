"""The page to try the API at `/`: static files, and the headers that keep the page to this server."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",  # asked for again each time, sent again only when it changed
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

INDEX = "index.html"

_MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page.

    Attributes:
        body: What it holds.
        media_type: What it is.
        tag: Changes with the body.
    """

    body: bytes
    media_type: str
    tag: str


def add_page(app: web.Application) -> None:
    """Add the page at `/`, and the files that it loads under `/page/`."""
    for name, asset in load_assets().items():
        app.router.add_get("/" if name == INDEX else f"/page/{name}", _serve(asset))


def load_assets() -> dict[str, Asset]:
    """Return the page's files by name."""
    folder = resources.files("pipeline.server.api") / "page"
    assets = {}
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        body = entry.read_bytes()
        assets[entry.name] = Asset(body, _MEDIA_TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])
    return assets


def _serve(asset: Asset) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        """Return the file, or 304 to a caller that has it."""
        if any(tag.value in {asset.tag, "*"} for tag in request.if_none_match or ()):
            response = web.Response(status=304, headers=HEADERS)
        else:
            response = web.Response(body=asset.body, content_type=asset.media_type, charset="utf-8", headers=HEADERS)
        response.etag = asset.tag
        return response

    return answer
