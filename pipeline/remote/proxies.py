"""Which HTTP proxy a call goes through: the setting, or the environment as other programs read it.

Source: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as curl, Go's net/http and Python's requests agree on them
(https://about.gitlab.com/blog/we-need-to-talk-no-proxy/). `urllib` and aiohttp know no networks (`10.0.0.0/8`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import UsageError

DIRECT: Final = "none"
"""The value of `[api] proxy` that overrides the environment: no proxy."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: Its URL, user and password included.
        origin: The setting or variable that names it.
    """

    url: str = field(repr=False)
    origin: str

    @property
    def name(self) -> str:
        """Host and port, without user and password."""
        parts = urlsplit(self.url)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port else "")


def choose_proxy(base_url: str, setting: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for the calls of a service; None when they go to the service directly.

    Args:
        base_url: The service's base URL.
        setting: `[api] proxy`: a URL, or `DIRECT`; None leaves it to the environment.
        environ: The environment; a variable in lower case precedes the same one in upper case.

    Raises:
        UsageError: the proxy's URL is no http(s) URL; the message does not quote it.
    """
    if setting is not None:
        return None if setting.strip().lower() in {DIRECT, ""} else Proxy(_check_url(setting, "proxy"), "proxy")
    target = urlsplit(base_url)
    for name in (f"{target.scheme}_proxy", f"{target.scheme}_proxy".upper()):
        value = environ.get(name, "").strip()
        if value:
            bypasses = environ.get("no_proxy", environ.get("NO_PROXY", ""))
            return None if is_bypassed(target, bypasses) else Proxy(_check_url(value, name), name)
    return None


def is_bypassed(target: SplitResult, no_proxy: str) -> bool:
    """Return whether `NO_PROXY` exempts a URL.

    Its entries, between commas or spaces, are `*`, a host (which stands for its subdomains too, with or without a dot
    or `*.` before it), an IP address or network, each but the first with an optional port.
    """
    host = (target.hostname or "").rstrip(".")
    port = target.port or _DEFAULT_PORTS.get(target.scheme)
    return any(_matches(host, port, entry) for entry in no_proxy.lower().replace(",", " ").split())


def _matches(host: str, port: int | None, entry: str) -> bool:
    if entry == "*":
        return True
    name, entry_port = _split_port(entry)
    if entry_port is not None and entry_port != port:
        return False
    try:
        network = ip_network(name.strip("[]"), strict=False)
    except ValueError:
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return ip_address(host) in network
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    name, separator, port = entry.rpartition(":")
    is_ipv6 = ":" in name and not name.endswith("]")
    if not separator or is_ipv6 or not port.isdigit():
        return entry, None
    return name, int(port)


def _check_url(text: str, origin: str) -> str:
    """Return a proxy's URL, with http:// where it names no scheme, as curl reads it.

    Raises:
        UsageError: it is none; the message names where it comes from and never quotes it, because of its password.
    """
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise UsageError(f"{origin}: not the URL of an HTTP proxy, such as http://proxy.example.org:3128")
    return url
