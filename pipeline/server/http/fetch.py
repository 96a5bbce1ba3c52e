"""Fetching the image behind a caller's URL, from public hosts only (no server-side request forgery)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from aiohttp import ClientError, ClientResponse, ClientSession, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.server.http.addresses import AddressCheck, is_public
from pipeline.server.http.images import SERVER_LIMITS, image_too_large
from pipeline.server.http.requests import RequestError

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType

FETCH_TIMEOUT_S: Final = 10.0
"""From the first DNS lookup to the last byte, redirects included."""

RESPONSE_TIMEOUT_S: Final = 5.0
"""From the request to the headers of its response, DNS lookup included."""

MIN_BYTES_PER_S: Final = 50_000
"""An image has to arrive at this rate on average: then a common scan of 500 kB needs as long as a fetch may take."""

SLOW_START_S: Final = 2.0
"""Time in which the rate does not count."""

MAX_FETCHES: Final = 10
"""Concurrent fetches; each may hold an image of 10 MiB. Two more than admission control admits: those that give way to
other callers end a moment later."""

LOOKUP_THREADS: Final = 64
"""A lookup cannot be interrupted: with a name server that does not answer it takes 10 s and more, when its fetch has
long ended."""

MAX_REDIRECTS: Final = 3

URL_MAX_CHARS: Final = 8000
"""The length that every recipient should support (RFC 9110, 4.1)."""

NOT_FETCHED: Final = "document.image_url cannot be fetched"
"""One message for blocked, unreachable and failing hosts: telling them apart would let a caller map the network."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "pagemill"}

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns the body at a URL, or raises RequestError."""

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, as text, for a port; raises OSError when there are none."""


async def fetch_image(url: str, fetch: Fetch | None) -> bytes:
    """Return the image behind a URL.

    Args:
        url: The URL as the caller gave it.
        fetch: Fetches the URL; None if the server does not fetch URLs.

    Raises:
        RequestError: the server does not fetch URLs, or cannot fetch this one.
    """
    if fetch is None:
        raise RequestError("fetching URLs is not enabled on this server")
    return await fetch(url)


class BlockedFetchError(OSError):
    """The URL, one of its addresses or its response is not allowed; never shown to the caller."""


def may_connect_to(address: str) -> bool:
    """Return whether an address belongs to a public host other than this machine.

    This machine can have a public address too, with services behind it that only a firewall protects.
    """
    return is_public(address) and not is_own(address)


def is_own(address: str) -> bool:
    """Return whether an address is this machine's: only for these the kernel chooses the same address as the source.

    Connecting a datagram socket sends nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:  # no route to the address
            return False
        return bool(probe.getsockname()[0] == address)


class Fetcher:
    """Fetches images from public hosts.

    A host name is looked up once per hop, each of its addresses is checked, and the connection goes to the checked
    addresses: a second lookup with another result (DNS rebinding) does not happen. The caller's key, cookies and
    referrer are not sent. Every port is allowed, because image servers of archives use many.

    Args:
        is_allowed: Returns whether the server may connect to an address.
        lookup: Returns the addresses of a host name.
        timeout_s: Limit for one fetch.
        response_timeout_s: Limit for the headers of a response.
        slow_start_s: Time in which the image may arrive at any rate; then at `MIN_BYTES_PER_S` on average.
        max_bytes: Limit for the image, decompressed.
    """

    def __init__(
        self,
        *,
        is_allowed: AddressCheck = may_connect_to,
        lookup: Lookup | None = None,
        timeout_s: float = FETCH_TIMEOUT_S,
        response_timeout_s: float = RESPONSE_TIMEOUT_S,
        slow_start_s: float = SLOW_START_S,
        max_bytes: int = SERVER_LIMITS.max_bytes,
    ) -> None:
        self._is_allowed = is_allowed
        self._lookup = lookup or _SystemLookup()
        self._timeout_s = timeout_s
        self._response_timeout_s = response_timeout_s
        self._slow_start_s = slow_start_s
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(MAX_FETCHES)

    async def fetch(self, url: str) -> bytes:
        """Return the body at a URL.

        Raises:
            RequestError: the URL cannot be fetched, or its body is too large; 429 when too many fetches are running.
        """
        if self._slots.locked():
            raise RequestError("Too Many Requests: the server fetches other images", 429, retry_after_s=1)
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._follow(url)
            except (ClientError, OSError, ValueError) as exc:
                raise RequestError(NOT_FETCHED) from exc

    async def _follow(self, url: str) -> bytes:
        target = self._check_target(url)
        connector = TCPConnector(
            resolver=_CheckingResolver(self._lookup, self._is_allowed),
            use_dns_cache=False,
            socket_factory=self._open_socket,
            force_close=True,
        )
        async with ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), headers=_HEADERS, trust_env=False
        ) as session:
            for _ in range(1 + MAX_REDIRECTS):
                async with asyncio.timeout(self._response_timeout_s):
                    response = await session.get(target, allow_redirects=False)
                async with response:
                    if response.status not in _REDIRECTS:
                        return await self._read(response)
                    target = self._check_target(str(target.join(URL(response.headers.get("Location", "")))))
        raise BlockedFetchError("too many redirects")

    @staticmethod
    def _check_target(url: str) -> URL:
        if len(url) > URL_MAX_CHARS:
            raise BlockedFetchError("the URL is too long")
        target = URL(url)
        if target.scheme not in {"http", "https"} or not target.raw_host:
            raise BlockedFetchError("not http(s), or no host")
        if target.user is not None or target.password is not None or "%" in target.raw_host:
            raise BlockedFetchError("credentials in the URL, or a percent-encoded host")
        return target

    def _open_socket(self, address: "AddrInfoType") -> socket.socket:
        """Return the socket for a connection to an address: every connection passes this check."""
        family, kind, protocol, _, endpoint = address
        if not self._is_allowed(str(endpoint[0])):
            raise BlockedFetchError("the address is not public")
        return socket.socket(family, kind, protocol)

    async def _read(self, response: ClientResponse) -> bytes:
        if response.status != 200:
            raise BlockedFetchError(f"status {response.status}")
        body = bytearray()
        slow_until_s = asyncio.get_running_loop().time() + self._slow_start_s
        async with asyncio.timeout_at(slow_until_s) as timeout:
            # aiohttp decompresses chunk by chunk, so a decompression bomb ends at the limit.
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_bytes:
                    raise image_too_large(self._max_bytes)
                timeout.reschedule(slow_until_s + len(body) / MIN_BYTES_PER_S)
        return bytes(body)


class _CheckingResolver(AbstractResolver):
    """Returns the addresses of a host name if the server may connect to every one of them."""

    def __init__(self, lookup: Lookup, is_allowed: AddressCheck) -> None:
        self._lookup = lookup
        self._is_allowed = is_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise BlockedFetchError("the host has an address that is not public")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in addresses
        ]

    async def close(self) -> None:
        """Do nothing: the resolver holds no resource."""


class _SystemLookup:
    """Resolves names by the operating system, in threads of its own, so that a slow name server blocks nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    async def __call__(self, host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._getaddrinfo, host, port)

    @staticmethod
    def _getaddrinfo(host: str, port: int) -> list[str]:
        return [str(endpoint[0]) for *_, endpoint in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
