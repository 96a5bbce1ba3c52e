"""Where a request comes from: this machine or elsewhere, a page of this server or of another site."""

import re
from typing import Final

from aiohttp import web

from pipeline.server.access.sessions import is_cross_origin
from pipeline.server.http.addresses import is_loopback
from pipeline.server.http.requests import RequestError

_FORWARDING_HEADERS: Final = frozenset(
    {
        "forwarded",  # RFC 7239
        "via",  # RFC 9110, 7.6.3
        "cdn-loop",  # RFC 8586
        "client-ip",
        "fastly-client-ip",
        "proxy-client-ip",
        "remote-addr",
        "true-client-ip",
        "wl-proxy-client-ip",
        "x-arr-log-id",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-host",
        "x-original-for",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-originating-ip",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-ip",
    }
)
_FORWARDING_PREFIXES: Final = ("x-forwarded", "x-appengine-", "x-azure-", "cf-", "fly-", "ngrok-", "tailscale-")

_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^\s:@/?#\\\[\]]+)(?::[0-9]{0,5})?")
"""A Host header: a name or an address, and a port (RFC 9110, 7.2). A URL parser would take more: `evil@localhost`."""


def is_forwarding_header(name: str) -> bool:
    """Return whether proxies and tunnels add a header of this name; case and `_` for `-` make no difference."""
    plain = name.lower().replace("_", "-")
    return plain in _FORWARDING_HEADERS or plain.startswith(_FORWARDING_PREFIXES)


def is_loopback_host(header: str) -> bool:
    """Return whether a Host header names this machine as only itself can reach it."""
    parts = _HOST.fullmatch(header.strip(" \t"))
    return parts is not None and is_loopback(parts[1].strip("[]"))


def host_of(request: web.Request) -> str:
    """Return the request's Host header; without one, as HTTP/1.0 allows, the address that the client connected to.

    aiohttp would look up the machine's name instead, which blocks the event loop while a name server does not answer.
    """
    header = request.headers.get("Host")
    if header is not None:
        return header
    name = request.get_extra_info("sockname", ("localhost", 0))
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


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
    if not is_loopback_host(host_of(request)):
        raise RequestError("Forbidden: without a key this server is called localhost, or by its loopback address", 403)


def cross_origin_error() -> RequestError:
    """Return the 403 for a request that another site's page makes."""
    return RequestError("Forbidden: the request comes from the page of another site", 403)
