"""The page for trying the API, at `/`: static files, and headers that limit the page to this server."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import web

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",  # browsers revalidate at each load; an unchanged file costs a 304
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

INDEX: Final = "index.html"

_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page.

    Attributes:
        body: The file's bytes.
        media_type: Its Content-Type.
        tag: Its ETag, made from the bytes.
    """

    body: bytes
    media_type: str
    tag: str


def add_page_routes(app: web.Application) -> None:
    """Add the page at `/`, and the files that it loads at `/page/`."""
    for name, asset in load_assets().items():
        app.router.add_get("/" if name == INDEX else f"/page/{name}", _serve(asset))


def load_assets() -> dict[str, Asset]:
    """Return the page's files by name."""
    folder = resources.files("pipeline.server.api") / "page"
    assets = {}
    for file in folder.iterdir():
        suffix = file.name[file.name.rfind(".") :]
        body = file.read_bytes()
        assets[file.name] = Asset(body, _MEDIA_TYPES[suffix], hashlib.sha256(body).hexdigest()[:32])
    return assets


def _serve(asset: Asset) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def get_asset(request: web.Request) -> web.StreamResponse:
        """Return the file, or 304 when the client has this version."""
        if any(tag.value in {asset.tag, "*"} for tag in request.if_none_match or ()):
            response = web.Response(status=304, headers=PAGE_HEADERS)
        else:
            response = web.Response(
                body=asset.body, content_type=asset.media_type, charset="utf-8", headers=PAGE_HEADERS
            )
        response.etag = asset.tag
        return response

    return get_asset
