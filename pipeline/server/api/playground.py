"""The page for trying the API, at `/`: static files, and headers that limit the page to this server."""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from aiohttp import web

from pipeline.web.assets import STATIC, Asset, load_assets

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


def add_page_routes(app: web.Application) -> None:
    """Add the page at `/`, and the files that it loads at `/page/`."""
    for name, asset in load_page().items():
        app.router.add_get("/" if name == INDEX else f"/page/{name}", _serve(asset))


def load_page() -> dict[str, Asset]:
    """Return the page's files by name: its own, and those that it shares with the review report."""
    return load_assets(resources.files("pipeline.server.api") / "page", STATIC)


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
