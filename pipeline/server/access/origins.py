"""Where a request comes from: this machine or elsewhere, a page of this server or of another site."""

from typing import Final

from aiohttp import web
from yarl import URL

from pipeline.server.access.sessions import is_cross_origin
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.requests import RequestError

_FORWARDING_HEADERS: Final = frozenset(
    {
        "forwarded",  # RFC 7239
        "via",  # RFC 9110, 7.6.3
        "cf-connecting-ip",
        "cf-ray",
        "client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-proxyuser-ip",
        "x-real-ip",
    }
)


def is_forwarding_header(name: str) -> bool:
    """Return whether proxies and tunnels add a header of this name, in any case of letters."""
    lowered = name.lower()
    return lowered in _FORWARDING_HEADERS or lowered.startswith("x-forwarded")


def require_same_origin(request: web.Request) -> None:
    """Raise when the browser reports that a page of another origin makes this request.

    Raises:
        RequestError: 403.
    """
    if is_cross_origin(request.headers):
        raise cross_origin_error()


def require_local_request(request: web.Request) -> None:
    """Raise when a request without a key does not come from this machine.

    A proxy on this machine, or a tunnel, connects from loopback, and many send a loopback Host header; a header of
    theirs says that the request comes from elsewhere. What it says there is not trusted: the client may have sent it.

    After DNS rebinding, where an attacker's host name resolves to 127.0.0.1, the browser sees one origin; only the
    Host header still has the attacker's name.

    Raises:
        RequestError: 403.
    """
    if not is_loopback(request.remote or "") or any(map(is_forwarding_header, request.headers)):
        raise RequestError(
            "Forbidden: without a key this server serves callers on its own machine; behind a proxy it needs one: "
            "pagemill serve keys add",
            403,
        )
    try:
        host = URL(f"http://{request.host}").host
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        raise RequestError("Forbidden: without a key this server is called localhost, or by its loopback address", 403)


def cross_origin_error() -> RequestError:
    """Return the 403 for a request that another site's page makes."""
    return RequestError("Forbidden: the request comes from the page of another site", 403)
